"""Views that the teacher saw mixed are the same to the student, and each image is decoded once a step."""

import pickle
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.mixed_stores import (
    UNUSABLE,
    all_views_by_hand,
    mixed_store,
    store_of_stored_mixes,
)

from fkd import (
    CropDataset,
    FkdError,
    LabelStore,
    Selection,
    StudentLoader,
    TrainConfig,
    train_student,
)
from fkd.loader import Schedule, SizePlan, pairs_of, select_crops, student_batches
from fkd.originals import LabelledImages
from fkd.sources import list_images
from fkd.store import StoredMixes
from fkd.views import RenderPool

SIZE = 32


@pytest.fixture(scope="module")
def mixed(shared_store, shared_folder, tmp_path_factory):
    """A store of 18 images of 6 crops, mixed in pairs that change every 3 crops; and its mixes."""
    path = tmp_path_factory.mktemp("mixed") / "labels.zarr"
    return mixed_store(path, shared_store, shared_folder)


@pytest.fixture(scope="module")
def expected(mixed, shared_folder):
    return all_views_by_hand(*mixed, shared_folder, SIZE)


@pytest.fixture
def decodes(monkeypatch):
    """Counts which images are decoded."""
    counts, decode = Counter(), LabelledImages.decode

    def counted(self, image_index, size):
        counts[image_index] += 1
        return decode(self, image_index, size)

    monkeypatch.setattr(LabelledImages, "decode", counted)
    return counts


def planned(store, m, batch, epochs=6, stagger=0, chosen=None):
    chosen = store.labelled_images() if chosen is None else chosen
    pairs = pairs_of(store, chosen)
    return Schedule(
        len(chosen), store.spec.num_crops, m, batch, epochs, seed=0, stagger=stagger, pairs=pairs
    )


def all_batches(store, folder, schedule, *, render="cpu", workers=2, **more):
    images = list_images(folder / "train")
    with RenderPool(workers, torch.device("cpu"), render) as pool:
        return list(student_batches(pool, store, images, schedule, **more))


def equal_views(batches, expected):
    for batch in batches:
        wanted = expected[batch.image_index, batch.crop_index]
        wrong = (batch.views.numpy() != wanted).any(axis=(1, 2, 3))
        assert not wrong.any(), (batch.image_index[wrong], batch.crop_index[wrong])


def identity(batches):
    """Return what each step sees, its views in any order: (image, crop) of each."""
    each = [np.stack([batch.image_index, batch.crop_index], axis=1) for batch in batches]
    return [sorted(map(tuple, views.tolist())) for views in each]


@pytest.mark.parametrize("stagger", [0, 1])
@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_student_sees_what_was_mixed(mixed, expected, shared_folder, m, stagger):
    store, mixes = mixed
    assert 0.9 < mixes.mixed.mean() <= 1
    assert (mixes.share < 256).any()
    assert mixes.hole.any()
    schedule = planned(store, m, 16 if m == 4 else 12, stagger=stagger)
    by_threads = all_batches(store, shared_folder, schedule)
    by_device = all_batches(store, shared_folder, schedule, render="device")
    equal_views(by_threads, expected)
    for one, other in zip(by_threads, by_device, strict=True):
        assert torch.equal(one.views, other.views)
    later = all_batches(store, shared_folder, schedule, first_step=3)
    assert identity(later) == identity(by_threads)[3:]
    equal_views(later, expected)
    ranks = [
        all_batches(store, shared_folder, schedule, rank=rank, num_ranks=2) for rank in range(2)
    ]
    for whole, *shares in zip(identity(by_threads), *map(identity, ranks), strict=True):
        assert sorted(shares[0] + shares[1]) == whole
        assert len(shares[0]) == len(shares[1])
    equal_views(ranks[0] + ranks[1], expected)


def test_truth_is_told_in_shares(mixed, shared_store, shared_folder):
    store, mixes = mixed
    targets, area = shared_store.targets(), (mixes.hole[..., 2:] / 65_535).prod(axis=-1)
    share = np.where(area > 0, 1 - area, mixes.share / 256)
    for stagger in (0, 2):
        for batch in all_batches(store, shared_folder, planned(store, 2, 12, stagger=stagger)):
            at = batch.image_index, batch.crop_index
            assert np.array_equal(batch.targets, targets[batch.image_index])
            assert np.array_equal(batch.partner_targets, targets[mixes.image[at]])
            np.testing.assert_allclose(batch.own_share, share[at], atol=1e-6)


@pytest.mark.parametrize(("m", "of_step"), [(1, 6), (3, 6), (4, 12)])
def test_a_visit_is_a_decode(mixed, shared_folder, decodes, m, of_step):
    """Pairs of a pass are those of its first crop; its other crops may have others, as at m = 4."""
    store, _ = mixed
    for images, most in ((18, 18), (6, of_step)):
        decodes.clear()
        schedule = planned(store, m, images * m, epochs=6 * m)
        batches = all_batches(store, shared_folder, schedule)
        assert sum(decodes.values()) == sum(len(batch.decoded) for batch in batches)
        assert images <= max(len(batch.decoded) for batch in batches) <= most


