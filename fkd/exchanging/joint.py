"""What a label set of another program must give to be imported: one image after the other.

Another format is another room with a class like `FkdLabels`, which has these questions.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fkd.config import Scheme
from fkd.errors import FkdError, Reason
from fkd.views import Boxes, Flips


class LabelFileError(FkdError):
    """A file of labels that cannot be used; `reason` says why, as of an image.

    One that is `hostile` would run code or fill the memory of who trusts it, and ends an import.
    """

    def __init__(self, path: str, reason: Reason, detail: str, *, hostile: bool = False) -> None:
        super().__init__(f"{path}: {reason} ({detail})")
        self.reason, self.hostile = reason, hostile


@dataclass(frozen=True)
class ForeignImage:
    """What another program kept of M crops of one image.

    `box` u16 [M, 4] is (top, left, height, width) in pixels of the image, `flip` bool [M]. Labels are
    sparse, ids `index` int64 [M, K] in the order of falling `value` f64 [M, K], or dense: `index` is None
    and `value` f32 [M, C]. What sparse ones leave over is spread evenly. `clamped` counts the boxes that
    rounding had moved out of the image.
    """

    box: Boxes
    flip: Flips
    index: NDArray[np.int64] | None
    value: NDArray[np.float64] | NDArray[np.float32]
    clamped: int = 0


@dataclass(frozen=True)
class Traits:
    """What is the same for all images of a label set.

    `kind` is its name in its own program, `scheme` what keeps all that its labels say, `num_crops` M, and
    `num_classes` C where the labels say it.
    """

    kind: str
    scheme: Scheme
    num_crops: int
    num_classes: int | None


class ForeignLabels(Protocol):
    """A label set of another program, for the images of one list."""

    def traits(self) -> Traits:
        """Look at the first labels; raises `LabelFileError` where there are none to look at."""
        ...

    def read(self, image_index: int, height: int, width: int, traits: Traits) -> ForeignImage:
        """Return the first M crops of an image, from any thread; raises `LabelFileError`."""
        ...

    def missing(self) -> NDArray[np.int64]:
        """Return the indices of the images that have no labels, int64."""
        ...

    def extra(self) -> tuple[int, list[str]]:
        """Return how many labels are of images that are not in the list, and the first few of them."""
        ...
