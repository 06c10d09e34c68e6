"""Decoding at the edges: animations, EXIF, deep grey, files cut short, and files that are no image."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.files import jpeg_bomb
from helpers.folders import label_config
from PIL import Image, features

from fkd import Scheme, label_images
from fkd.config import CenterView
from fkd.errors import DecodeError
from fkd.images import REASONS, decode, inspect, read_file
from fkd.images import decoding as images
from fkd.orders import PackConfig
from fkd.originals.labelled_images import LabelledImages
from fkd.packing import pack_images
from fkd.sources import list_images
from fkd.views import RenderPool, evaluation_batches, render

AVIF = pytest.param(
    "avif", marks=pytest.mark.skipif(not features.check("avif"), reason="a Pillow without AVIF")
)


def noise(height=20, width=30, seed=0):
    rng = np.random.default_rng(seed)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def look(path):
    look_inside(path)
    return decode(path)


def look_inside(path):
    inspect(path, read_file(path))


@pytest.mark.parametrize("suffix", ["gif", "webp", "png", "tiff"])
def test_of_an_animation_the_first_frame_is_taken(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    noise(seed=0).save(path, save_all=True, append_images=[noise(seed=1), noise(seed=2)])
    with Image.open(path) as first:
        expected = np.array(first.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(decode(str(path)).numpy(), expected)


def test_exif_orientation_is_left_alone(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(20, 30).save(tmp_path / "x.jpg", exif=exif)
    assert decode(str(tmp_path / "x.jpg")).shape == (3, 20, 30)


@pytest.mark.parametrize("suffix", ["ppm", "pgm"])
def test_netpbm_files_decode(tmp_path, suffix):
    image = noise() if suffix == "ppm" else noise().convert("L")
    image.save(tmp_path / f"x.{suffix}")
    expected = np.array(image.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(decode(str(tmp_path / f"x.{suffix}")).numpy(), expected)


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", AVIF])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.8, 0.95])
def test_a_file_cut_anywhere_is_damaged(tmp_path, suffix, share):
    path = tmp_path / f"x.{suffix}"
    noise(64, 64).save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DecodeError) as caught:
        look(str(path))
    assert caught.value.reason == "damaged"
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("suffix", [AVIF])
def test_avif_decodes_by_its_content_and_is_not_turned(tmp_path, suffix):
    exif = Image.Exif()
    exif[0x0112] = 6
    noise(20, 30).save(tmp_path / f"x.{suffix}", exif=exif)
    (tmp_path / f"x.{suffix}").rename(tmp_path / "named.jpg")
    with Image.open(tmp_path / "named.jpg") as file:
        expected = np.array(file.convert("RGB")).transpose(2, 0, 1)
    assert np.array_equal(look(str(tmp_path / "named.jpg")).numpy(), expected)


def test_a_pipe_is_read_to_its_end(tmp_path):
    os.mkfifo(tmp_path / "x.png")
    noise().save(tmp_path / "whole.png")
    content = (tmp_path / "whole.png").read_bytes()
    with ThreadPoolExecutor(1) as writer:
        written = writer.submit((tmp_path / "x.png").write_bytes, content)
        assert read_file(str(tmp_path / "x.png")) == content
        written.result()


def test_the_content_counts_and_not_the_suffix(tmp_path):
    noise().save(tmp_path / "real.png")
    (tmp_path / "real.png").rename(tmp_path / "named.jpg")
    expected = np.array(noise()).transpose(2, 0, 1)
    assert np.array_equal(decode(str(tmp_path / "named.jpg")).numpy(), expected)


def test_a_link_that_leads_nowhere_is_a_missing_image(tmp_path):
    (tmp_path / "a").mkdir()
    os.symlink(tmp_path / "gone.jpg", tmp_path / "a" / "x.jpg")
    found = list_images(tmp_path)
    assert found.num_bytes.tolist() == [0]
    with pytest.raises(DecodeError) as caught:
        found.read(0)
    assert caught.value.reason == "missing"


def test_the_bytes_of_the_image_do_not_change_by_rendering(tmp_path):
    noise().save(tmp_path / "x.png")
    pixels = decode(str(tmp_path / "x.png"))
    before, out = pixels.clone(), torch.empty(3, 16, 16, dtype=torch.uint8)
    render(pixels, np.array([2, 3, 10, 12], np.uint16), True, out, "bicubic")
    assert torch.equal(pixels, before)


@pytest.fixture
def bombs(tmp_path):
    """A folder with three images and a JPEG of under 1 kB whose header claims 24,000 × 24,000 pixels."""
    (tmp_path / "d" / "c").mkdir(parents=True)
    for number in range(3):
        noise(40, 40, number).save(tmp_path / "d" / "c" / f"{number}.jpg")
    jpeg_bomb(tmp_path / "d" / "c" / "bomb.jpg")
    assert (tmp_path / "d" / "c" / "bomb.jpg").stat().st_size < 1000
    return list_images(tmp_path / "d")


def test_a_bomb_is_refused_before_memory_is_taken_for_it(bombs, monkeypatch):
    decoded = []
    monkeypatch.setattr(torch.ops.image, "decode_jpeg", lambda *_: decoded.append(1))
    for look in (
        decode,
        look_inside,
        lambda path: LabelledImages(bombs, None).decode(3, np.ones(2)),
    ):
        with pytest.raises(DecodeError) as caught:
            look(bombs.name(3))
        assert caught.value.reason == "too large"
    assert not decoded


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.parametrize(
    "before",
    [
        b"",
        b"\xff\xff\xff",  # fill bytes
        b"\xff\xe1\x00\x0b\xff\xc0\x00\x11\x08\x00\x01\x00\x01",  # another frame, in metadata
        b"junk\xff\x00junk",
    ],
)
def test_no_disguise_of_the_header_hides_a_bomb(bombs, monkeypatch, before, native):
    monkeypatch.setattr(images, "_JPEG", images._JPEG if native else None)
    content = bytearray(Path(bombs.name(3)).read_bytes())
    after_first = 4 + int.from_bytes(content[4:6])
    content[after_first:after_first] = before
    with pytest.raises(DecodeError) as caught:
        decode("x.jpg", content)
    # Pillow takes no junk before a marker; libjpeg does.
    assert caught.value.reason == "too large" or (b"junk" in before and not native)


def test_the_header_of_a_jpeg_is_read_without_pillow(bombs, monkeypatch):
    monkeypatch.setattr(Image, "open", None)
    assert decode(bombs.name(0)).shape == (3, 40, 40)


def test_a_bomb_is_a_bad_image_to_every_command(bombs, tmp_path):
    report = pack_images(PackConfig(bombs.root, tmp_path / "small", "shortest", 8, workers=1))
    assert report.bad == ((bombs.name(3), "too large"),)
    with RenderPool(1, torch.device("cpu")) as pool:
        batch = next(evaluation_batches(pool, bombs, [range(4)], CenterView(32, "bilinear")))
    assert batch.usable.tolist() == [True, True, True, False]
    assert batch.errors[0].reason == "too large"
    scheme = Scheme.parse("hard")
    config = label_config(bombs.root, tmp_path / "s.zarr", num_crops=2, scheme=scheme, max_bad=0.5)
    store = label_images(config)
    assert [REASONS[code] for code in store.status()] == ["labelled"] * 3 + ["too large"]
