"""A merged store says of every image what the store said that it came from."""

import numpy as np
import pytest
from helpers.copies import KEYS, everything, files, labelled, teacher_probs
from helpers.processes import refused
from helpers.stores import change_attributes

from fkd import (
    CopyConfig,
    FkdError,
    LabelStore,
    MergeConfig,
    Part,
    compare,
    copy_store,
    merge_stores,
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return labelled(tmp_path_factory.mktemp("source") / "whole.zarr", "topk5-std", bad=(6,))


def halves(whole, folder, split):
    """Copy a store in parts: the rows of each, by a function of the row."""
    made = []
    for part in range(2):
        listed = folder / f"{part}.txt"
        listed.write_text("\n".join(k for row, k in enumerate(KEYS) if split(row) == part))
        out = folder / f"{part}.zarr"
        made.append(copy_store(CopyConfig(whole.path, out, Part(str(listed)))).path)
    return made


@pytest.mark.parametrize("split", [lambda row: row % 2, lambda row: row < 5])
def test_two_halves_are_the_whole_again(whole, tmp_path, split):
    """Numbers, labels, hashes and what it gives up: all of it is back, wherever the cut was."""
    parts = halves(whole, tmp_path, split)
    before = [files(path) for path in parts]
    merged = merge_stores(MergeConfig(tuple(parts), tmp_path / "merged.zarr"))
    assert [files(path) for path in parts] == before
    assert list(merged.image_paths()) == KEYS
    assert not merged.spec.numbered
    found, true = everything(merged), everything(whole)
    assert all(np.array_equal(found[name], true[name]) for name in true)
    assert merged.spec.fingerprint == whole.spec.fingerprint
    mine, theirs = merged.fidelity(), whole.fidelity()
    assert mine.kl == pytest.approx(theirs.kl, rel=0.1)
    assert mine.kept_shares == pytest.approx(theirs.kept_shares, rel=0.1)


def test_stores_of_different_folders_keep_the_views_of_each(tmp_path):
    """Both number their images from 0; merged, an image has the number that it had."""
    probs = teacher_probs()
    one = labelled(tmp_path / "a.zarr", "topk5", probs[:5], keys=KEYS[10:])
    other = labelled(tmp_path / "b.zarr", "topk5", probs[5:], keys=KEYS[:10], images_root="/others")
    merged = merge_stores(MergeConfig((one.path, other.path), tmp_path / "c.zarr"))
    assert merged.image_numbers().tolist() == [*range(10), *range(5)]
    found, first, last = everything(merged), everything(other), everything(one)
    for name, values in found.items():
        assert np.array_equal(values, np.concatenate([first[name], last[name]])), name
    weighed = (2 * other.fidelity().kl + one.fidelity().kl) / 3
    assert merged.fidelity().kl == pytest.approx(weighed, rel=1e-5)


def test_stores_of_other_numbers_are_not_compared(tmp_path):
    """The same images, seed and policy, and yet other crops."""
    whole = labelled(tmp_path / "whole.zarr", "topk5", keys=KEYS)
    parts = [
        labelled(tmp_path / f"{n}.zarr", "topk5", teacher_probs()[rows], keys=KEYS[rows])
        for n, rows in enumerate((slice(0, 5), slice(5, None)))
    ]
    stores = tuple(part.path for part in parts)
    merged = merge_stores(MergeConfig(stores, tmp_path / "merged.zarr"))
    change_attributes(whole.path, sign=True, fingerprint=merged.spec.fingerprint)
    with pytest.raises(FkdError, match="other numbers, by which views are drawn"):
        compare(merged, whole.path)
    assert compare(merged, merged.path).agreement == 1


def test_what_cannot_be_merged_is_refused_by_name(whole, tmp_path):
    probs, out = teacher_probs(), tmp_path / "out.zarr"
    rest = {"probs": probs[:5], "keys": [f"ant/{name}.jpg" for name in "abcde"]}
    other = {
        "crops": labelled(tmp_path / "crops.zarr", "topk5-std", probs[:5, :3], rest["keys"]),
        "scheme": labelled(tmp_path / "scheme.zarr", "topk4", **rest),
        "twice": labelled(tmp_path / "twice.zarr", "topk5-std", probs[:5], KEYS[5:10]),
        "half": labelled(tmp_path / "half.zarr", "topk5-std", **rest, skip=(1,)),
    }
    for name, words in (
        ("crops", "crops.zarr cannot be merged with "),
        ("crops", "--crops is 3, "),
        ("scheme", "--compress is topk4, "),
        ("twice", "both have bee/00.jpg"),
        ("half", "half.zarr is unfinished"),
    ):
        assert words in refused("merge", whole.path, other[name].path, "--out", out, alone=False)
    assert "takes at least two stores" in refused("merge", whole.path, "--out", out)
    assert "is named twice" in refused("merge", whole.path, whole.path, "--out", out)
    assert "none.zarr does not exist" in refused("merge", whole.path, "none.zarr", "--out", out)
    assert not out.exists()


def test_classes_of_other_names_are_refused(tmp_path):
    one = labelled(tmp_path / "a.zarr", "topk5", teacher_probs()[:5], keys=KEYS[:5])
    store = labelled(tmp_path / "b.zarr", "topk5", teacher_probs()[:5], keys=KEYS[5:10])
    spec, paths = store.spec, store.image_paths()
    names = ["ant", "bee", "dog", *store.class_names()[3:]]
    other = LabelStore.create(tmp_path / "c.zarr", spec, _images(store), store.targets(), names)
    assert list(other.image_paths()) == list(paths)
    for number in range(other.num_blocks):
        block, slab = other.empty_block(number), store.read_block(number)
        block.box[:], block.flip[:], block.size[:] = slab.box, slab.flip, slab.size
        block.kept |= slab.kept
        other.commit_block(number, block)
    with pytest.raises(FkdError, match="its class 2 is dog, not cow"):
        merge_stores(MergeConfig((one.path, other.path), tmp_path / "d.zarr"))


def _images(store):
    from pathlib import Path

    from fkd.images import ImageList

    targets, names = store.targets(), store.class_names()
    return ImageList(Path("/images"), store.image_paths(), targets, store.num_bytes(), names)
