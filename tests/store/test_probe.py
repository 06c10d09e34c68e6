"""Whoever renders otherwise than the labeller did is told by how much; all others hear nothing."""

import base64
import hashlib
import json
import shutil
from dataclasses import replace
from importlib.resources import files

import numpy as np
import pytest
from helpers.folders import label_config

from fkd import LabelStore, label_images
from fkd.errors import StoreError
from fkd.store import drift, probe
from fkd.store.attributes import digest

# A part of the store's format: docs/store-format.md.
PICTURE = "4900eb82c8efda334bc348af53156c087391577c3098783a09e0961ae7bcd2ec"


def with_attributes(store, path, **changes):
    """Copy a store, changing attributes as the fkd of another day would have written them."""
    shutil.copytree(store.path, path)
    metadata = json.loads((path / "zarr.json").read_text())
    content = metadata["attributes"]["fkd"]
    content |= changes
    metadata["attributes"]["sha256"] = digest(content)
    (path / "zarr.json").write_text(json.dumps(metadata))
    return path


def other_probe(store, *gaps):
    levels = np.frombuffer(base64.b64decode(store.spec.probe), np.uint8).astype(int)
    for row, gap in enumerate(gaps):
        levels[row] += gap if levels[row] < 128 else -gap
    return base64.b64encode(levels.astype(np.uint8).tobytes()).decode()


def test_the_picture_is_the_one_of_the_format():
    picture = (files("fkd.store") / "probe.jpg").read_bytes()
    assert hashlib.sha256(picture).hexdigest() == PICTURE


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_probe_has_two_views_full_of_detail(interpolation):
    views = np.frombuffer(base64.b64decode(probe(interpolation)), np.uint8).reshape(2, 3, 8, 8)
    assert views.std(axis=(2, 3)).min() > 5
    assert probe("bilinear") != probe("bicubic")


def test_the_same_renderer_says_nothing(shared_store, shared_folder, tmp_path, run_fkd):
    assert shared_store.spec.probe == probe("bilinear")
    assert drift(shared_store.spec, "s") is None
    older = replace(shared_store.spec, versions=shared_store.spec.versions | {"torch": "2.0"})
    assert drift(older, "s") is None


def test_a_change_of_libraries_is_named_with_its_size(shared_store):
    """Of 384 values one is 9 and one 3 levels off: 12 / 384 = 0.031 on average."""
    versions = shared_store.spec.versions | {"torch": "2.0"}
    spec = replace(shared_store.spec, probe=other_probe(shared_store, 9, 3), versions=versions)
    said = drift(spec, "labels.zarr")
    assert said.startswith("labels.zarr was labelled on other pixels (torch 2.0, now ")
    assert said.endswith("differ by 0.031 of 255 levels on average and 9 at most")
    assert "torchvision" not in said
    spec = replace(shared_store.spec, renderer="turbo-9")
    assert "(renderer turbo-9, now torch-antialias-uint8-1): on a" in drift(spec, "s")


def test_training_on_other_pixels_warns_and_goes_on(shared_store, tmp_path, run_fkd):
    path = with_attributes(
        shared_store, tmp_path / "old.zarr", renderer="old-1", probe=other_probe(shared_store, 40)
    )
    arguments = ["--student", "resnet18", "--batch-size", 12, "--epochs", 1, "--workers", 1]
    done = run_fkd("train", path, "--compress", "topk3", "--crops-per-image", 2, *arguments)
    assert done.code == 0, done.err
    assert "warning: " in done.err
    assert "renderer old-1, now torch-antialias-uint8-1" in done.err
    assert "and 40 at most" in done.err


def test_a_labeller_on_other_pixels_warns_before_it_goes_on(
    shared_store, shared_folder, tmp_path, capsys
):
    path = with_attributes(shared_store, tmp_path / "s.zarr", probe=other_probe(shared_store, 7))
    label_images(label_config(shared_folder, path))
    assert "7 at most; --overwrite labels all images anew" in capsys.readouterr().err


@pytest.mark.parametrize("stored", ["", "AAAA", "not base64!", "é", 5, None, "A" * 10_000])
def test_a_probe_of_nonsense_is_damage(shared_store, tmp_path, stored):
    path = with_attributes(shared_store, tmp_path / "s.zarr", probe=stored)
    with pytest.raises(StoreError, match="damaged attributes"):
        drift(LabelStore.open(path).spec, path)
