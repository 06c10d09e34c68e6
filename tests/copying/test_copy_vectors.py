"""Copies, parts and merged stores have the vectors of the store that they were made of."""

import numpy as np
import pytest
from helpers.folders import make_image_folder, tiny_label_config
from helpers.processes import refused

from fkd import CopyConfig, FkdError, MergeConfig, Part, copy_store, label_images, merge_stores
from fkd.config import Target
from fkd.errors import SoftLabelError, StoreError
from fkd.vectors import KeptVectors

TARGETS = (Target("features"), Target("0", "f16", name="map"))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_image_folder(tmp_path_factory.mktemp("vectors") / "data", train_per_class=3)


@pytest.fixture(scope="module")
def store(images):
    """9 images in blocks of 4, 4 crops, labels, a vector and a map of each."""
    return label_images(config(images, "store.zarr", targets=TARGETS))


@pytest.fixture(scope="module")
def bare(images):
    """A store of the same images with a vector each and no labels."""
    return label_images(config(images, "bare.zarr", scheme="int8"))


def config(images, name, **changes):
    return tiny_label_config(
        images, images.parent / name, num_crops=4, block_images=4, workers=1, **changes
    )


def kept(store, rows=slice(None), num_crops=4):
    crops = store.read_images(range(store.spec.num_images), num_crops).kept
    return {name: values[rows] for name, values in crops.items()}


def same(one, other):
    assert one.keys() == other.keys()
    assert all(np.array_equal(one[name], values) for name, values in other.items())


def lines(path, *words):
    path.write_text("\n".join(words))
    return path


@pytest.mark.parametrize("which", ["store", "bare"])
def test_some_crops_of_some_images_keep_their_vectors(request, which, tmp_path):
    source = request.getfixturevalue(which)
    rows = [0, 2, 5, 8]
    listed = lines(tmp_path / "list", *(source.image_paths()[row] for row in rows))
    part = copy_store(CopyConfig(source.path, tmp_path / "a.zarr", Part(str(listed)), num_crops=2))
    same(kept(part, num_crops=2), kept(source, rows, 2))
    assert part.spec.targets == source.spec.targets


def test_vectors_stay_when_labels_are_kept_in_fewer_bytes(store, tmp_path):
    narrow = copy_store(CopyConfig(store.path, tmp_path / "a.zarr", scheme="topk1"))
    found, before = kept(narrow), kept(store)
    for name in ("vector.features", "scale.features", "vector.map"):
        assert np.array_equal(found[name], before[name])
    assert found["index"].shape == (9, 4, 1)


def test_a_copy_without_some_vectors_has_the_others_and_the_labels(store, tmp_path):
    small = copy_store(CopyConfig(store.path, tmp_path / "a.zarr", without=("map",)))
    before = kept(store)
    del before["vector.map"]
    same(kept(small), before)
    assert list(small.spec.vectors) == ["features"]
    assert not (tmp_path / "a.zarr/vector.map").exists()


def test_merged_parts_are_the_whole_again(store, tmp_path):
    parts = []
    for number, rows in enumerate((range(0, 9, 2), range(1, 9, 2))):
        listed = lines(tmp_path / f"{number}", *(store.image_paths()[row] for row in rows))
        out = tmp_path / f"{number}.zarr"
        parts.append(copy_store(CopyConfig(store.path, out, Part(str(listed)))).path)
    same(kept(merge_stores(MergeConfig(tuple(parts), tmp_path / "a.zarr"))), kept(store))


@pytest.fixture
def learning(monkeypatch):
    """Let vectors have a mean that a store has once, learned of a sample."""
    constants = property(lambda self: {f"mean.{self.name}": ("float32", (self.num_numbers,))})
    monkeypatch.setattr(KeptVectors, "constants", constants)
    monkeypatch.setattr(
        KeptVectors, "fit", lambda self, sample: {f"mean.{self.name}": sample.mean(0).numpy()}
    )


def test_what_was_learned_goes_along_and_is_not_mixed_up(images, learning, tmp_path):
    part = Part(classes=lines(tmp_path / "one", "circle"))
    other = Part(classes=lines(tmp_path / "two", "square\ntriangle"))
    whole = label_images(config(images, "learned.zarr", scheme="int8"))
    mean = whole.vectors("output").constants["mean.output"]
    assert np.ptp(mean) > 0
    halves = []
    for number, chosen in enumerate((part, other)):
        copy = copy_store(CopyConfig(whole.path, tmp_path / f"{number}.zarr", chosen))
        assert np.array_equal(copy.vectors("output").constants["mean.output"], mean)
        halves.append(copy.path)
    merged = merge_stores(MergeConfig(tuple(halves), tmp_path / "a.zarr"))
    assert np.array_equal(merged.vectors("output").constants["mean.output"], mean)
    of_others = whole.image_paths()[3:]
    apart = Part(str(lines(tmp_path / "list", *of_others, whole.image_paths()[0])))
    by_itself = label_images(config(images, "others.zarr", scheme="int8", part=apart))
    with pytest.raises(StoreError, match="learned of other views"):
        merge_stores(MergeConfig((halves[0], by_itself.path), tmp_path / "b.zarr"))


def test_what_a_store_has_not_is_refused(store, bare, tmp_path):
    for where, choice, error, words in (
        (store, {"without": ("mid",)}, StoreError, "no vectors named mid; it has features, map"),
        (bare, {"without": ("output",)}, FkdError, "leaves nothing"),
        (bare, {"scheme": "topk1"}, SoftLabelError, "no labels, but vectors"),
        (store, {"scheme": "none"}, SoftLabelError, r"labels \(topk3\), which stay"),
    ):
        with pytest.raises(error, match=words):
            copy_store(CopyConfig(where.path, tmp_path / "a.zarr", **choice))
    assert not (tmp_path / "a.zarr").exists()


def test_vectors_have_no_mean(store, bare, tmp_path):
    out = ("--out", tmp_path / "a.zarr")
    line = refused("average", store.path, bare.path, *out)
    assert "fkd copy --without features --without map" in line
    assert "vectors and no labels" in refused("average", bare.path, store.path, *out)
    joins = ("label", "--add-teacher", "resnet18", "--to", bare.path, store.spec.images_root)
    assert "vectors and no labels" in refused(*joins, *out)
