"""Render a small image-classification data set of real JPEG files: one object against clutter.

It stands in for a download in the quickstart, the tests and the benchmarks. Each picture shows one
small object of its class; everything else (texture, blobs, strokes, shards) belongs to no class.
A random crop therefore often misses the object, which is the case that soft labels per crop are for.

A picture is a pure function of (seed, split, class, index), whatever the number of workers. Curves
come from `math` and noise from uniform draws, because numpy's own sines and normal deviates may
differ in the last bit between processors.
"""

import colorsys
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from fkd.examples.shapes import CLASSES, SHAPES, TAU, Outline

Colour = tuple[int, int, int]
Range = tuple[float, float]
SPLITS = ("train", "val")
GREY_SHARE = 0.06  # files written with one channel, as in photo collections
HUE_SPREAD = 0.06  # each class favours a hue, ten per circle: neighbours overlap
OVERSAMPLE = 2  # shapes are drawn this much larger, then averaged: smooth edges


@dataclass(frozen=True)
class Scenes:
    """What `render_dataset` writes: how many pictures, and of which size.

    `classes` takes that many names from `CLASSES`, in order. Sides are pixels: the shorter one is
    uniform in `short_side`, the longer one is that times a factor uniform in `aspect`; half of the
    pictures stand upright. `Scenes(short_side=(375, 375), aspect=(4 / 3, 4 / 3))` asks for
    pictures of the size and weight of ImageNet's.
    """

    seed: int = 0
    classes: int = 10
    train_per_class: int = 100
    val_per_class: int = 30
    short_side: tuple[int, int] = (140, 200)
    aspect: tuple[float, float] = (1.0, 1.5)
    quality: int = 90

    def __post_init__(self) -> None:
        """Refuse a number of classes that has no names, and sizes that hold no object."""
        if not 1 <= self.classes <= len(CLASSES):
            raise ValueError(f"classes is {self.classes}; it must lie in 1..{len(CLASSES)}")
        if not 32 <= self.short_side[0] <= self.short_side[1]:
            raise ValueError(
                f"short_side is {self.short_side}; it must rise and start at 32 or more"
            )
        if not 1 <= self.aspect[0] <= self.aspect[1]:
            raise ValueError(f"aspect is {self.aspect}; it must rise and start at 1 or more")


def render_dataset(folder: Path, scenes: Scenes | None = None, *, workers: int = 1) -> None:
    """Write `folder/train/<class>/0000.jpg` … and `folder/val/…`; the same files for a seed."""
    scenes = scenes or Scenes()
    for split in SPLITS:
        for name in CLASSES[: scenes.classes]:
            (folder / split / name).mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(workers) as pool:
        for _ in pool.map(lambda job: _write_file(folder, scenes, *job), _jobs(scenes)):
            pass  # drained so that an error in a worker is raised here


def render_photo(rng: np.random.Generator, size: tuple[int, int], name: str) -> Image.Image:
    """One RGB picture of `size` (height, width) with one object of the class `name`."""
    height, width = size
    large = (OVERSAMPLE * width, OVERSAMPLE * height)
    picture = Image.fromarray(_background(rng, size)).resize(large, Image.Resampling.BILINEAR)
    _draw_clutter(rng, picture, count=int(rng.integers(10, 22)))
    _draw_object(rng, picture, name)
    _draw_strokes(rng, picture, count=int(rng.integers(0, 3)))  # some pass in front of the object
    picture = picture.reduce(OVERSAMPLE)
    return Image.fromarray(_light_and_grain(rng, np.asarray(picture)))


def _jobs(scenes: Scenes) -> Iterator[tuple[int, int, int]]:
    """Every (split, class, index) of the data set."""
    for split, count in enumerate((scenes.train_per_class, scenes.val_per_class)):
        for class_index in range(scenes.classes):
            for index in range(count):
                yield split, class_index, index


