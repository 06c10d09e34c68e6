"""Whoever renders otherwise than the labeller did is told by how much; all others hear nothing."""

import base64
import hashlib
import json
import re
import shutil
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.folders import label_config
from PIL import Image

from fkd import LabelStore, label_images
from fkd.errors import StoreError
from fkd.format.attributes import digest
from fkd.images import decode, jpeg_decoder
from fkd.originals import drift, pixel_probe, probe, probe_formats

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
    picture = (files("fkd.originals") / "probe.jpg").read_bytes()
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


# Pictures of the other formats: parts of the store's format too.
PICTURES = {
    "alpha.png": "6759bc0e0fca3e3f",
    "alpha.webp": "2522f08219455209",
    "chroma.jpg": "fc3233f7236a3683",
    "cmyk.jpg": "157d5ca34f6f77dd",
    "colour.bmp": "0dce0ee5afb49fe8",
    "colour.png": "ebe3adb408c137ee",
    "colour.ppm": "580e72f2c4be66f3",
    "colour.tiff": "25e12eeadac26a65",
    "deep.pgm": "8788ac6fe154cb4a",
    "deep.png": "82e15d6e2d4756f6",
    "deep.tiff": "be5ea9dcd56ad258",
    "grey.jpg": "e23010e2013dcb13",
    "jpeg.tiff": "e4ac92d9c9ece960",
    "lossy.webp": "1b2d3b9897f5addf",
    "palette.gif": "038b865b75c58ba2",
    "palette.png": "cac7fbb1e3ecffa6",
    "wide.jpg": "53cb6a577b3ac4c7",
}
SIZES = {"jpeg": 2349, "png": 768, "webp": 960, "gif": 192, "bmp": 192, "ppm": 384, "tiff": 1152}


def shifted(probes, name, by):
    """Return the probes of another decoder: one level of a format is `by` off."""
    levels = np.frombuffer(base64.b64decode(probes[name]), np.uint8).astype(int)
    levels[5] += by if levels[5] < 128 else -by
    return probes | {name: base64.b64encode(levels.astype(np.uint8).tobytes()).decode()}


def test_the_pictures_of_other_formats_are_those_of_the_format():
    folder = files("fkd.originals") / "probes"
    found = {p.name: hashlib.sha256(p.read_bytes()).hexdigest()[:16] for p in folder.iterdir()}
    assert found == PICTURES
    page = (Path(__file__).parents[2] / "docs" / "store-format.md").read_text("utf-8")
    assert all(f"{name} {digest}" in page for name, digest in PICTURES.items())


def test_only_formats_that_the_images_have_are_kept():
    assert list(probe_formats(["a/1.jpg", "a/2.JPEG"])) == ["jpeg"]
    assert list(probe_formats(["a/1.WebP", "a/2.png"])) == ["png", "webp"]
    every = probe_formats(["1.jpg", "1.png", "1.webp", "1.gif", "1.bmp", "1.pgm", "1.tif"])
    assert {name: len(base64.b64decode(text)) for name, text in every.items()} == SIZES


def test_what_is_kept_is_pixels_of_the_whole_range():
    for text in probe_formats(
        ["1.jpg", "1.png", "1.webp", "1.gif", "1.bmp", "1.ppm", "1.tiff"]
    ).values():
        levels = np.frombuffer(base64.b64decode(text), np.uint8)
        assert levels.min() < 40
        assert levels.max() > 230


def test_a_store_of_jpeg_files_says_nothing_of_other_formats(shared_store):
    attributes = json.loads((shared_store.path / "zarr.json").read_text())["attributes"]["fkd"]
    assert attributes["probes"] == probe_formats(["1.jpg"])
    assert shared_store.spec.probes == attributes["probes"]


def test_a_store_older_than_its_pictures_is_read_and_says_nothing(shared_store, tmp_path):
    path = with_attributes(shared_store, tmp_path / "old.zarr", probes={})
    metadata = json.loads((path / "zarr.json").read_text())
    content = metadata["attributes"]["fkd"]
    del content["probes"], content["versions"]["decoder"]
    metadata["attributes"]["sha256"] = digest(content)
    (path / "zarr.json").write_text(json.dumps(metadata))
    spec = LabelStore.open(path).spec
    assert spec.probes == {}
    assert drift(spec, path) is None
    older = replace(spec, probe=other_probe(shared_store, 9))
    assert f"(decoder unknown, now {jpeg_decoder()})" in drift(older, path)


