"""Whoever decodes JPEG here, torchvision, torchcodec or Pillow: pixels and refusals are the same."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from fkd.errors import DecodeError
from fkd.images import decode, decoding, jpeg_decoder
from fkd.images.jpeg import find_operator, jpeg_size

KINDS = {
    "4:2:0": ("RGB", {"subsampling": 2}),
    "4:2:2": ("RGB", {"subsampling": 1, "quality": 40}),
    "4:4:4": ("RGB", {"subsampling": 0, "progressive": True}),
    "grey": ("L", {}),
    "cmyk": ("CMYK", {}),
}


@pytest.fixture(params=["torchvision", "torchcodec", "pillow"])
def decoder(request, monkeypatch):
    """Let one of the decoders be the one of this machine."""
    package = request.param
    operator = find_operator() if package == "torchvision" else find_operator(SimpleNamespace())
    if package == "pillow":
        operator = None
    elif operator is None or operator.package != package:
        pytest.skip(f"no {package} that decodes images")
    monkeypatch.setattr(decoding, "_JPEG", operator)
    return package


def noise(mode="RGB", height=45, width=61):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def exif_segment(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = exif.tobytes()
    return b"\xff\xe1" + (len(content) + 2).to_bytes(2, "big") + content


@pytest.mark.parametrize("kind", KINDS)
def test_every_decoder_makes_pillows_pixels(tmp_path, decoder, kind):
    mode, how = KINDS[kind]
    noise(mode).save(tmp_path / "x.jpg", **how)
    with Image.open(tmp_path / "x.jpg") as file:
        expected = torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)
    pixels = decode(str(tmp_path / "x.jpg"))
    assert torch.equal(pixels, expected)
    assert pixels.permute(1, 2, 0).is_contiguous()  # the layout that crops are rendered from


@pytest.mark.parametrize("before", [b"\xff\xdb", b"\xff\xc0", b"\xff\xc4", b"\xff\xda"])
def test_no_decoder_turns_an_image_as_its_exif_says(tmp_path, decoder, before):
    """EXIF may come anywhere before the data, and more than once."""
    noise().save(tmp_path / "x.jpg")
    expected = decode(str(tmp_path / "x.jpg"))
    content = bytearray((tmp_path / "x.jpg").read_bytes())
    at = content.index(before)
    content[at:at] = exif_segment(6) + b"\xff" + exif_segment(3)
    given = bytes(content)
    assert torch.equal(decode("x.jpg", content), expected)
    assert content == given
    with Image.open(tmp_path / "x.jpg") as file:
        assert jpeg_size(content) == file.size


def test_every_decoder_refuses_what_is_cut(tmp_path, decoder):
    noise().save(tmp_path / "x.jpg")
    content = (tmp_path / "x.jpg").read_bytes()
    for length in (4, 30, 300, 700, len(content) // 2, len(content) - 60):
        with pytest.raises(DecodeError) as caught:
            decode("x.jpg", bytearray(content[:length]))
        assert caught.value.reason == "damaged"
        assert ".cpp" not in str(caught.value)


def test_the_decoder_is_named_with_its_version(decoder):
    named = jpeg_decoder().split()
    assert named[0] == decoder
    assert named[1][0].isdigit()
    assert named[2:3] == (["with"] if decoder == "pillow" else [])


def test_torchvisions_operator_comes_first():
    operator = find_operator(SimpleNamespace(decode_jpeg=None))
    assert operator.package == "torchvision"


def test_without_any_operator_pillow_decodes(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchcodec.decoders", None)
    assert find_operator(SimpleNamespace()) is None


@pytest.mark.parametrize("error", [OSError("built for another torch"), RuntimeError("no library")])
def test_a_torchcodec_that_does_not_load_stops_nothing(monkeypatch, error):
    class Broken:
        def find_spec(self, name, *_):
            if name.startswith("torchcodec"):
                raise error

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    for name in [n for n in sys.modules if n.split(".")[0] == "torchcodec"]:
        monkeypatch.delitem(sys.modules, name)
    assert find_operator(SimpleNamespace()) is None
