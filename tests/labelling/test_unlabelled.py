"""Images without classes: labelled, checked, shown and trained on; what needs classes says so."""

import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.folders import label_config, make_image_folder
from helpers.processes import refused

from fkd import (
    CheckConfig,
    FkdError,
    ShowConfig,
    StudentLoader,
    TeacherChoice,
    check_store,
    compare,
    estimate_run,
    label_images,
    label_statistics,
    show_store,
)
from fkd.cli import main
from fkd.info import info_lines
from fkd.originals import find_images
from fkd.sources import dataset_root, list_images
from fkd.statistics import sampled_agreement
from fkd.store import LabelStore

CLASSES = ("circle", "square", "triangle")


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder of images at any depth, a teacher of three named classes, and the store of its labels."""
    folder = tmp_path_factory.mktemp("unlabelled")
    source = make_image_folder(folder / "data")
    pictures = folder / "pictures"
    for n, file in enumerate(sorted((source / "train").rglob("*.jpg"))):
        where = pictures / ("", "deep/er", "b.c")[n % 3]
        where.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, where / f"{n:02}.jpg")
    (pictures / "b.c" / "notes.txt").write_text("no image")
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    torch.save(squeezenet1_1(num_classes=3).state_dict(), folder / "teacher.pth")
    (folder / "names.txt").write_text("\n".join(CLASSES))
    store = label_images(config(folder))
    return folder, store


def config(folder, **changes):
    teacher = TeacherChoice(
        "squeezenet1_1", str(folder / "teacher.pth"), folder / "names.txt", size=48
    )
    settings = {"teacher": teacher, "unlabelled": True, "out": folder / "labels.zarr"} | changes
    return label_config(folder / "pictures", **settings)


def test_images_lie_at_any_depth_in_the_order_of_their_keys(made):
    folder, store = made
    keys = list(store.image_paths())
    assert keys[:3] == ["00.jpg", "03.jpg", "06.jpg"]
    assert keys[6:8] == ["b.c/02.jpg", "b.c/05.jpg"]
    assert keys[-1] == "deep/er/16.jpg"
    listed = list_images(folder / "pictures", unlabelled=True)
    assert (listed.classes, set(listed.targets.tolist()), dict(listed.left_out)) == (
        (),
        {-1},
        {".txt": 1},
    )
    assert listed.unlabelled
    assert listed.take(np.array([1])).name(0) == str(folder / "pictures" / "03.jpg")


def test_train_is_the_split_where_no_image_lies_beside_it(tmp_path):
    make_image_folder(tmp_path, train_per_class=1, val_per_class=1)
    train = tmp_path / "train"
    assert dataset_root(tmp_path, unlabelled=True) == train
    assert dataset_root(tmp_path, unlabelled=True, split=False) == tmp_path
    shutil.copy(train / "circle" / "000.jpg", tmp_path)
    assert dataset_root(tmp_path, unlabelled=True) == tmp_path
    assert dataset_root(tmp_path) == train


def test_a_store_of_them_has_the_teachers_classes_and_no_targets(made):
    folder, store = made
    assert store.spec.unlabelled
    assert store.class_names() == CLASSES
    assert store.targets() is None
    assert not (store.path / "target").exists()
    assert set(store.read_crops(range(2)).target.tolist()) == {-1}
    said = dict(info_lines(store.path))
    assert said["images"] == f"18 without classes in {folder / 'pictures'}"
    assert said["classes"] == "3, the teacher's"
    attributes = json.loads((store.path / "zarr.json").read_text())["attributes"]["fkd"]
    assert attributes["unlabelled"] is True


def test_labels_are_those_that_class_folders_get(made, tmp_path):
    """Of the same keys, and so the same views; and neither labelling goes on with the other."""
    folder, _ = made
    root = folder / "data" / "train"
    settings = {"out": tmp_path / "labels.zarr", "images": root}
    plain = replace(config(folder, unlabelled=False), **settings)
    with_classes = label_images(plain)
    without = label_images(replace(plain, unlabelled=True, out=tmp_path / "other.zarr"))
    one, other = with_classes.read_block(0), without.read_block(0)
    for name, values in one.kept.items():
        assert (values == other.kept[name]).all()
    for out, unlabelled in ((with_classes, True), (without, False)):
        with pytest.raises(FkdError, match=r"--unlabelled is (not )?given, the store has"):
            label_images(replace(plain, unlabelled=unlabelled, out=out.path))
    with pytest.raises(FkdError, match="--unlabelled is not given, the store has given"):
        label_images(replace(config(folder, unlabelled=False), images=folder / "data"))
    both = compare(with_classes, without)
    assert (both.agreement, both.num_images) == (1, 18)


def test_labelling_goes_on_and_looks_at_the_teacher_first(made, tmp_path, capsys):
    folder, _ = made
    own = config(folder, out=tmp_path / "again.zarr", block_images=9)
    shutil.copytree(label_images(own).path, tmp_path / "copy.zarr")
    shutil.rmtree(own.out / "done" / "c" / "1")
    capsys.readouterr()
    again = label_images(own)
    said = capsys.readouterr().err
    assert re.search(r"^images +18 images without classes in .*pictures$", said, flags=re.M)
    assert re.search(
        r"^classes +the teacher's 3 classes: circle, square, triangle$", said, flags=re.M
    )
    assert "without classes to compare with, on 18 centre crops" in said
    assert "guessing" not in said
    one, other = (s.read_block(1).kept for s in (again, LabelStore.open(tmp_path / "copy.zarr")))
    assert all((values == other[name]).all() for name, values in one.items())
    lines = dict(estimate_run(config(folder, out=tmp_path / "none")).lines())
    assert "mean top probability" in lines["teacher"]


def test_it_is_checked_by_its_images_and_by_the_teacher(made):
    folder, store = made
    teachers = config(folder).teachers
    report = check_store(
        CheckConfig(store.path, deep=True, teacher=teachers, num_views=8, device="cpu")
    )
    assert report.ok, report
    said = {verdict.part: verdict.detail for verdict in report.verdicts}
    assert said["lists"] == "18 images, 3 classes of the teacher; images have none"
    assert said["labels"].startswith("top-1 agrees on 100.0% of 8 views")


@pytest.mark.parametrize("scheme", ["topk3", "hard"])
def test_its_page_has_no_section_of_classes(made, tmp_path, scheme, capsys):
    folder, store = made
    if scheme == "hard":
        store = label_images(config(folder, scheme=scheme, out=tmp_path / "hard.zarr"))
    found = label_statistics(store)
    assert found.agreement is found.classes is found.confusion is None
    assert found.area.agreement is None
    assert sampled_agreement(store) is None
    page = show_store(ShowConfig(store.path, tmp_path / "page", samples=1)).read_text()
    assert "The images have no classes of their own" in page
    for word in ("top-1 is the class", "folder's class", "Does the teacher name"):
        assert word not in page
    assert ("Least sure crops" in page) == (scheme == "topk3")
    assert "108 crops of images without classes" in capsys.readouterr().err


def test_a_student_learns_and_is_evaluated_on_class_folders(made, tmp_path, monkeypatch, capsys):
    folder, store = made
    monkeypatch.chdir(tmp_path)
    command = ["train", store.path, "--val", folder / "data" / "val", "--out", "run", "--epochs", 4]
    command += ["--student", "shufflenet_v2_x0_5", "--batch-size", 12, "--crops-per-image", 2]
    command += ["--compress", "topk3", "--device", "cpu", "--subset", "50%"]
    main([str(word) for word in command], standalone_mode=False)
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["num_images"] for line in lines if line["kind"] == "eval"][-1] == 6
    assert "9 of 18 images (--subset 50%), 3 classes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--hard-weight", "0.5"], "--hard-weight 0.5: the hard part of the loss is on an image's own"),
        (["--hard-weight-end", "1"], "--hard-weight-end 1: the hard part"),
        (["--label-smoothing", "0.1"], "--label-smoothing 0.1: the hard part"),
        (["--calibrate"], "--calibrate gives crops their folder's class, and the images of"),
        (["--classes", "names.txt"], "--classes names.txt: the images of"),
    ],
)  # fmt: skip
def test_what_needs_classes_is_refused(made, monkeypatch, option, words):
    folder, store = made
    monkeypatch.chdir(folder)
    command = ["train", store.path, "--compress", "topk3", "--crops-per-image", 2]
    assert words in refused(*command, "--batch-size", 12, *option)
    settings = {"crops_per_image": 2, "scheme": "topk3", "batch_size": 12, "epochs": 2}
    if option[0] == "--calibrate":
        with pytest.raises(FkdError, match=words):
            StudentLoader(store.path, calibrate=True, **settings)


def test_its_images_are_found_where_the_user_says(made, tmp_path):
    folder, store = made
    shutil.copytree(folder / "pictures", tmp_path / "moved")
    assert find_images(store, tmp_path / "moved").paths == store.image_paths()
    (tmp_path / "moved" / "deep" / "new.jpg").write_bytes(b"x")
    with pytest.raises(FkdError, match=r"deep/new\.jpg is new"):
        find_images(store, tmp_path / "moved")


def test_a_folder_without_images_is_refused(tmp_path):
    command = ["label", "--teacher", "resnet18", "--out", tmp_path / "s.zarr"]
    missing = refused(*command, "--unlabelled", tmp_path / "none")
    assert "none does not exist or cannot be reached; give a folder with images" in missing
    flat = tmp_path / "flat"
    flat.mkdir()
    (flat / "a.jpg").write_bytes(b"x")
    message = refused(*command, flat)
    assert (
        "make one subfolder per class, or take images without classes with --unlabelled" in message
    )
    (flat / "a.jpg").rename(flat / "a.txt")
    with pytest.raises(FkdError, match=r"holds no image at any depth \(.*\) but 1 \.txt"):
        list_images(flat, unlabelled=True)