def in_ycbcr(path, shrink=1):
    """Return u8 [H, W, 3] before colours are converted; of half the size chroma is as it is stored."""
    with Image.open(path) as file:
        file.draft("YCbCr", (file.width // shrink, file.height // shrink))
        return np.array(file)


def other_colours(path):
    """Convert the colours as Pillow does, to other fractions than libjpeg."""
    return Image.fromarray(in_ycbcr(path), "YCbCr").convert("RGB")


def plain_chroma(path):
    """Repeat chroma, as libjpeg does without its "fancy upsampling"."""
    whole, stored = in_ycbcr(path), in_ycbcr(path, 2)
    for axis in (0, 1):
        if stored.shape[axis] < whole.shape[axis]:
            stored = stored.repeat(2, axis)
    height, width = whole.shape[:2]
    pixels = np.dstack([whole[..., 0], stored[:height, :width, 1:]])
    return Image.fromarray(pixels, "YCbCr").convert("RGB")


@pytest.mark.parametrize(
    ("picture", "most"), [(other_colours, range(1, 2)), (plain_chroma, range(100, 256))]
)
def test_another_decoder_of_jpeg_is_noticed_and_named(shared_store, monkeypatch, picture, most):
    def otherwise(path):
        if Path(path).name != "chroma.jpg":
            return decode(path)
        return torch.from_numpy(np.array(picture(path))).permute(2, 0, 1)

    monkeypatch.setattr(pixel_probe, "decode", otherwise)
    versions = shared_store.spec.versions | {"decoder": "anyjpeg 1.0"}
    said = drift(replace(shared_store.spec, versions=versions), "s")
    assert f"(decoder anyjpeg 1.0, now {jpeg_decoder()}): on test pictures in jpeg they" in said
    assert int(re.search(r"and (\d+) at most$", said)[1]) in most


def test_a_changed_decoder_of_png_is_named_where_the_images_are_png(tmp_path, capsys):
    for name in ("a", "b", "c"):
        (tmp_path / "images" / name).mkdir(parents=True)
        Image.new("RGB", (24, 24), (9, 99, 199)).save(tmp_path / "images" / name / "1.png")
    store = label_images(label_config(tmp_path / "images", tmp_path / "png.zarr"))
    assert store.spec.probes == probe_formats(["1.png"])
    assert drift(store.spec, "s") is None

    other = shifted(store.spec.probes, "png", 12)
    path = with_attributes(store, tmp_path / "other.zarr", probes=other)
    spec = LabelStore.open(path).spec
    said = (
        "labelled on other pixels (same versions): on test pictures in png they differ by 0.016 of"
    )
    assert said in drift(spec, "s")
    assert "average and 12 at most" in drift(spec, "s")
    assert "on a test picture they differ" not in drift(spec, "s")

    label_images(label_config(tmp_path / "images", path))
    assert "12 at most; --overwrite labels" in capsys.readouterr().err


def test_both_kinds_of_pictures_are_named_together(shared_store):
    probes = shifted(probe_formats(["1.gif", "1.bmp"]), "bmp", 3)
    spec = replace(shared_store.spec, probe=other_probe(shared_store, 9), probes=probes)
    said = drift(spec, "s")
    assert "on a test picture they differ by 0.023 of 255 levels on average and 9 at most; " in said
    assert said.endswith("in bmp they differ by 0.016 of 255 levels on average and 3 at most")


@pytest.mark.parametrize("stored", [{"png": "AAAA"}, {"png": "no!"}, {"png": 5}, [], "png", None])
def test_probes_of_nonsense_are_damage(shared_store, tmp_path, stored):
    path = with_attributes(shared_store, tmp_path / "s.zarr", probes=stored)
    with pytest.raises(StoreError, match="damaged attributes"):
        drift(LabelStore.open(path).spec, path)


def test_formats_of_another_fkd_are_let_be(shared_store, tmp_path):
    path = with_attributes(shared_store, tmp_path / "s.zarr", probes={"jxl": "AAAA"})
    assert drift(LabelStore.open(path).spec, path) is None
