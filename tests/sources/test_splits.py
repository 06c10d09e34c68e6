"""`train` and `val` may be splits or classes: a class is never left out unseen."""

import shutil

import pytest
from helpers.folders import make_image_folder
from helpers.processes import refused
from PIL import Image

from fkd.cli import main
from fkd.errors import ImagesError
from fkd.orders import PackConfig
from fkd.originals import find_images
from fkd.packing import pack_images
from fkd.sources import dataset_root, list_images, split_folder
from fkd.store import LabelStore


def tree(root, *files):
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8)).save(root / file)
    return root


def test_beside_other_splits_train_is_the_split(tmp_path):
    root = tree(
        tmp_path, "train/a/1.jpg", "val/a/1.jpg", "test/1.jpg", "test2/1.jpg", "more/a/1.jpg"
    )
    assert dataset_root(root) == root / "train"
    assert split_folder(root, "val") == root / "val"


def test_among_classes_train_is_a_class(tmp_path):
    root = tree(tmp_path, "bus/1.jpg", "train/1.jpg", "car/deep/1.jpg")
    assert dataset_root(root) == root
    assert list_images(root).classes == ("bus", "car", "train")


def test_a_split_may_have_a_class_train(tmp_path):
    root = tree(
        tmp_path, "train/bus/1.jpg", "train/train/1.jpg", "val/bus/1.jpg", "val/train/1.jpg"
    )
    assert dataset_root(root) == root / "train"
    assert dataset_root(root / "train") == root / "train"


@pytest.mark.parametrize(
    "files",
    [
        ["bus/1.jpg", "train/express/1.jpg", "train/freight/1.jpg"],
        ["bus/1.jpg", "train/1.jpg", "test/1.jpg"],
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(tmp_path, files):
    root = tree(tmp_path / "data", *files)
    with pytest.raises(ImagesError, match=f"a class like bus beside it; name {root}/train for"):
        dataset_root(root)
    with pytest.raises(ImagesError, match="in two ways"):
        pack_images(PackConfig(root, tmp_path / "out", "shortest", 8))
    assert not (tmp_path / "out").exists()
    assert dataset_root(root / "train") == root / "train"
    with pytest.raises(ImagesError, match="or add --no-split where it is a class"):
        dataset_root(root)
    with pytest.raises(ImagesError, match="or rename that folder where it is a class"):
        split_folder(root, "train")
    assert dataset_root(root, split=False) == root


def test_a_class_train_is_labelled_and_trained_on_where_the_user_says_so(tmp_path, monkeypatch):
    """Its store is found again without being asked: keys tell which folder they are in."""
    source = make_image_folder(tmp_path / "source", train_per_class=2, val_per_class=1) / "train"
    root = tmp_path / "voc"
    for name, place in (
        ("circle", "bus"),
        ("square", "train/express"),
        ("triangle", "train/freight"),
    ):
        shutil.copytree(source / name, root / place)
    monkeypatch.chdir(tmp_path)
    command = ["label", root, "--out", "labels.zarr", "--teacher", "resnet18", "--teacher-weights"]
    command += ["none", "--size", 32, "--crops", 2, "--device", "cpu"]
    assert "add --no-split where it is a class" in refused(*command)
    main([str(word) for word in [*command, "--no-split"]], standalone_mode=False)
    store = LabelStore.open("labels.zarr")
    assert store.class_names() == ("bus", "train")
    assert list(store.image_paths()) == [
        "bus/000.jpg", "bus/001.jpg", "train/express/000.jpg", "train/express/001.jpg",
        "train/freight/000.jpg", "train/freight/001.jpg",
    ]  # fmt: skip
    for folder in (None, root):
        assert find_images(store, folder).root == root
    packed = pack_images(PackConfig(root, tmp_path / "small", pixels=16, split=False))
    assert packed.packed == 6
    assert list_images(tmp_path / "small").classes == ("bus", "train")


def test_val_among_classes_is_not_taken_for_the_split(tmp_path):
    tree(tmp_path, "bus/1.jpg", "val/1.jpg")
    assert split_folder(tmp_path, "val") == tmp_path
    tree(tmp_path, "val/deep/1.jpg")
    with pytest.raises(ImagesError, match="val is the split to take, or a class like bus"):
        split_folder(tmp_path, "val")


def test_splits_that_are_taken_for_classes_are_named(tmp_path, capsys):
    root = tree(tmp_path, "validation/a/1.jpg", "Test/a/1.jpg")
    assert dataset_root(root) == root
    assert "warning:  Test, validation of" in capsys.readouterr().err
    dataset_root(root)
    dataset_root(tree(tmp_path / "other", "a/1.jpg", "test/1.jpg"))
    assert capsys.readouterr().err == ""


def test_what_is_left_out_beside_a_split_that_may_be_a_class_is_named(tmp_path, capsys):
    root = tree(tmp_path / "a", "train/deep/1.jpg", "bus/deep/1.jpg", "car/deep/1.jpg")
    assert dataset_root(root) == root / "train"
    assert "is taken for a split, and bus, car beside it left out" in capsys.readouterr().err
    dataset_root(tree(tmp_path / "b", "train/deep/1.jpg", "val/deep/1.jpg", "more/deep/1.jpg"))
    (tmp_path / "c" / "notes").mkdir(parents=True)
    dataset_root(tree(tmp_path / "c", "train/deep/1.jpg"))
    assert capsys.readouterr().err == ""
