"""A store of images with masks on a disk: what its attributes may say, and damage to its hashes."""

import shutil

import pytest
from helpers.masked import make_masked_folder, masked_config
from helpers.stores import change_attributes, make_store

from fkd import CheckConfig, LabelStore, check_store, label_images
from fkd.errors import BlockError, StoreError


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    camvid = make_masked_folder(folder / "camvid", train=4, val=0)
    return label_images(masked_config(camvid, folder / "labels.zarr", block_images=2)).path


@pytest.fixture
def path(made, tmp_path):
    return shutil.copytree(made, tmp_path / "labels.zarr")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"masks": 1}, "masks is 1"),
        ({"grid": []}, "grid is"),
        ({"format_version": 2}, "maps and lines are of version 3"),
        (
            {"views": {"seed": 0, "scale": [0.08, 1.0], "ratio": [0.75, 1.3], "mix": {
                "rule": "pairs-uint8-1", "mixup": 1, "cutmix": 0, "share": 1, "period": 4}}},
            "masks, and its views are mixed",
        ),
    ],
)  # fmt: skip
def test_attributes_that_no_labeller_writes(path, changes, words):
    change_attributes(path, sign=True, **changes)
    with pytest.raises(StoreError, match=words):
        LabelStore.open(path)


def test_images_that_have_classes_have_no_masks(tmp_path):
    make_store(tmp_path / "s.zarr")
    change_attributes(tmp_path / "s.zarr", sign=True, masks=True)
    with pytest.raises(StoreError, match="classes of images or labels of another grid"):
        LabelStore.open(tmp_path / "s.zarr")


def test_a_hash_of_a_mask_is_sealed(path):
    hashes = LabelStore.open(path).truth_hashes()
    file, other = (path / "mask_hash" / "c" / number for number in "10")
    shutil.copy(other, file)  # its checksum is right, and it is of another block
    with pytest.raises(BlockError, match="block 1: its files are not those that were sealed"):
        LabelStore.open(path).read_block(1)
    file.write_bytes(file.read_bytes()[:-3])
    with pytest.raises(StoreError, match=r"block 1: .*mask_hash"):
        LabelStore.open(path).truth_hashes()
    report = check_store(CheckConfig(path, workers=1, repair=True))
    assert report.sent_back == (1,)
    assert {v.part for v in report.verdicts if v.state == "FAILED"} == {"checksums", "masks"}
    assert LabelStore.open(path).truth_hashes().tolist() == [*hashes[:2].tolist(), 0, 0]
