"""Stores of mixed views are copied and averaged with their mixes, or refused in a line."""

import numpy as np
import pytest
from helpers.folders import make_image_folder
from helpers.mixed import MIX, label_mixed
from helpers.stores import make_store

from fkd import (
    AverageConfig,
    CheckConfig,
    CopyConfig,
    FkdError,
    LabelStore,
    MergeConfig,
    Part,
    TeacherChoice,
    average_stores,
    check_store,
    copy_store,
    merge_stores,
)
from fkd.config import MixPolicy
from fkd.orders import ExportLabelsConfig
from fkd.store import StoredMixes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """18 images, of which one is damaged, and stores of mixed views of them by two teachers."""
    folder = tmp_path_factory.mktemp("mixed")
    make_image_folder(folder / "data")
    (folder / "data/train/square/002.jpg").write_bytes(b"no image")
    label_mixed(folder / "data", folder / "a.zarr", block_images=4, max_bad=0.1)
    teacher = TeacherChoice("resnet34", "none", size=32)
    label_mixed(folder / "data", folder / "b.zarr", block_images=6, max_bad=0.1, teacher=teacher)
    return folder


def assert_same_mixes(one, other, crops=6):
    images = one.labelled_images()
    found = [StoredMixes.of_store(s).of(images, np.arange(crops)) for s in (one, other)]
    assert found[0].mixed.any()
    assert not found[0].unlike(found[1]).any()


@pytest.mark.parametrize(
    "choice", [{}, {"scheme": "topk2"}, {"num_crops": 5}], ids=["all", "scheme", "crops"]
)
@pytest.mark.parametrize("name", ["c.zarr", "c.zarr.zip"])
def test_a_copy_has_the_same_mixes(folder, tmp_path, choice, name):
    copy = copy_store(CopyConfig(folder / "a.zarr", tmp_path / name, **choice))
    assert_same_mixes(LabelStore.open(folder / "a.zarr"), copy, copy.spec.num_crops)
    assert check_store(CheckConfig(copy.path, images=folder / "data")).ok


def test_stored_mixes_are_copied(tmp_path):
    source, _ = make_store(tmp_path / "a.zarr", stored_mixes=True)
    copy = copy_store(CopyConfig(source.path, tmp_path / "b.zarr", scheme="topk2", num_crops=4))
    assert_same_mixes(source, copy, 4)


def test_an_average_has_the_same_mixes(folder, tmp_path):
    stores = folder / "a.zarr", folder / "b.zarr"
    mean = average_stores(AverageConfig(stores, tmp_path / "c.zarr"))
    assert_same_mixes(LabelStore.open(stores[0]), mean)
    assert check_store(CheckConfig(mean.path, images=folder / "data")).ok


def test_what_would_lose_partners_is_refused(folder, tmp_path):
    a, out = folder / "a.zarr", tmp_path / "out.zarr"
    (tmp_path / "list").write_text("circle/000.jpg\n")
    other = tmp_path / "other.zarr"
    label_mixed(folder / "data", other, MixPolicy(MIX.mixup, MIX.cutmix, MIX.share, 3), max_bad=0.1)
    refused = [
        (
            lambda: copy_store(CopyConfig(a, out, Part(str(tmp_path / "list")))),
            "a part of the images",
        ),
        (
            lambda: merge_stores(MergeConfig((a, other), out)),
            "cannot be merged: its views are mixed",
        ),
        (lambda: average_stores(AverageConfig((a, other), out)), "--mix-period is 3, not 4"),
    ]
    for make, message in refused:
        with pytest.raises(FkdError, match=message) as told:
            make()
        assert "\n" not in str(told.value)
        assert not out.exists()


def test_mixes_of_grown_images_are_not_made_anew(folder, tmp_path):
    grown = copy_store(CopyConfig(folder / "a.zarr", tmp_path / "a.zarr")).path
    data = make_image_folder(tmp_path / "data", seed=0)
    (data / "train/square/002.jpg").write_bytes(b"no image")
    for name in ("x", "y"):
        image = data / "train/circle" / f"{name}.jpg"
        image.write_bytes((data / "val/circle/000.jpg").read_bytes())
    label_mixed(data, grown, block_images=4, grow=True, max_bad=0.1)
    with pytest.raises(FkdError, match=r"has grown, and its images are mixed with those that were"):
        copy_store(CopyConfig(grown, tmp_path / "b.zarr", scheme="topk2"))
    copy = copy_store(CopyConfig(grown, tmp_path / "b.zarr"))
    assert_same_mixes(LabelStore.open(grown), copy)


def test_files_that_know_of_no_mixing_are_not_written(folder, tmp_path):
    from fkd.exchanging import export_labels

    with pytest.raises(FkdError, match="of which FKD's files say nothing"):
        export_labels(ExportLabelsConfig(folder / "a.zarr", tmp_path / "out", kind="hard"))
    assert not (tmp_path / "out").exists()
