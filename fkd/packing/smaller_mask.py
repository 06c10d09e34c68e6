"""A mask as large as the copy of its image: each pixel has the value at its centre."""

import io

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from fkd.truth import Masks
from fkd.views import render_mask


def smaller_mask(
    masks: Masks,
    index: int,
    encoded: bytearray,
    was: tuple[int, int],
    size: tuple[int, int] | None,
) -> bytes | bytearray:
    """Return the PNG of an image's mask at `size` (H, W), grey or with the palette that it had.

    The image `was` of (H, W). Pixel i of S along a side of L has the value of pixel ⌊(2i + 1) L / 2S⌋, as
    views of masks have it (`fkd.views.render_mask`). Without a size the file stays as it is. Raises
    `DecodeError` for a bad mask.
    """
    values = torch.from_numpy(masks.values(index, encoded, was))
    if size is None:
        return encoded
    whole = np.array([[0, 0, *was]], np.uint16)
    (seen,) = render_mask(values, whole, np.zeros(1, np.bool_), size).numpy()
    return _encode(seen, _palette(encoded))


def _palette(encoded: bytearray) -> bytes | None:
    """Return the colours of a PNG's palette, R, G, B after R, G, B; None of one without."""
    with Image.open(io.BytesIO(encoded), formats=("PNG",)) as file:
        return None if file.palette is None else file.palette.tobytes()


def _encode(values: NDArray[np.uint8], palette: bytes | None) -> bytes:
    """Return uint8 [H, W] as a PNG file, compressed as well as it can be."""
    image = Image.fromarray(values)
    if palette is not None:
        # Pillow writes as many bits as the colours need, and a mask may have values beyond them.
        image.putpalette(palette.ljust(3 * (int(values.max()) + 1), b"\0"))
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return file.getvalue()
