"""The same images from wherever they are, through the commands that a user types."""

import json

import numpy as np
import pytest
from helpers.folders import label_config
from helpers.sources import files_of, write_tar

from fkd import CheckConfig, check_store, label_images
from fkd.errors import ImagesError
from fkd.sources import dataset_root, list_images, list_val, require_images


@pytest.fixture
def archive(shared_folder, tmp_path):
    """One archive with train and val."""
    files = [
        (f"photos/{split}/{key}", content)
        for split in ("train", "val")
        for key, content in files_of(shared_folder / split)
    ]
    return write_tar(tmp_path / "photos.tar", files)


def test_train_and_val_of_one_archive(archive, shared_folder):
    train = list_images(archive)
    assert train.paths == list_images(shared_folder / "train").paths
    assert list_val(train).paths == list_images(shared_folder / "val").paths


def test_one_split_alone_has_no_val(shared_folder, tmp_path):
    path = write_tar(tmp_path / "x.tar", files_of(shared_folder / "train"))
    assert list_val(list_images(path)) is None


def test_a_file_named_train_finds_the_one_named_val(shared_folder, tmp_path):
    train = write_tar(tmp_path / "my-train.tar", files_of(shared_folder / "train"))
    write_tar(tmp_path / "my-val.tar", files_of(shared_folder / "val"))
    assert list_val(list_images(train)).paths == list_images(shared_folder / "val").paths


def test_nothing_is_asked_of_torch_before_a_file_that_is_not_there_is_refused(tmp_path):
    for path in (tmp_path / "x.tar", tmp_path / "x-{0..3}.tar"):
        with pytest.raises(ImagesError, match=r"does not exist|no file has a name"):
            require_images(path)


def test_labels_of_an_archive_train_from_the_folder_and_back(
    archive, shared_folder, tmp_path, run_fkd
):
    label = "label --teacher resnet18 --teacher-weights none --size 32 --crops 4 --compress topk3"
    done = run_fkd(*label.split(), "--device", "cpu", archive, "--out", "a.zarr")
    assert done.code == 0, done.err
    train = "train --student squeezenet1_1 --compress topk3 --epochs 4 --batch-size 12 --device cpu"
    losses = []
    for name, images in (("tar", None), ("folder", shared_folder), ("named", archive)):
        more = [] if images is None else ["--images", images]
        done = run_fkd(*train.split(), "a.zarr", "--out", name, *more)
        assert done.code == 0, done.err
        lines = [
            json.loads(x) for x in (tmp_path / name / "metrics.jsonl").read_text().splitlines()
        ]
        losses.append([(x["kind"], x.get("loss"), x.get("top1")) for x in lines])
    assert losses[0] == losses[1] == losses[2]
    assert any(kind == "eval" for kind, *_ in losses[0])
    done = run_fkd("check", "a.zarr", "--deep", "--images", shared_folder)
    assert done.code == 0, done.out


def test_a_store_refuses_other_images_in_an_archive(shared_store, shared_folder, tmp_path, run_fkd):
    files = files_of(shared_folder / "train")
    swapped = [(files[0][0], files[1][1]), (files[1][0], files[0][1]), *files[2:]]
    write_tar(tmp_path / "x.tar", swapped)
    done = run_fkd(
        "train", shared_store.path, "--images", "x.tar", "--compress", "topk3", "--device", "cpu"
    )
    assert done.code == 2
    assert "x.tar does not hold the images that" in done.err


def sample(path):
    """Write a shard of one image, which is named as the file is."""
    return write_tar(path, [(f"{path.stem}.jpg", b"\xff\xd8\xff"), (f"{path.stem}.cls", b"1")])


def test_a_shard_that_a_pattern_names_and_that_is_missing_is_refused(tmp_path):
    for number in (0, 2):
        sample(tmp_path / f"x-{number}.tar")
    with pytest.raises(ImagesError, match=r"x-1\.tar is missing, which .*x-\{0\.\.2\}\.tar names"):
        list_images(tmp_path / "x-{0..2}.tar")
    assert len(list_images(tmp_path / "x-*.tar")) == 2


