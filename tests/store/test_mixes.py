"""Mixes of a store's views are those that were labelled, and those of strangers are possible."""

import numpy as np
import pytest
from helpers.stores import change_attributes, make_store

from fkd import FkdError, LabelStore, ViewPolicy
from fkd.config import MixPolicy
from fkd.errors import BlockError, StoreError
from fkd.store import StoredMixes
from fkd.views import SAMPLER, Mixes

POLICY = ViewPolicy(4, mix=MixPolicy(1, 1, 0.9, 2))
ALL = np.arange(11), np.arange(6)


def drawn(path, **settings):
    return make_store(path, sampler=SAMPLER, views=POLICY, **settings)


def stored(path, change=None):
    """Write a store of stored mixes, after `change` has had its way with those of block 1."""
    _, blocks = make_store(path, stored_mixes=True)
    if change is not None:
        change(blocks[1].mixes)
        LabelStore.open(path, writable=True).commit_block(1, blocks[1])
    return LabelStore.open(path), blocks


def said(store):
    return StoredMixes.of_store(store).of(*ALL)


def labelled_mixes(blocks):
    return Mixes.concatenate([block.mixes for block in blocks])


@pytest.mark.parametrize("make", [drawn, stored])
def test_mixes_are_those_that_were_labelled(tmp_path, make):
    store, blocks = make(tmp_path / "s.zarr")
    true = labelled_mixes(blocks)
    assert true.mixed.sum() > 40
    assert not said(store).unlike(true).any()
    mixes, some, slots = StoredMixes.of_store(store), np.array([9, 2, 5]), np.array([5, 0, 3])
    assert not mixes.of(some, slots).unlike(true[some[:, None], slots]).any()
    partner, share = mixes.shares(*ALL)
    assert np.array_equal(share, true.own_share)
    assert np.array_equal(partner[true.mixed], true.image[true.mixed])
    assert StoredMixes.of_store(make_store(tmp_path / "plain.zarr")[0]) is None


def test_a_partner_of_other_content_is_found(tmp_path):
    """The block of a partner may be labelled again, of an image that was replaced."""
    store, blocks = drawn(tmp_path / "s.zarr")
    writable = LabelStore.open(store.path, writable=True)
    blocks[2].content_hash[1] += np.uint64(1)
    writable.commit_block(2, blocks[2])
    with pytest.raises(BlockError, match=r"or images that views are mixed with are others now"):
        said(LabelStore.open(store.path))


@pytest.mark.parametrize("name", ["share", "hole", "flip", "box"])
def test_what_is_drawn_otherwise_is_found(tmp_path, name):
    store, blocks = drawn(tmp_path / "s.zarr")
    place = tuple(np.argwhere(blocks[1].mixes.mixed)[0])
    getattr(blocks[1].mixes, name)[place] ^= 1
    LabelStore.open(store.path, writable=True).commit_block(1, blocks[1])
    with pytest.raises(BlockError, match=r"block 1: "):
        said(LabelStore.open(store.path))


def test_an_unfinished_store_tells_what_is_known(tmp_path):
    store, blocks = drawn(tmp_path / "s.zarr", skip=(1,))
    mixes, true = StoredMixes.of_store(store), labelled_mixes(blocks)
    done = np.array([0, 1, 2, 3, 8, 9, 10])
    for crop in range(6):
        known = mixes.known(done, np.array([crop]))
        partner = mixes.partners(done, np.array([crop]))[:, 0]
        assert np.array_equal(known, np.isin(partner, done))
        found = mixes.of(done[known], np.array([crop]))
        assert not found.unlike(true[done[known], crop][:, None]).any()
    with pytest.raises(StoreError, match=r"with which views are mixed, is not labelled yet; run"):
        mixes.of(done, ALL[1])


def set_at(name, value):
    def change(mixes):
        getattr(mixes, name)[2, 1] = value

    return change


def unmixed_with_another(mixes):
    mixes.image[2, 1], mixes.share[2, 1], mixes.hole[2, 1] = 1, 256, 0


@pytest.mark.parametrize(
    "change",
    [
        set_at("image", 11),
        set_at("image", 2**32 - 1),
        set_at("box", (0, 0, 0, 5)),
        set_at("box", (65_535, 0, 65_535, 5)),
        set_at("share", 257),
        set_at("hole", (65_535, 0, 1, 1)),
        set_at("hole", (0, 40_000, 1, 40_000)),
        unmixed_with_another,
    ],
)
def test_what_no_program_stores_is_refused(tmp_path, change):
    store, _ = stored(tmp_path / "s.zarr", change)
    with pytest.raises(BlockError, match=r"image 6: a view is mixed with what is no view") as told:
        said(store)
    assert "\n" not in str(told.value)


MIX = {"rule": "pairs-uint8-1", "mixup": 1.0, "cutmix": 1.0, "share": 0.9, "period": 2}


@pytest.mark.parametrize(
    ("mix", "message"),
    [
        ({**MIX, "rule": "triples-1"}, "rule of mixing 'triples-1', which a newer fkd knows"),
        ({**MIX, "tone": 1}, "key 'views.mix.tone' is unknown"),
        ({k: v for k, v in MIX.items() if k != "share"}, "key 'views.mix.share' is missing"),
        ({**MIX, "mixup": 0.0, "cutmix": 0.0, "share": 1.0}, "views.mix mixes nothing"),
        ({**MIX, "mixup": float("nan")}, "mixup is nan"),
        ({**MIX, "cutmix": 33}, "cutmix is 33"),
        ({**MIX, "cutmix": 0.001}, "--cutmix is 0.001"),
        ({**MIX, "share": 0}, "--mix-share is 0"),
        ({**MIX, "period": 0}, "period is 0"),
        ({**MIX, "period": 2.0}, "period is 2.0"),
        ({**MIX, "period": True}, "period is True"),
        ([], "mix is a list"),
    ],
)
def test_strange_policies_are_refused(tmp_path, mix, message):
    store, _ = drawn(tmp_path / "s.zarr", n=3, block=3)
    views = {"seed": 4, "scale": [0.08, 1.0], "ratio": [0.75, 4 / 3], "mix": mix}
    change_attributes(store.path, sign=True, views=views)
    with pytest.raises(StoreError) as told:
        LabelStore.open(store.path)
    assert message in str(told.value)
    assert "\n" not in str(told.value)


def test_mixes_are_drawn_or_stored_with_views_that_are(tmp_path):
    store, _ = drawn(tmp_path / "a.zarr", n=3, block=3)
    change_attributes(store.path, sign=True, stored_mixes=True)
    with pytest.raises(FkdError, match="its mixes are drawn, and its views are not"):
        LabelStore.open(store.path)
    store, _ = make_store(tmp_path / "b.zarr", n=3, block=3, sampler=SAMPLER)
    change_attributes(store.path, sign=True, stored_mixes=True)
    with pytest.raises(FkdError, match="its mixes are stored, where its views are drawn"):
        LabelStore.open(store.path)
    store, _ = make_store(tmp_path / "c.zarr", n=3, block=3)
    change_attributes(store.path, sign=True, stored_mixes=1)
    with pytest.raises(FkdError, match="stored_mixes is 1"):
        LabelStore.open(store.path)


def test_one_image_and_two(tmp_path):
    for n in (1, 2):
        store, blocks = drawn(tmp_path / f"{n}.zarr", n=n, block=4)
        found = StoredMixes.of_store(store).of(np.arange(n), np.arange(6))
        assert found.mixed.any() == (n == 2)
        assert not found.unlike(blocks[0].mixes).any()
