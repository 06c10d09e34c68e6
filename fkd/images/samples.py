"""From the samples of an opened image, of whatever depth, to 8-bit RGB.

Pillow's own conversion clips whatever is above 255: a 16-bit image would turn white.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    TiffImageFile,
)

_WHITE_IS_ZERO = 0


def eight_bit_rgb(file: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of an opened image, uint8 [H, W, 3].

    Deep grey is taken by its high byte. Raises `ValueError` where nothing says what white is.
    """
    if file.mode.startswith("I;16"):
        return _high_byte(file, _depth(file))
    if file.mode == "I" and file.format == "PPM":
        return _high_byte(file, 16)  # whatever its maximum was, Pillow scales it to 65,535
    if file.mode in ("I", "F"):
        _refuse_unknown_range(file)
    return np.array(file.convert("RGB"))


def _depth(file: Image.Image) -> int:
    """Return how many bits of 16 a grey image uses. A TIFF of 12 bits is not scaled by Pillow."""
    if not isinstance(file, TiffImageFile):
        return 16
    if file.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == _WHITE_IS_ZERO:
        raise ValueError("deep grey whose zero is white; save it with zero as black")
    bits = file.tag_v2.get(BITSPERSAMPLE, (16,))
    return int(bits[0] if isinstance(bits, tuple) else bits)


def _high_byte(file: Image.Image, depth: int) -> NDArray[np.uint8]:
    grey = (np.array(file).astype(np.uint16) >> (depth - 8)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)


def _refuse_unknown_range(file: Image.Image) -> None:
    """Refuse 32-bit samples unless they are levels from 0 to 255: no format says what white is."""
    samples = np.array(file)
    low, high = float(samples.min()), float(samples.max())
    # Floats up to 1 are meant to be scaled, but so might be those of a picture that is all but black.
    levels = low >= 0 and high <= 255 and (file.mode == "I" or high > 1 or high == 0)
    if not levels:
        raise ValueError(
            f"32-bit samples from {low:g} to {high:g}, and nothing says which of them is white; save it "
            "with 8 or 16 bits"
        )
