"""What is shown of an image: some of its crops, each with the head of its label."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]  # [H, W, 3]
Box = tuple[int, int, int, int]


@dataclass(frozen=True)
class ShownMap:
    """The labels of a crop at the positions of a grid: the likeliest class of each, and its entropy.

    `classes` int64 [h, w]; `entropy` f32 [h, w], nats, None where no values are kept. `truth` uint8
    [H, W] are the classes of a mask at the crop's pixels, 255 for none, and None without masks.
    """

    classes: NDArray[np.int64]
    entropy: NDArray[np.float32] | None
    truth: NDArray[np.uint8] | None


@dataclass(frozen=True)
class ShownLine:
    """What the labels of a crop's frames read, and how sure they are: the mean of their largest values.

    `confidence` is None where no values are kept, and `written`, the text of the image, without texts.
    """

    said: str
    written: str | None
    confidence: float | None


@dataclass(frozen=True)
class OtherImage:
    """An image that crops of another one are mixed with.

    `pixels` u8 [H, W, 3]; `boxes` are the numbers of those crops from 0, their boxes in this image as
    (top, left, height, width), and whether they are mirrored.
    """

    pixels: Pixels
    title: str
    path: str
    boxes: tuple[tuple[int, Box, bool], ...]


@dataclass(frozen=True)
class Mixing:
    """What is told of a mixed crop: its image's share, the other's class, -1 for none, and the hole.

    The hole is first row, end row, first column and end column of the crop's pixels, all 0 where there
    is none.
    """

    own_share: float
    other_target: int
    hole: Box


@dataclass(frozen=True)
class ShownCrop:
    """One crop with the head of its label.

    `pixels` u8 [S, S, 3] as the student gets them; `box` is (top, left, height, width) in the image;
    `likely` are the most likely classes: (name, probability, whether it is that of an image in it). The
    probability is None where the store keeps none. `mixing` is None where nothing is mixed in. `maps` is
    a map of labels, and `line` a line of them, in the place of one label: then none are `likely`.
    """

    pixels: Pixels
    box: Box
    flip: bool
    likely: tuple[tuple[str, float | None, bool], ...]
    mixing: Mixing | None = None
    maps: ShownMap | None = None
    line: ShownLine | None = None


@dataclass(frozen=True)
class ShownImage:
    """An image with some of its crops, and the images that these are mixed with, if any.

    `pixels` u8 [H, W, 3] are all that it has; `title` is its class, "" where images have none.
    """

    pixels: Pixels
    title: str
    path: str
    crops: Sequence[ShownCrop]
    others: Sequence[OtherImage]