def _write_file(folder: Path, scenes: Scenes, split: int, class_index: int, index: int) -> None:
    """Render and save one picture; the key of its generator is its place in the data set."""
    key = np.random.SeedSequence((scenes.seed, split, class_index, index))
    rng = np.random.Generator(np.random.Philox(key))
    short = int(rng.integers(scenes.short_side[0], scenes.short_side[1] + 1))
    long = round(short * rng.uniform(*scenes.aspect))
    size = (short, long) if rng.random() < 0.5 else (long, short)
    if scenes.short_side[0] == scenes.short_side[1]:
        size = (short, long)  # a fixed size was asked for: keep it lying
    picture = render_photo(rng, size, CLASSES[class_index])
    if rng.random() < GREY_SHARE:
        picture = picture.convert("L")
    path = folder / SPLITS[split] / CLASSES[class_index] / f"{index:04d}.jpg"
    picture.save(path, quality=scenes.quality)


# Parts of a picture, back to front. Colours are 0..255; lengths are pixels of the image at hand.


def _colour(
    rng: np.random.Generator, saturation: Range, value: Range, hue: Range = (0, 1)
) -> Colour:
    """A colour whose hue, saturation and value (0..1) are uniform in the given ranges."""
    red, green, blue = colorsys.hsv_to_rgb(
        rng.uniform(*hue) % 1, rng.uniform(*saturation), rng.uniform(*value)
    )
    return round(255 * red), round(255 * green), round(255 * blue)


def _noise(rng: np.random.Generator, size: tuple[int, int], cell: float) -> NDArray[np.float32]:
    """Smooth noise in 0..1, `(H, W)`: random values on a grid `cell` pixels wide, interpolated."""
    height, width = size
    grid = rng.integers(0, 256, (2 + int(height / cell), 2 + int(width / cell)), dtype=np.uint8)
    smooth = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(smooth, dtype=np.float32) / np.float32(255)


