"""`fkd check` of mixed views: replaced partners and damage are found, sent back, and made again."""

import shutil

import numpy as np
import pytest
from helpers.folders import make_image_folder
from helpers.mixed import label_mixed
from helpers.stores import make_store
from PIL import Image

from fkd import CheckConfig, LabelStore, TeacherChoice, check_store
from fkd.store import StoredMixes
from fkd.views import Mixes

TEACHER = TeacherChoice("resnet18", "none")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An image folder and a store of 5 blocks of it, of mixed views."""
    folder = tmp_path_factory.mktemp("mixed")
    make_image_folder(folder / "data")
    label_mixed(folder / "data", folder / "labels.zarr", block_images=4)
    return folder


@pytest.fixture
def folder(whole, tmp_path):
    return shutil.copytree(whole, tmp_path / "here")


def check(folder, **settings):
    settings = {"images": folder / "data", "device": "cpu", **settings}
    report = check_store(CheckConfig(folder / "labels.zarr", **settings))
    return report, {verdict.part: (verdict.state, verdict.detail) for verdict in report.verdicts}


def test_a_teacher_says_the_same_of_both_images(whole, monkeypatch):
    report, found = check(whole, deep=True, teacher=(TEACHER,), num_views=40)
    assert report.ok
    assert found["mixes"][0] == "ok"
    assert "mean 0," in found["labels"][1]
    plain = staticmethod(lambda self, images, crops: Mixes.none(images[:, None]))
    monkeypatch.setattr("fkd.checking.teacher.StoredMixes.of", plain.__func__)
    _, found = check(whole, teacher=(TEACHER,), num_views=40)
    assert "mean 0," not in found["labels"][1]


def test_a_replaced_partner_is_found(folder):
    """Its block is labelled again, and all that are mixed with it are sent back."""
    store = LabelStore.open(folder / "labels.zarr")
    path = folder / "data" / "train" / store.image_paths()[9]
    before = path.stat().st_size
    pixels = np.array(Image.open(path).convert("RGB"))
    for quality in range(91, 20, -1):  # another picture of as many bytes
        Image.fromarray(255 - pixels).save(path, quality=quality)
        if path.stat().st_size <= before:
            break
    path.write_bytes(path.read_bytes() + bytes(before - path.stat().st_size))
    report, found = check(folder, deep=True)
    assert not report.ok
    assert found["contents"][0] == "FAILED"
    assert "is not the file that was labelled" in check(folder, teacher=(TEACHER,))[1]["labels"][1]
    (folder / "labels.zarr/done/c/2/0").unlink()
    label_mixed(folder / "data", folder / "labels.zarr", block_images=4)
    report, found = check(folder, repair=True)
    partners = StoredMixes.of_store(store).partners(np.array([9]), np.arange(6)) // 4
    assert set(report.sent_back) <= {*partners.ravel().tolist()}
    assert report.sent_back
    assert found["mixes"][0] == "FAILED"
    assert "images that views are mixed with are others now" in found["mixes"][1]
    label_mixed(folder / "data", folder / "labels.zarr", block_images=4)
    assert check(folder, deep=True)[0].ok


def test_a_damaged_hash_of_mixes_is_sent_back(folder):
    file = folder / "labels.zarr/mix_hash/c/1/0"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    report, found = check(folder, repair=True)
    assert report.damaged == report.sent_back == (1,)
    assert "its files are not those that were sealed" in found["checksums"][1]
    assert found["mixes"] == ("skipped", "they are compared when no block is damaged")
    report, found = check(folder, teacher=(TEACHER,), num_views=40)
    assert "are not compared" in found["mixes"][1]
    assert found["labels"][0] == "ok"
    label_mixed(folder / "data", folder / "labels.zarr", block_images=4)
    assert check(folder)[0].ok


def test_sizes_that_cannot_be_read_are_damage_of_their_block(folder):
    file = folder / "labels.zarr/size/c/1/0"
    file.write_bytes(file.read_bytes()[:-1])
    report, found = check(folder)
    assert report.damaged == (1,)
    assert found["mixes"][0] == "skipped"


def test_stored_mixes_are_possible_or_damage(tmp_path):
    _, blocks = make_store(tmp_path / "labels.zarr", stored_mixes=True)
    report, found = check(tmp_path, images=None)
    assert found["mixes"][0] == "ok"
    assert report.damaged == ()
    blocks[2].mixes.share[1, 1] = 300
    LabelStore.open(tmp_path / "labels.zarr", writable=True).commit_block(2, blocks[2])
    report, found = check(tmp_path, images=None)
    assert report.damaged == (2,)
    assert "image 9: a view is mixed with what is no view" in found["mixes"][1]
