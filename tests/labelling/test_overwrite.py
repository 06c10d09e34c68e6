"""`--overwrite` takes a store away only when a new one is there, and never from under another run."""

import os
import shutil

import numpy as np
import pytest
from helpers.folders import tiny_label_config as label_config

from fkd import FkdError, LabelStore, TeacherChoice, ViewPolicy, label_images
from fkd.errors import StoreError
from fkd.machine import held


def contents(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


def labelled(folder, out, **changes):
    return label_images(label_config(folder, out, **changes))


def test_a_store_is_replaced_by_one_of_other_settings(shared_folder, tmp_path):
    out = tmp_path / "s.zarr"
    before = labelled(shared_folder, out)
    box = before.read_block(0).box
    after = labelled(shared_folder, out, views=ViewPolicy(seed=9), overwrite=True)
    assert after.spec.views.seed == 9
    assert not np.array_equal(after.read_block(0).box, box)
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]


def test_a_store_that_another_run_writes_is_not_replaced(shared_folder, tmp_path, run_fkd):
    out = tmp_path / "s.zarr"
    labelled(shared_folder, out)
    before = contents(out)
    with held(out / "zarr.json", StoreError("busy"), "fkd label"):
        arguments = ["--teacher", "resnet18", "--teacher-weights", "none", "--size", 32]
        done = run_fkd("label", shared_folder, *arguments, "--overwrite", "--out", out)
    assert f"another `fkd label` is at work on {out}" in done.error_line()
    assert contents(out) == before


def test_a_lock_on_a_file_that_was_replaced_is_no_lock(tmp_path, monkeypatch):
    file, busy = tmp_path / "zarr.json", StoreError("busy")
    file.write_text("old")
    stat = os.stat

    def replaced(path):
        (tmp_path / "new").write_text("new")
        os.replace(tmp_path / "new", file)
        return stat(path)

    monkeypatch.setattr("os.stat", replaced)
    with pytest.raises(StoreError, match="busy"), held(file, busy, "fkd label"):
        pass


def test_files_of_the_user_keep_a_store_from_being_replaced(shared_folder, tmp_path):
    out = tmp_path / "s.zarr"
    labelled(shared_folder, out)
    (out / "mine").mkdir()
    (out / "mine" / "thesis.tex").write_text("years")
    before = contents(out)
    with pytest.raises(FkdError, match="holds mine, which is no part of a label store"):
        labelled(shared_folder, out, overwrite=True)
    assert contents(out) == before


def test_a_disk_that_takes_no_new_store_keeps_the_old_one(shared_folder, tmp_path, monkeypatch):
    out = tmp_path / "s.zarr"
    labelled(shared_folder, out)
    before, rename = contents(out), os.rename

    def full(source, target):
        if str(source).endswith(".partial"):
            raise OSError(28, "No space left on device")
        rename(source, target)

    monkeypatch.setattr("os.rename", full)
    with pytest.raises(FkdError, match="cannot be created"):
        labelled(shared_folder, out, overwrite=True)
    assert contents(out) == before
    assert [p.name for p in tmp_path.iterdir()] == ["s.zarr"]


def test_a_link_to_a_store_is_followed(shared_folder, tmp_path):
    labelled(shared_folder, tmp_path / "s.zarr")
    (tmp_path / "link.zarr").symlink_to(tmp_path / "s.zarr")
    labelled(shared_folder, tmp_path / "link.zarr", views=ViewPolicy(seed=3), overwrite=True)
    assert (tmp_path / "link.zarr").is_symlink()
    assert LabelStore.open(tmp_path / "s.zarr").spec.views.seed == 3


@pytest.mark.parametrize("place", ["labels.zarr", "circle/labels.zarr", "."])
def test_a_store_does_not_lie_among_the_images(image_folder, tmp_path, place):
    flat = shutil.copytree(image_folder / "train", tmp_path / "flat")
    before = contents(flat)
    with pytest.raises(FkdError, match=r"lies (inside|around) the image folder"):
        labelled(flat, flat / place)
    assert contents(flat) == before
    with pytest.raises(FkdError, match="lies around the image folder"):
        labelled(flat, tmp_path)


@pytest.mark.parametrize(
    ("changes", "name", "said"),
    [
        ({"size": 48}, "--size", "32, 48, the store has 32, 40"),
        (
            {"interpolation": "bicubic"},
            "--interpolation",
            "bilinear, bicubic, the store has bilinear, bilinear",
        ),
    ],
)
def test_no_teacher_of_several_may_see_otherwise_than_before(
    shared_folder, tmp_path, changes, name, said
):
    first, second = (TeacherChoice("resnet18", "none", size=size) for size in (32, 40))
    labelled(shared_folder, tmp_path / "s.zarr", teacher=(first, second))
    other = TeacherChoice(**{"name": "resnet18", "weights": "none", "size": 40} | changes)
    with pytest.raises(FkdError, match=f"other settings: {name} is {said};"):
        labelled(shared_folder, tmp_path / "s.zarr", teacher=(first, other))
