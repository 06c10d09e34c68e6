"""Pictures that every store remembers: they show whether today's pixels are those that were labelled.

Decoders and resizing kernels may change with a library's release. What a small JPEG of this package
looked like as two views is kept in the store, and so are the pixels of small pictures in the formats that
its images have; whoever sees them differently is told by how much. The views tell what resizing does, but
average over many pixels of one kind of JPEG; whole pixels of four kinds tell what its decoder does.
"""

import os
from base64 import b64decode, b64encode
from collections.abc import Iterable, Iterator
from importlib.resources import as_file, files

import numpy as np
from numpy.typing import NDArray

from fkd.config import Interpolation
from fkd.errors import DecodeError, StoreError
from fkd.format import (
    StoreSpec,
    library_versions,
)
from fkd.images import decode
from fkd.views import RENDERER, empty_views, render

# Of 48 × 64 pixels: all of it, made smaller, and an arrow in it, mirrored.
_BOXES = np.array([[0, 0, 48, 64], [15, 35, 8, 9]], np.uint16)
_FLIPS = (False, True)
_SIDE = 8

# By format: the endings of its files, and pictures of the kinds that its decoder treats differently. They
# are a part of the store's format; a new kind needs a format of a new name.
_PICTURES = {
    "jpeg": ((".jpg", ".jpeg"), ("chroma.jpg", "wide.jpg", "grey.jpg", "cmyk.jpg")),
    "png": ((".png",), ("palette.png", "alpha.png", "deep.png", "colour.png")),
    "webp": ((".webp",), ("lossy.webp", "alpha.webp")),
    "gif": ((".gif",), ("palette.gif",)),
    "bmp": ((".bmp",), ("colour.bmp",)),
    "ppm": ((".ppm", ".pgm"), ("colour.ppm", "deep.pgm")),
    "tiff": ((".tif", ".tiff"), ("colour.tiff", "deep.tiff", "jpeg.tiff")),
}

_DRAW_PIXELS = ("torch", "torchvision", "pillow", "decoder")


def probe(interpolation: Interpolation) -> str:
    """Decode and render the package's picture; return its two views, u8 [2, 3, 8, 8], in base64."""
    with as_file(files("fkd.originals") / "probe.jpg") as path:
        picture = decode(str(path))
    views = empty_views(len(_BOXES), _SIDE)
    for box, flip, view in zip(_BOXES, _FLIPS, views, strict=True):
        render(picture, box, flip, view, interpolation)
    return b64encode(views.numpy().tobytes()).decode()


def probe_formats(paths: Iterable[str]) -> dict[str, str]:
    """Decode the package's pictures in the formats that the endings of images name; without one, JPEG.

    Returns by format their pixels, u8 [3, H, W] each, one picture after the other, in base64. A format
    that Pillow was built without has none.
    """
    endings = {os.path.splitext(path)[1].lower() or ".jpg" for path in paths}
    named = [name for name, (of_it, _) in _PICTURES.items() if endings.intersection(of_it)]
    pixels = {name: _pixels(name) for name in named}
    return {name: text for name, text in pixels.items() if text is not None}


def _pixels(name: str) -> str | None:
    """Decode the pictures of a format, or return None where that cannot be done here."""
    pixels = b""
    for picture in _PICTURES[name][1]:
        with as_file(files("fkd.originals") / "probes" / picture) as path:
            try:
                pixels += decode(str(path)).contiguous().numpy().tobytes()
            except DecodeError:
                return None
    return b64encode(pixels).decode()


def drift(spec: StoreSpec, where: object) -> str | None:
    """Say how the pixels of the store at `where` differ from today's, or None where they are the same.

    Raises `StoreError` where the store's own pixels of the pictures cannot be read.
    """
    gaps = "; ".join(_gaps(spec, where))
    if not gaps:
        return None
    libraries = library_versions()
    makers = {"renderer": (spec.renderer, RENDERER)}
    makers |= {name: (spec.versions.get(name, "unknown"), libraries[name]) for name in _DRAW_PIXELS}
    changed = "; ".join(
        f"{name} {then}, now {today}" for name, (then, today) in makers.items() if then != today
    )
    return f"{where} was labelled on other pixels ({changed or 'same versions'}): {gaps}"


def _gaps(spec: StoreSpec, where: object) -> Iterator[str]:
    """Say for each kind of picture by how much it differs from what the store remembers."""
    now = probe(spec.interpolation)
    if spec.renderer != RENDERER or spec.probe != now:
        gap = _gap(spec.probe, now, f"{where} has damaged attributes (probe")
        yield f"on a test picture they differ by {gap}"
    for name, then in spec.probes.items():
        if name not in _PICTURES:  # of a later fkd
            continue
        today = _pixels(name)
        if today is None:
            yield f"test pictures in {name} cannot be decoded here"
        elif today != then:
            gap = _gap(then, today, f"{where} has damaged attributes (probe of {name}")
            yield f"on test pictures in {name} they differ by {gap}"


def _gap(then: str, now: str, damaged: str) -> str:
    """Say by how much levels differ; `damaged` begins the refusal of levels that are none."""
    stored, today = _levels(then), _levels(now)
    if stored.size != today.size:
        raise StoreError(f"{damaged} is {then[:20]!r}…)")
    gap = np.abs(stored - today)
    return f"{gap.mean():.2g} of 255 levels on average and {gap.max()} at most"


def _levels(text: str) -> NDArray[np.int64]:
    """Return the levels in a text, none where it is no base64: a stranger's store may hold anything."""
    try:
        return np.frombuffer(b64decode(text, validate=True), np.uint8).astype(np.int64)
    except ValueError:
        return np.empty(0, np.int64)