def test_pairs_are_visited_side_by_side(mixed):
    store, _ = mixed
    schedule, mixes = planned(store, 2, 12), StoredMixes.of_store(store)
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    orders = [schedule.visit_order(index) for index in range(6)]
    for index, order in enumerate(orders):
        assert sorted(order) == list(range(18))
        partner = mixes.partners(order, schedule.crop_slots(index)[:1])[:, 0]
        assert np.array_equal(partner[::2], order[1::2])
        assert np.array_equal(partner[1::2], order[::2])
    assert len({tuple(order) for order in orders}) == 6
    plain = replace(schedule, pairs=None)
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence((0, 3))))
    assert np.array_equal(plain.visit_order(3), rng.permutation(18))


def test_a_part_a_selection_and_images_without_labels(
    shared_store, shared_folder, tmp_path, decodes
):
    store, mixes = mixed_store(
        tmp_path / "labels.zarr", shared_store, shared_folder, unusable=True, share=0.7
    )
    assert 0.3 < mixes.mixed.mean() < 0.8
    assert not (mixes.mixed & (mixes.image == UNUSABLE)).any()
    expected = all_views_by_hand(store, mixes, shared_folder, SIZE)
    chosen = np.array([0, 1, 4, 7, 8, 11, 16, 17])
    schedule = planned(store, 3, 9, chosen=chosen)
    batches = all_batches(store, shared_folder, schedule, chosen=chosen)
    equal_views(batches, expected)
    assert set(decodes) > set(chosen)
    picks = select_crops(Selection(max_entropy=1.0955), store)
    for stagger in (0, 2):
        schedule = planned(store, 3, 12, stagger=stagger)
        for render in ("cpu", "device"):
            batches = all_batches(store, shared_folder, schedule, picks=picks, render=render)
            equal_views(batches, expected)


def test_a_student_of_other_sizes(mixed, shared_folder):
    store, mixes = mixed
    sizes = SizePlan(((0, 20), (4, 48)), "bilinear")
    expected = {size: all_views_by_hand(store, mixes, shared_folder, size) for size in (20, 48)}
    schedule = planned(store, 2, 12, epochs=8, stagger=1)
    for render in ("cpu", "device"):
        batches = all_batches(store, shared_folder, schedule, sizes=sizes, render=render)
        equal_views(batches[:4], expected[20])
        equal_views(batches[4:], expected[48])


@pytest.mark.parametrize("m", [1, 3])
def test_partners_of_any_kind(shared_store, shared_folder, tmp_path, m, decodes):
    rng = np.random.default_rng(m)
    store, mixes = store_of_stored_mixes(tmp_path / "labels.zarr", shared_store, shared_folder, rng)
    expected = all_views_by_hand(store, mixes, shared_folder, SIZE)
    schedule = planned(store, m, 12, stagger=1)
    assert schedule.pairs is None
    for render in ("cpu", "device"):
        decodes.clear()
        batches = all_batches(store, shared_folder, schedule, render=render, workers=3)
        equal_views(batches, expected)


def test_the_first_crops_of_a_store(mixed, expected, shared_folder):
    store = LabelStore.open(mixed[0].path).of_first_crops(3)
    equal_views(all_batches(store, shared_folder, planned(store, 3, 9)), expected)


def test_an_image_at_a_time(mixed, expected):
    store, mixes = mixed
    dataset = CropDataset(store.path, crops_per_image=4, scheme="topk3")
    for epoch in range(2):
        dataset.set_epoch(epoch)
        for batch in dataset.__getitems__(range(18)):
            at = batch.image_index.numpy(), batch.crop_index.numpy()
            assert np.array_equal(batch.images, expected[at])
            assert np.array_equal(batch.own_share, mixes.own_share[at])
            assert np.array_equal(batch.partner_targets, store.targets()[mixes.image[at]])


def test_a_loop_of_ones_own(mixed, expected):
    store, _ = mixed
    settings = {"crops_per_image": 2, "batch_size": 12, "epochs": 4, "device": "cpu"}
    loader = StudentLoader(store.path, normalized=False, scheme="topk3", **settings)
    assert loader.mixed
    taken = [next(iter(loader)) for _ in range(3)]
    again = StudentLoader(store.path, normalized=False, scheme="topk3", **settings)
    again.load_state_dict(loader.state_dict())
    batch = next(iter(again))
    for each in (*taken, batch):
        assert np.array_equal(each.images, expected[each.image_index, each.crop_index])
        truth = each.take(slice(0, 3)).truth
        assert torch.equal(truth.partner, each.partner_targets[:3])
        assert torch.equal(truth.share, each.own_share[:3])
    loader.close()
    again.close()


def test_what_a_mixed_store_cannot_serve(mixed, shared_folder, tmp_path):
    store, _ = mixed
    settings = {"store": store.path, "crops_per_image": 2, "batch_size": 12, "scheme": "topk3"}
    with pytest.raises(FkdError, match=r"--calibrate gives .* are mixed of two images; leave it"):
        StudentLoader(**settings, calibrate=True)
    for name in ("mixup", "cutmix"):
        config = TrainConfig.of(**settings, **{name: 0.2}, epochs=1, out=tmp_path / "run")
        with pytest.raises(FkdError, match=f"--{name} 0.2: the views of .* say --{name} 0"):
            train_student(config)
    paths = list_images(shared_folder / "train").paths
    for path in paths[1:]:
        kept = tmp_path / "images" / path
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.symlink_to(shared_folder / "train" / path)
    with pytest.raises(
        FkdError, match=r"--drop-missing: 1 of 18 .* are mixed with those of others"
    ):
        StudentLoader(**settings, images=tmp_path / "images", drop_missing=True)
