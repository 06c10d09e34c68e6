"""Samples of more than 8 bits are scaled, whatever file they come in, or refused; none is clipped."""

import numpy as np
import pytest
from helpers.files import deep_png, grey_tiff
from PIL import Image

from fkd.errors import DecodeError
from fkd.images import decode

RAMP = np.tile(np.linspace(0, 1, 64), (8, 1))
LEVELS = np.floor(RAMP[0] * 65_535).astype(int) >> 8


def ramp(top, dtype):
    return np.floor(RAMP * top).astype(dtype)


def red(path):
    pixels = decode(str(path)).int()
    assert pixels.shape == (3, 8, 64)
    assert all((row == pixels[0, 0]).all() for row in pixels[0])
    return pixels[0, 0].numpy()


@pytest.mark.parametrize("top", [1, 15, 100, 255, 300, 1023, 4095, 65_535])
@pytest.mark.parametrize("magic", ["P2", "P3", "P5", "P6"])
def test_netpbm_files_of_any_maximum_run_from_black_to_white(tmp_path, magic, top):
    grey = ramp(top, int)
    samples = np.repeat(grey[..., None], 3, 2) if magic in ("P3", "P6") else grey
    if magic in ("P2", "P3"):
        body = " ".join(map(str, samples.ravel())).encode()
    else:
        body = samples.astype(">u2" if top > 255 else "u1").tobytes()
    (tmp_path / "x.ppm").write_bytes(f"{magic}\n64 8\n{top}\n".encode() + body)
    assert np.abs(red(tmp_path / "x.ppm") - grey[0] / top * 255).max() <= 1


@pytest.mark.parametrize("kind", [2, 6])
def test_png_of_sixteen_bits_in_colour_is_taken_by_its_high_byte(tmp_path, kind):
    channels = 3 if kind == 2 else 4
    deep_png(tmp_path / "x.png", np.repeat(ramp(65_535, int)[..., None], channels, 2), kind)
    assert np.array_equal(red(tmp_path / "x.png"), LEVELS)


@pytest.mark.parametrize("suffix", ["png", "tiff", "pgm"])
def test_sixteen_bits_in_grey_are_the_same_in_every_format(tmp_path, suffix):
    Image.fromarray(ramp(65_535, np.uint16)).save(tmp_path / f"x.{suffix}")
    assert np.array_equal(red(tmp_path / f"x.{suffix}"), LEVELS)


def test_twelve_bits_in_a_tiff_reach_white(tmp_path):
    grey_tiff(tmp_path / "x.tiff", ramp(4095, np.uint16), 12)
    assert np.array_equal(red(tmp_path / "x.tiff"), ramp(4095, int)[0] >> 4)


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_levels_in_32_bits_are_taken_as_they_are(tmp_path, dtype):
    Image.fromarray(ramp(255, dtype)).save(tmp_path / "x.tiff")
    assert np.array_equal(red(tmp_path / "x.tiff"), ramp(255, int)[0])


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (ramp(65_535, np.int32), "32-bit samples from 0 to 65535"),
        (ramp(255, np.int32) - 9, "from -9 to 246"),
        (RAMP.astype(np.float32), "from 0 to 1,"),
        (np.full((8, 64), np.nan, np.float32), "from nan to nan"),
    ],
)
def test_samples_without_a_known_white_are_refused(tmp_path, samples, said):
    Image.fromarray(samples).save(tmp_path / "x.tiff")
    with pytest.raises(DecodeError, match=said) as caught:
        decode(str(tmp_path / "x.tiff"))
    assert caught.value.reason == "damaged"


def test_signed_samples_and_a_negative_are_refused(tmp_path):
    grey_tiff(tmp_path / "signed.tiff", ramp(32_767, np.int16), 16, sample_format=2)
    grey_tiff(tmp_path / "negative.tiff", ramp(65_535, np.uint16), 16, white_is_zero=True)
    grey_tiff(tmp_path / "double.tiff", RAMP, 64, sample_format=3)
    for name, said in {
        "signed": "from 0 to 32767",
        "negative": "whose zero is white",
        "double": "TIFF with a header or samples that Pillow does not read",
    }.items():
        with pytest.raises(DecodeError, match=said):
            decode(str(tmp_path / f"{name}.tiff"))