def _background(rng: np.random.Generator, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Texture of three muted colours mixed by noise of four sizes, uint8 `(H, W, 3)`."""
    short = min(size)
    low, high, other = (
        np.asarray(_colour(rng, (0.05, 0.4), (0.15, 0.75)), dtype=np.float32) for _ in range(3)
    )
    rough = np.float32(rng.uniform(0.1, 0.4))
    mix = (1 - rough) * _noise(rng, size, short / rng.uniform(1.5, 5))
    mix = mix + rough * _noise(rng, size, short / rng.uniform(12, 30))
    patch = _noise(rng, size, short / rng.uniform(3, 9))[..., None]
    fine = _noise(rng, size, max(2.0, short / 90))[..., None] - np.float32(0.5)
    base = low + (high - low) * mix[..., None]
    base = base + (other - base) * patch * patch + np.float32(rng.uniform(10, 50)) * fine
    pixels: NDArray[np.uint8] = np.clip(base, 0, 255).astype(np.uint8)
    return pixels


def _draw_clutter(rng: np.random.Generator, picture: Image.Image, *, count: int) -> None:
    """Ellipses, slabs and shards of no class, then a few strokes."""
    draw = ImageDraw.Draw(picture)
    short = min(picture.size)
    for _ in range(count):
        centre = (rng.uniform(0, picture.width), rng.uniform(0, picture.height))
        radius = short * rng.uniform(0.03, 0.16)
        corners = 24 if rng.random() < 0.35 else int(rng.integers(3, 7))
        wobble = 0.0 if corners == 24 else 0.45
        outline = [
            (r * math.cos(TAU * i / corners), r * math.sin(TAU * i / corners))
            for i in range(corners)
            for r in (1 - wobble * rng.random(),)
        ]
        points = _place(outline, centre, radius, rng.uniform(0, TAU), rng.uniform(0.3, 1.0))
        draw.polygon(points, fill=_colour(rng, (0.05, 0.45), (0.2, 0.85)))
    _draw_strokes(rng, picture, count=int(rng.integers(3, 9)))


def _draw_strokes(rng: np.random.Generator, picture: Image.Image, *, count: int) -> None:
    """Thin curved lines, each a quadratic Bézier curve of random ends."""
    draw = ImageDraw.Draw(picture)
    step = np.linspace(0, 1, 17)[:, None]
    for _ in range(count):
        start, bend, end = rng.uniform(-0.1, 1.1, (3, 2)) * picture.size
        curve = (1 - step) ** 2 * start + 2 * step * (1 - step) * bend + step**2 * end
        points = [(float(x), float(y)) for x, y in curve]
        thickness = max(1, round(min(picture.size) * rng.uniform(0.004, 0.02)))
        draw.line(points, fill=_colour(rng, (0.0, 0.4), (0.1, 0.9)), width=thickness, joint="curve")


def _draw_object(rng: np.random.Generator, picture: Image.Image, name: str) -> None:
    """The one object: random place, size, turn and colours, shaded across, with a soft shadow."""
    radius = min(picture.size) * rng.uniform(0.12, 0.175)
    margin = radius + 2
    centre = (
        rng.uniform(margin, picture.width - margin),
        rng.uniform(margin, picture.height - margin),
    )
    body, hole = SHAPES[name](rng.random())
    turn, squeeze = rng.uniform(0, TAU), rng.uniform(0.75, 1.0)
    mask = Image.new("L", picture.size)
    pen = ImageDraw.Draw(mask)
    for outline, ink in ((body, 255), (hole, 0)):
        if outline:
            pen.polygon(_place(outline, centre, radius, turn, squeeze), fill=ink)
    left, top, right, bottom = (round(c + s * 1.5 * radius) for s in (-1, 1) for c in centre)
    mask = mask.crop((left, top, right, bottom))
    shadow = mask.filter(ImageFilter.GaussianBlur(radius * 0.12)).point(lambda v: v * 0.6)
    drop = (left + round(radius * 0.1), top + round(radius * 0.12))
    picture.paste((10, 10, 14), drop, shadow)
    fill = _shaded_fill(rng, mask.size, CLASSES.index(name) / len(CLASSES))
    picture.paste(fill, (left, top), mask)


def _shaded_fill(rng: np.random.Generator, size: tuple[int, int], hue: float) -> Image.Image:
    """A patch of `size` (width, height) that runs from one vivid colour to a darker one."""
    width, height = size
    bright = np.asarray(
        _colour(rng, (0.55, 1.0), (0.75, 1.0), (hue - HUE_SPREAD, hue + HUE_SPREAD)),
        dtype=np.float32,
    )
    slope = rng.uniform(0, 0.45)
    ramp = 1 - slope * np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    fill = bright * ramp * (0.85 + 0.15 * _noise(rng, (height, width), width / 9)[..., None])
    return Image.fromarray(np.clip(fill, 0, 255).astype(np.uint8))


def _light_and_grain(rng: np.random.Generator, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Uneven light over the scene and the grain of a sensor; uint8 `(H, W, 3)` in and out."""
    size = pixels.shape[:2]
    light = rng.uniform(0.6, 0.9) + rng.uniform(0.2, 0.5) * _noise(rng, size, min(size) / 2)
    strength = np.float32(rng.uniform(3, 16))
    grain = strength * (rng.random((*size, 3), dtype=np.float32) * 2 - 1)
    lit = pixels * light[..., None].astype(np.float32) + grain
    return np.clip(lit, 0, 255).astype(np.uint8)


def _place(
    outline: Outline, centre: tuple[float, float], radius: float, turn: float, squeeze: float
) -> Outline:
    """Carry an outline from the unit circle into the picture: squeeze x, turn, scale, move."""
    cos, sin = radius * math.cos(turn), radius * math.sin(turn)
    return [
        (centre[0] + squeeze * x * cos - y * sin, centre[1] + squeeze * x * sin + y * cos)
        for x, y in outline
    ]
