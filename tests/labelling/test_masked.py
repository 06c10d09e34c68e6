"""Images with masks are labelled by a teacher of maps: which classes, which images, and what stays."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.masked import CLASSES, MASKED_TEACHER, make_masked_folder, masked_config
from helpers.networks import TEACHER_CHOICE
from helpers.processes import refused
from PIL import Image

from fkd import (
    AddTeacherConfig,
    FkdError,
    LabelStore,
    Scheme,
    TeacherChoice,
    add_teacher,
    estimate_run,
    label_images,
)
from fkd.config import MixPolicy, Part, TonePolicy, ViewPolicy
from fkd.images import REASONS
from fkd.info import bad_images
from fkd.labelling import check_inputs
from fkd.originals import find_labelled_masks
from fkd.sources import list_images
from fkd.truth import find_masks


@pytest.fixture(scope="module")
def camvid(tmp_path_factory):
    return make_masked_folder(tmp_path_factory.mktemp("masked") / "camvid")


@pytest.fixture(scope="module")
def store(camvid):
    return label_images(masked_config(camvid, camvid.parent / "labels.zarr"))


@pytest.fixture
def own(camvid, tmp_path):
    """A copy of the data set that a test may change."""
    return shutil.copytree(camvid, tmp_path / "camvid")


def test_a_store_has_the_classes_of_the_masks_and_a_hash_of_each(camvid, store):
    assert (store.spec.masks, store.spec.unlabelled, store.spec.grid) == (True, True, (8, 8))
    assert (store.class_names(), store.targets()) == (CLASSES, None)
    assert store.spec.images_root == str(camvid / "train")
    masks = find_masks(list_images(camvid / "train", unlabelled=True))
    assert store.truth_hashes().tolist() == [masks.content_hash(n) for n in range(6)]
    content = json.loads((store.path / "zarr.json").read_text())["attributes"]["fkd"]
    assert (content["masks"], content["grid"]) == (True, [8, 8])
    assert check_inputs(masked_config(camvid, store.path)) == camvid / "train"


def test_values_that_are_other_classes_now_are_other_masks(own, store):
    images = list_images(own / "train", unlabelled=True)
    size = store.sizes()[0].astype(np.int64)
    find_labelled_masks(store, images).decode(0, size)
    lines = (own / "classes.txt").read_text().splitlines()
    (own / "classes.txt").write_text("\n".join([lines[1], lines[0], *lines[2:]]) + "\n")
    with pytest.raises(FkdError, match=r"classes\.txt gives its values other classes"):
        find_labelled_masks(store, images).decode(0, size)


def test_a_run_says_how_well_the_teacher_knows_the_masks(camvid, tmp_path, capsys):
    label_images(masked_config(camvid, tmp_path / "labels.zarr"))
    said = capsys.readouterr().err
    assert f"6 images with masks in {camvid / 'train'}" in said
    assert "the masks' 3 classes: sky, road, car" in said
    line = next(line for line in said.splitlines() if "pixel accuracy" in line)
    accuracy = float(line.partition("accuracy ")[2].partition("%")[0])
    assert accuracy > 90
    assert "(lowest: car " in line
    assert "on 6 centre crops of 32 px" in line
    assert "warning" not in said
    joining = AddTeacherConfig(tmp_path / "labels.zarr", MASKED_TEACHER, tmp_path / "two.zarr")
    add_teacher(replace(joining, device="cpu"))
    assert line in capsys.readouterr().err


def test_maps_keep_three_classes_unless_a_store_was_begun_with_five(camvid, tmp_path):
    made = label_images(masked_config(camvid, tmp_path / "a.zarr", scheme=None))
    assert str(made.spec.scheme) == "topk3-coarse"
    five = masked_config(camvid, tmp_path / "b.zarr", scheme="topk5-coarse", num_crops=2)
    label_images(five)
    grown = label_images(replace(five, scheme=None, num_crops=4))
    assert (str(grown.spec.scheme), grown.spec.num_crops) == ("topk5-coarse", 4)


def test_outputs_are_matched_by_name_and_those_of_one_name_added(camvid, store, tmp_path, capsys):
    names = tmp_path / "names.txt"
    teacher = replace(MASKED_TEACHER, classes_file=names)
    names.write_text("sky\nroad\ncar\n")
    alike = label_images(masked_config(camvid, tmp_path / "a.zarr", teacher=teacher))
    assert (store.read_block(0).kept["index"] == alike.read_block(0).kept["index"]).all()
    names.write_text("road\nroad\nsky\n")
    (tmp_path / "two").mkdir()
    two = shutil.copytree(camvid, tmp_path / "two" / "camvid")
    (two / "classes.txt").write_text("sky\nroad\n-\n-\n")
    merged = label_images(masked_config(two, tmp_path / "b.zarr", teacher=teacher))
    assert merged.class_names() == ("sky", "road")
    assert (
        "road): the probabilities of the outputs of one name are added" in capsys.readouterr().err
    )
    names.write_text("sky\nroad\ntree\n")
    with pytest.raises(FkdError, match=r"1 of 3 classes of masks are not in .*names\.txt: car"):
        label_images(masked_config(camvid, tmp_path / "c.zarr", teacher=teacher))


def test_classes_in_another_order_are_warned_of(own, tmp_path, capsys):
    (own / "classes.txt").write_text("car\nsky\nroad\n-\n")
    (tmp_path / "names.txt").write_text("sky\nroad\ncar\n")
    teacher = replace(MASKED_TEACHER, classes_file=tmp_path / "names.txt")
    label_images(masked_config(own, tmp_path / "labels.zarr", teacher=teacher))
    assert "is little better than guessing at pixels of 3 classes" in capsys.readouterr().err


def test_without_names_values_are_the_teachers_outputs(own, tmp_path):
    (own / "classes.txt").unlink()
    with pytest.raises(
        FkdError, match=r"000\.png: bad mask \(it has the value 3, and there are 3 cl"
    ):
        label_images(masked_config(own, tmp_path / "bad.zarr"))
    for file in (own / "trainannot").iterdir():
        values = np.array(Image.open(file))
        values[values == 3] = 255
        Image.fromarray(values).save(file)
    found = label_images(masked_config(own, tmp_path / "labels.zarr"))
    assert (found.class_names(), found.spec.masks) == (("0", "1", "2"), True)


def test_an_image_with_a_bad_mask_has_no_labels_and_its_reason(own, tmp_path, run_fkd):
    Image.new("L", (9, 9)).save(own / "trainannot" / "002.png")
    (own / "trainannot" / "004.png").write_bytes(b"no mask")
    with pytest.raises(
        FkdError, match=r"2 of 6 images cannot be used, .*the last one is .*004\.png"
    ):
        label_images(masked_config(own, tmp_path / "bad.zarr", max_bad=0.2))
    found = label_images(masked_config(own, tmp_path / "labels.zarr", max_bad=0.5))
    assert [REASONS[code] for code in found.status()] == [
        "bad mask" if n in (2, 4) else "labelled" for n in range(6)
    ]
    assert (found.truth_hashes() == 0).tolist() == [n in (2, 4) for n in range(6)]
    assert bad_images(found) == [("002.jpg", "bad mask"), ("004.jpg", "bad mask")]
    done = run_fkd("check", "labels.zarr")
    assert (done.code, "2 bad mask" in done.out) == (0, True)


def test_no_image_with_a_mask_that_can_be_used_is_told_at_once(own, tmp_path, capsys):
    (own / "classes.txt").write_text("sky\nroad\ncar\n")  # the void is not named
    with pytest.raises(FkdError, match="cannot be used"):
        label_images(masked_config(own, tmp_path / "labels.zarr"))
    said = capsys.readouterr().err
    assert "no image that was looked at can be used (" in said
    assert (
        "classes.txt has 3 lines, from value 0 on; add a line for each value, one as -void" in said
    )
    with pytest.raises(FkdError, match=r"none of the 6 images in .* can be used; the first: "):
        estimate_run(masked_config(own, tmp_path / "labels.zarr"))


def test_masks_are_left_alone_where_they_are_not_asked_for(camvid, store, tmp_path):
    plain = label_images(masked_config(camvid / "train", tmp_path / "a.zarr", unlabelled=True))
    assert (plain.spec.masks, plain.truth_hashes()) == (False, None)
    assert not (plain.path / "mask_hash").exists()
    with pytest.raises(FkdError, match="--unlabelled is given, the store has not given"):
        label_images(masked_config(camvid / "train", store.path, unlabelled=True))
    with pytest.raises(FkdError, match="--unlabelled is not given, the store has given"):
        label_images(masked_config(camvid, plain.path))
    whole = masked_config(camvid, tmp_path / "b.zarr", teacher=TEACHER_CHOICE, scheme=None)
    found = label_images(whole)
    assert (found.spec.masks, found.spec.grid, found.class_names()) == (False, (), ("0", "1", "2"))
    vectors = label_images(masked_config(camvid, tmp_path / "c.zarr", scheme="int8"))
    assert (vectors.spec.masks, vectors.spec.unlabelled) == (False, True)


def test_views_of_images_with_masks_change_their_tone_and_are_not_mixed(camvid, tmp_path):
    mixed = ViewPolicy(mix=MixPolicy(mixup=1))
    with pytest.raises(
        FkdError, match=r"--mixup 1: a pixel that is mixed of two images has no class"
    ):
        label_images(masked_config(camvid, tmp_path / "a.zarr", views=mixed))
    assert not (tmp_path / "a.zarr").exists()
    toned = ViewPolicy(tone=TonePolicy(brightness=0.2))
    assert label_images(masked_config(camvid, tmp_path / "b.zarr", views=toned)).spec.masks


def test_a_part_needs_the_masks_of_its_images_alone(own, tmp_path):
    for name in ("000", "003"):
        (own / "trainannot" / f"{name}.png").unlink()
    with pytest.raises(FkdError, match=r"000\.png is missing: 2 images of 6 in .* have no mask"):
        label_images(masked_config(own, tmp_path / "labels.zarr"))
    given = "--teacher", "helpers.masked:teacher", "--size", 32, "--out", tmp_path / "labels.zarr"
    assert "000.png is missing" in refused("label", *given, own)
    listed = tmp_path / "listed.txt"
    listed.write_text("001.jpg\n005.jpg\n")
    part = masked_config(own, tmp_path / "labels.zarr", part=Part(subset=str(listed)))
    assert list(label_images(part).image_paths()) == ["001.jpg", "005.jpg"]
    listed.write_text("000.jpg\n003.jpg\n")
    with pytest.raises(FkdError, match=r"chooses images of .* that have no masks, and others have"):
        label_images(replace(part, out=tmp_path / "none.zarr"))
    with pytest.raises(FkdError, match=r"--classes .* have no classes; leave it out"):
        label_images(
            masked_config(own, tmp_path / "n.zarr", part=Part(classes=own / "classes.txt"))
        )


def test_a_store_grows_by_crops_and_images_that_have_masks(own, tmp_path):
    config = masked_config(own, tmp_path / "labels.zarr", num_crops=2)
    first = label_images(config)
    assert label_images(replace(config, num_crops=4)).spec.num_crops == 4
    shutil.copy(own / "train" / "001.jpg", own / "train" / "900.jpg")
    with pytest.raises(FkdError, match=r"trainannot/900\.png is missing: 1 image of 7"):
        label_images(replace(config, num_crops=4, grow=True))
    shutil.copy(own / "trainannot" / "001.png", own / "trainannot" / "900.png")
    grown = label_images(replace(config, num_crops=4, grow=True))
    hashes = grown.truth_hashes()
    assert (len(hashes), hashes[6]) == (7, hashes[1])
    assert hashes[:6].tolist() == first.truth_hashes().tolist()
    Image.fromarray(np.array(Image.open(own / "trainannot" / "001.png")) % 2).save(
        own / "trainannot" / "001.png"
    )
    with pytest.raises(FkdError, match=r"001\.jpg has another mask than when its first crops were"):
        label_images(replace(config, num_crops=6, grow=True))


def test_a_run_that_was_stopped_goes_on(own, tmp_path, monkeypatch):
    config = masked_config(own, tmp_path / "labels.zarr", block_images=2)
    whole = label_images(replace(config, out=tmp_path / "whole.zarr"))
    stopped = LabelStore.commit_block

    def commit(self, number, block):
        if number == 2:
            raise KeyboardInterrupt
        stopped(self, number, block)

    with monkeypatch.context() as patch:
        patch.setattr(LabelStore, "commit_block", commit)
        with pytest.raises(KeyboardInterrupt):
            label_images(config)
    assert LabelStore.open(config.out).pending_blocks() == [2]
    resumed = label_images(config)
    assert resumed.truth_hashes().tolist() == whole.truth_hashes().tolist()
    for name in ("mask_hash", "index", "code"):
        files = [f for f in (resumed.path / name).rglob("*") if f.is_file()]
        assert files
        assert all(
            f.read_bytes() == (whole.path / f.relative_to(resumed.path)).read_bytes() for f in files
        )


def test_a_dry_run_knows_the_masks(camvid, tmp_path, store):
    said = dict(estimate_run(masked_config(camvid, tmp_path / "labels.zarr")).lines())
    assert "pixel accuracy" in said["teacher"]
    again = dict(estimate_run(masked_config(camvid, store.path)).lines())
    assert again["views"].endswith("24 of them labelled already")


@pytest.mark.parametrize("kind", ["archive", "list"])
def test_archives_and_lists_have_no_masks(camvid, tmp_path, kind):
    images = Path(shutil.make_archive(tmp_path / "train", "zip", camvid / "train"))
    if kind == "list":
        images = camvid / "train.csv"
        images.write_text("path\n" + "".join(f"train/{n:03}.jpg\n" for n in range(6)))
    with pytest.raises(FkdError, match=r"--unlabelled"):
        label_images(masked_config(images, tmp_path / "labels.zarr"))
    images.unlink()


def test_a_teacher_of_more_classes_keeps_them_all(camvid, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("car\nroad\nsky\n")
    teacher = TeacherChoice("helpers.masked:teacher", classes_file=names, all_classes=True, size=32)
    found = label_images(masked_config(camvid, tmp_path / "labels.zarr", teacher=teacher))
    assert found.class_names() == ("car", "road", "sky")
    assert found.spec.scheme == Scheme("topk", 2)
