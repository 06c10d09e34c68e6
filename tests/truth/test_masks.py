"""Masks are read as numbers of classes; what is no mask is refused in one line that names the file."""

import io
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
import xxhash
from PIL import Image

from fkd.config import IGNORED
from fkd.errors import DecodeError, ImagesError
from fkd.truth import Masks

VALUES = np.array([[0, 1, 2, 3], [255, 2, 1, 0]], np.uint8)
NAMED = Masks(
    Path("m"), ["a.jpg"], ("sky", "road", "car"), (0, 1, 2, IGNORED), Path("data/classes.txt")
)


def as_png(image, **how):
    file = io.BytesIO()
    image.save(file, "PNG", **how)
    return bytearray(file.getvalue())


def palette(values, bits=8):
    image = Image.fromarray(values, "P")
    image.putpalette([n * 7 % 256 for n in range(3 * 256)])
    return as_png(image, bits=bits)


def test_values_become_classes_and_colours_say_nothing():
    expected = torch.tensor([[0, 1, 2, IGNORED], [IGNORED, 2, 1, 0]], dtype=torch.uint8)
    for encoded in (as_png(Image.fromarray(VALUES)), palette(VALUES)):
        assert torch.equal(NAMED.decode(0, encoded, (2, 4)), expected)
    few = palette(VALUES[:1], bits=2)
    assert few[24] == 2
    assert torch.equal(NAMED.decode(0, few), expected[:1])


def test_a_mask_is_read_beside_its_image(tmp_path):
    encoded = as_png(Image.fromarray(VALUES))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "c.d.png").write_bytes(encoded)
    masks = Masks(tmp_path, ["a.jpg", "b/c.d.jpeg"], ("x",) * 3, (0, 1, 2, IGNORED))
    assert masks.name(1) == str(tmp_path / "b" / "c.d.png")
    assert masks.read(1).shape == (2, 4)
    classes = bytes(masks._classes_of)  # what each value is belongs to what a mask says
    assert masks.content_hash(1) == xxhash.xxh3_64_intdigest(encoded + classes)
    with pytest.raises(DecodeError, match=r"a\.png: bad mask \(missing\)") as error:
        masks.read(0)
    assert error.value.reason == "bad mask"


def one_bit_wrong():
    """A PNG of which one bit of its pixels has flipped."""
    encoded = as_png(Image.fromarray(np.arange(4096, dtype=np.uint8).reshape(64, 64) % 3))
    encoded[len(encoded) // 2] ^= 4
    return encoded


def huge():
    """A PNG whose header claims more pixels than fit in memory."""
    encoded = as_png(Image.fromarray(VALUES))
    encoded[16:24] = (60_000).to_bytes(4, "big") * 2
    encoded[29:33] = zlib.crc32(encoded[12:29]).to_bytes(4, "big")
    return encoded


@pytest.mark.parametrize(
    ("encoded", "says"),
    [
        (as_png(Image.fromarray(np.stack([VALUES] * 3, 2))), "it is colours; save numbers of"),
        (as_png(Image.fromarray(np.stack([VALUES] * 4, 2))), "it is colours with alpha"),
        (as_png(Image.fromarray(VALUES.astype(np.uint16))), "it is grey of 16 bits; save"),
        (as_png(Image.fromarray(VALUES > 0)), "it is grey of 1 bit; save"),
        (bytearray(b"\xff\xd8\xff" + b"x" * 40), "JPEG .*; save it as PNG"),
        (bytearray(b"\x89PNG\r\n\x1a\n"), "PNG with a header"),
        (bytearray(b"\x89PNG\r\n\x1a\n" + b"x" * 40), "its header is damaged"),
        (as_png(Image.fromarray(VALUES))[:50], "it cannot be decoded"),
        (one_bit_wrong(), "it cannot be decoded"),
        (huge(), "it cannot be decoded: .*too large"),
        (as_png(Image.fromarray(VALUES + 4)), r"the value 4, and data/classes\.txt has 4 lines"),
    ],
)
def test_what_is_no_mask_is_refused(encoded, says):
    with pytest.raises(DecodeError, match=rf"^m/a\.png: bad mask \(.*{says}"):
        NAMED.decode(0, encoded)


def test_a_mask_of_another_size_than_its_image_is_refused():
    with pytest.raises(DecodeError, match="it has 4×2 pixels, its image 2×4; save it as large"):
        NAMED.decode(0, as_png(Image.fromarray(VALUES)), (4, 2))


def test_classes_are_matched_by_name_and_unnamed_ones_by_number():
    matched = NAMED.matched(("car", "tree", "road", "sky"), "the store's")
    assert (matched.numbers, matched.classes[1]) == ((3, 2, 0, IGNORED), "tree")
    with pytest.raises(ImagesError, match="1 of 3 classes are not among the store's: car; spell"):
        NAMED.matched(("sky", "road"), "the store's")
    many = (*map(str, range(260)), "sky", "road", "car")
    with pytest.raises(ImagesError, match="class car is number 262 of the store's"):
        NAMED.matched(many, "the store's")
    bare = Masks(Path(), ["a.jpg"])
    assert torch.equal(bare.decode(0, as_png(Image.fromarray(VALUES))), torch.from_numpy(VALUES))
    with pytest.raises(DecodeError, match="the value 3, and there are 3 classes; say in a file"):
        bare.matched(("a", "b", "c"), "it").decode(0, as_png(Image.fromarray(VALUES)))
