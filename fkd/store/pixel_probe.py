"""A picture that every store remembers: it shows whether today's pixels are those that were labelled.

Decoders and resizing kernels may change with a library's release. What a small JPEG of this package
looked like as two views is kept in the store; whoever renders it differently is told by how much.
"""

from base64 import b64decode, b64encode
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from fkd.config import Interpolation
from fkd.errors import StoreError
from fkd.images import decode
from fkd.store.spec import StoreSpec, library_versions
from fkd.views import RENDERER, empty_views, render

# Of 48 × 64 pixels: all of it, made smaller, and an arrow in it, mirrored.
_BOXES = np.array([[0, 0, 48, 64], [15, 35, 8, 9]], np.uint16)
_FLIPS = (False, True)
_SIDE = 8

_DRAW_PIXELS = ("torch", "torchvision", "pillow")


def probe(interpolation: Interpolation) -> str:
    """Decode and render the package's picture; return its two views, u8 [2, 3, 8, 8], in base64."""
    with as_file(files("fkd.store") / "probe.jpg") as path:
        picture = decode(str(path))
    views = empty_views(len(_BOXES), _SIDE)
    for box, flip, view in zip(_BOXES, _FLIPS, views, strict=True):
        render(picture, box, flip, view, interpolation)
    return b64encode(views.numpy().tobytes()).decode()


def drift(spec: StoreSpec, where: object) -> str | None:
    """Say how the views of the store at `where` differ from today's, or None where they are the same.

    Raises `StoreError` where the store's own views of the picture cannot be read.
    """
    now = probe(spec.interpolation)
    if spec.renderer == RENDERER and spec.probe == now:
        return None
    gap = np.abs(_levels(now, where) - _levels(spec.probe, where))
    libraries = library_versions()
    makers = {"renderer": (spec.renderer, RENDERER)}
    makers |= {name: (spec.versions.get(name, "unknown"), libraries[name]) for name in _DRAW_PIXELS}
    changed = "; ".join(
        f"{name} {then}, now {today}" for name, (then, today) in makers.items() if then != today
    )
    return (
        f"{where} was labelled on other pixels ({changed or 'same versions'}): on a test picture they "
        f"differ by {gap.mean():.2g} of 255 levels on average and {gap.max()} at most"
    )


def _levels(text: str, where: object) -> NDArray[np.int64]:
    text = str(text)  # a stranger's store may hold anything
    try:
        levels = np.frombuffer(b64decode(text, validate=True), np.uint8)
    except ValueError:
        levels = np.empty(0, np.uint8)
    if levels.size != 3 * _SIDE * _SIDE * len(_BOXES):
        raise StoreError(f"{where} has damaged attributes (probe is {text[:20]!r}…)")
    return levels.astype(np.int64)
