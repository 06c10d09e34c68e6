"""Copies, parts and merged stores have the vectors of the store that they were made of."""

import numpy as np
import pytest
from helpers.folders import vector_config
from helpers.processes import refused
from helpers.vectors import kept

from fkd import CopyConfig, FkdError, MergeConfig, Part, copy_store, label_images, merge_stores
from fkd.errors import SoftLabelError, StoreError
from fkd.info import bytes_per_crop


def same(one, other):
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], values) for name, values in other.items())


def lines(path, *words):
    path.write_text("\n".join(words))
    return path


@pytest.mark.parametrize("which", ["vector_store", "bare_store"])
def test_some_crops_of_some_images_keep_their_vectors(request, which, tmp_path):
    source = request.getfixturevalue(which)
    rows = [0, 2, 7, 17]
    listed = lines(tmp_path / "list", *(source.image_paths()[row] for row in rows))
    part = copy_store(CopyConfig(source.path, tmp_path / "a.zarr", Part(str(listed)), num_crops=2))
    same(kept(part, num_crops=2), kept(source, rows, 2))
    assert part.spec.targets == source.spec.targets


def test_vectors_stay_when_labels_are_kept_in_fewer_bytes(vector_store, tmp_path):
    narrow = copy_store(CopyConfig(vector_store.path, tmp_path / "a.zarr", scheme="topk1"))
    found, before = kept(narrow), kept(vector_store)
    for name in ("vector.features", "scale.features", "vector.map"):
        assert np.array_equal(found[name], before[name])
    assert found["index"].shape == (18, 4, 1)


def test_a_copy_without_some_vectors_has_the_others_and_the_labels(vector_store, tmp_path):
    small = copy_store(CopyConfig(vector_store.path, tmp_path / "a.zarr", without=("map",)))
    before = kept(vector_store)
    del before["vector.map"]
    same(kept(small), before)
    assert list(small.spec.vectors) == ["features"]
    assert not (tmp_path / "a.zarr/vector.map").exists()


def test_merged_parts_are_the_whole_again(vector_store, tmp_path):
    parts = []
    for number, rows in enumerate((range(0, 18, 2), range(1, 18, 2))):
        listed = lines(tmp_path / f"{number}", *(vector_store.image_paths()[row] for row in rows))
        out = tmp_path / f"{number}.zarr"
        parts.append(copy_store(CopyConfig(vector_store.path, out, Part(str(listed)))).path)
    same(kept(merge_stores(MergeConfig(tuple(parts), tmp_path / "a.zarr"))), kept(vector_store))


def test_what_was_learned_goes_along_and_is_not_mixed_up(shared_folder, tmp_path):
    part = Part(classes=lines(tmp_path / "one", "circle"))
    other = Part(classes=lines(tmp_path / "two", "square\ntriangle"))
    whole = label_images(vector_config(shared_folder, "learned.zarr", scheme="pca2"))
    learned = whole.vectors("output").constants
    assert np.ptp(learned["mean.output"]) > 0
    assert bytes_per_crop(whole)["learned"] > bytes_per_crop(whole)["vector output"] / 10
    halves = []
    for number, chosen in enumerate((part, other)):
        copy = copy_store(CopyConfig(whole.path, tmp_path / f"{number}.zarr", chosen))
        same(copy.vectors("output").constants, learned)
        halves.append(copy.path)
    merged = merge_stores(MergeConfig(tuple(halves), tmp_path / "a.zarr"))
    same(merged.vectors("output").constants, learned)
    of_others = whole.image_paths()[6:]
    apart = Part(str(lines(tmp_path / "list", *of_others, whole.image_paths()[0])))
    by_itself = label_images(vector_config(shared_folder, "others.zarr", scheme="pca2", part=apart))
    with pytest.raises(StoreError, match="learned of other views"):
        merge_stores(MergeConfig((halves[0], by_itself.path), tmp_path / "b.zarr"))


def test_stores_of_other_classes_or_of_labels_are_not_merged(shared_folder, shared_store, tmp_path):
    """Vectors ask nothing of --teacher-classes."""
    names = ("circle", "square\ntriangle")
    one, two = (
        label_images(
            vector_config(shared_folder, f"of-{n}.zarr", scheme="int8", num_crops=1,
                          part=Part(classes=lines(tmp_path / str(n), kinds)))
        ).path
        for n, kinds in enumerate(names)
    )  # fmt: skip
    out = ("--out", tmp_path / "a.zarr")
    line = refused("merge", one, two, *out)
    assert f"{two} cannot be merged with {one}: its images are of 2 classes (square, tri" in line
    assert f"those of {one} of 1 class (circle); label parts of one folder" in line
    line = refused("merge", one, shared_store.path, *out)
    assert f"it holds labels, {one} has vectors and no labels" in line
    assert not (tmp_path / "a.zarr").exists()


def test_what_a_store_has_not_is_refused(vector_store, bare_store, tmp_path):
    for where, choice, error, words in (
        (
            vector_store,
            {"without": ("mid",)},
            StoreError,
            "no vectors named mid; it has features, map",
        ),
        (bare_store, {"without": ("output",)}, FkdError, "leaves nothing"),
        (bare_store, {"scheme": "topk1"}, SoftLabelError, "no labels, but vectors"),
        (vector_store, {"scheme": "none"}, SoftLabelError, r"labels \(topk3\), which stay"),
    ):
        with pytest.raises(error, match=words):
            copy_store(CopyConfig(where.path, tmp_path / "a.zarr", **choice))
    assert not (tmp_path / "a.zarr").exists()


def test_vectors_have_no_mean(vector_store, bare_store, tmp_path):
    out = ("--out", tmp_path / "a.zarr")
    line = refused("average", vector_store.path, bare_store.path, *out)
    assert "fkd copy --without features --without map" in line
    assert "vectors and no labels" in refused("average", bare_store.path, vector_store.path, *out)
    joins = (
        "label",
        "--add-teacher",
        "resnet18",
        "--to",
        bare_store.path,
        vector_store.spec.images_root,
    )
    assert "vectors and no labels" in refused(*joins, *out)
