"""`fkd check` of a store whose images had masks: are they there, and the same?"""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.masked import CLASSES, MASKED_TEACHER, make_masked_folder, masked_config
from PIL import Image

from fkd import CheckConfig, check_store, label_images
from fkd.checking.recorded import load_recorded
from fkd.sources import list_images


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("masked")
    camvid = make_masked_folder(folder / "camvid", train=4, val=0)
    return camvid, label_images(masked_config(camvid, folder / "labels.zarr"))


def verdicts(store, images, **more):
    report = check_store(CheckConfig(store.path, images=images, workers=1, **more))
    return {one.part: one for one in report.verdicts}, report.ok


def test_masks_that_are_there_and_the_same_are_said_so(made):
    camvid, store = made
    found, ok = verdicts(store, camvid)
    assert ok
    assert found["masks"].detail.startswith(
        f"4 in {camvid / 'trainannot'}, one for each image; --deep"
    )
    assert found["lists"].detail == "4 images, 3 classes of their masks"
    deep, ok = verdicts(store, camvid, deep=True)
    assert (ok, deep["masks"].state) == (True, "ok")
    assert deep["masks"].detail.endswith("as it was when that was labelled, by its hash")


def test_a_teacher_that_is_asked_again_is_matched_to_the_classes_of_the_masks(made, tmp_path):
    camvid, store = made
    images, cpu = list_images(camvid / "train", unlabelled=True), torch.device("cpu")
    (tmp_path / "names.txt").write_text("car\nsky\nroad\n")
    for file in (None, tmp_path / "names.txt"):
        choice = replace(MASKED_TEACHER, classes_file=file)
        assert load_recorded(store, images, [choice], cpu).classes.names == CLASSES


def test_masks_that_are_missing_or_others_fail(made, tmp_path):
    _, store = made
    camvid = shutil.copytree(made[0], tmp_path / "camvid")
    file = camvid / "trainannot" / "002.png"
    values = np.array(Image.open(file))
    Image.fromarray(np.where(values == 2, 1, values).astype(np.uint8)).save(file)
    assert verdicts(store, camvid)[1]
    found, ok = verdicts(store, camvid, deep=True)
    assert (ok, found["contents"].state, found["masks"].state) == (False, "ok", "FAILED")
    assert f"{file} is not the mask that was there when its image" in found["masks"].detail
    file.unlink()
    found, ok = verdicts(store, camvid)
    assert not ok
    assert f"{file} is missing: 1 image of 4" in found["masks"].detail
    (camvid / "train" / "002.jpg").unlink()  # as with --drop-missing, its mask is not looked for
    assert verdicts(store, camvid)[0]["masks"].detail.startswith("3 in ")
    shutil.rmtree(camvid / "trainannot")
    assert "has no masks, and the images of" in verdicts(store, camvid)[0]["masks"].detail


def test_classes_that_the_store_has_not_fail(made, tmp_path):
    _, store = made
    camvid = shutil.copytree(made[0], tmp_path / "camvid")
    (camvid / "classes.txt").write_text("sky\nroad\nbus\n-void\n")
    found, ok = verdicts(store, camvid)
    assert not ok
    assert "1 of 3 classes are not among those of" in found["masks"].detail
