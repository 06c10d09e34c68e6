"""The same images from wherever they are, through the commands that a user types."""

import json

import pytest
from helpers.sources import files_of, write_tar

from fkd.errors import ImagesError
from fkd.sources import list_images, list_val, require_images


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