def test_a_link_to_a_shard_that_is_gone_is_refused(tmp_path):
    sample(tmp_path / "0.tar")
    (tmp_path / "1.tar").symlink_to(tmp_path / "gone.tar")
    for named in (tmp_path, tmp_path / "*.tar"):
        with pytest.raises(ImagesError, match=r"1\.tar"):
            list_images(named)


def test_files_that_say_how_many_they_are_must_all_be_there(tmp_path):
    for number in (0, 2):
        sample(tmp_path / f"train-{number:05}-of-00003.tar")
    with pytest.raises(ImagesError, match=r"holds 2 of 3 files train-\*-of-00003\.tar"):
        list_images(tmp_path)
    assert len(list_images(tmp_path / "train-*-of-00003.tar")) == 2


def test_a_pattern_over_the_folders_of_splits_takes_one(tmp_path):
    for split in ("train", "test"):
        sample(tmp_path / split / f"{split}0.tar")
    assert list(list_images(tmp_path / "*" / "*0.tar").paths) == ["train0.jpg"]


def test_all_shards_of_val_belong_to_one_of_train(tmp_path):
    for name in ("train-0", "val-0", "val-1"):
        sample(tmp_path / f"{name}.tar")
    val = list_val(list_images(tmp_path / "train-0.tar"))
    assert list(val.paths) == ["val-0.jpg", "val-1.jpg"]


def test_the_images_that_a_part_left_out_are_no_val(shared_folder, tmp_path):
    path = write_tar(tmp_path / "x.tar", files_of(shared_folder / "train"))
    assert list_val(list_images(path).take(np.arange(4))) is None


def test_train_and_test_of_one_archive_are_no_val(tmp_path):
    files = [(f"{split}/c/1.jpg", b"\xff\xd8\xff") for split in ("train", "test")]
    assert list_val(list_images(write_tar(tmp_path / "x.tar", files))) is None


def test_archives_beside_the_folder_that_they_were_unpacked_to_are_left_alone(
    shared_folder, tmp_path
):
    write_tar(tmp_path / "ILSVRC2012_img_train.tar", [("n01440764/1.jpg", b"\xff\xd8\xff")])
    (tmp_path / "train").symlink_to(shared_folder / "train")
    assert dataset_root(tmp_path) == tmp_path / "train"


def test_a_list_of_val_says_nothing_of_training_images(tmp_path):
    files = [(f"{n}.jpg", b"\xff\xd8\xff") for n in range(2)]
    (tmp_path / "val.txt").write_text("0.jpg 0\n1.jpg 1\n")
    assert len(list_images(write_tar(tmp_path / "val.tar", files))) == 2
    with pytest.raises(ImagesError, match="lies in no class folder"):
        list_images(write_tar(tmp_path / "train.tar", files))


def test_a_flat_list_with_one_name_in_two_classes_is_refused(tmp_path):
    for folder in "ab":
        (tmp_path / "images" / folder).mkdir(parents=True)
        (tmp_path / "images" / folder / "1.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "val.txt").write_text("images/a/1.jpg 0\nimages/b/1.jpg 1\n")
    with pytest.raises(ImagesError, match=r"line 2: two images are named 1\.jpg, of two classes"):
        list_images(tmp_path)


def test_a_store_whose_shards_are_elsewhere_is_checked_without_them(shared_folder, tmp_path):
    files = files_of(shared_folder / "train")
    for shard in range(2):
        write_tar(tmp_path / f"x-{shard}.tar", files[shard::2])
    label_images(label_config(tmp_path / "x-{0..1}.tar", tmp_path / "s.zarr", num_crops=1))
    (tmp_path / "x-0.tar").unlink()
    (tmp_path / "x-1.tar").unlink()
    report = check_store(CheckConfig(store=tmp_path / "s.zarr"))
    assert (report.ok, report.skipped) == (True, ("images",))
