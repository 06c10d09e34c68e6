"""FKD's files: the crops of an image and what a teacher said of them, a file of `torch.save` each.

A file is a list of three arrays, for M crops of one image: f4 [M, 4] (top / H, left / W, height / H,
width / W), flips bool [M], and labels. What labels are, `label_quantization` of FKD says (Shen and Xing,
ECCV 2022, §3.3): `hard` i8 [M]; `smoothing` f4 [M, 2], id and probability; `marginal_smoothing_kK` and
`marginal_renorm_kK`, which are one in their bytes, f4 [M, 2, K], ids and then falling probabilities; and
`ori` f4 [M, C]. With `--use_fp16` all but hard labels and flips are f2.

Legend: M crops, K classes of a label, C classes, H and W an image's height and width.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import Scheme
from fkd.exchanging.joint import ForeignImage, LabelFileError, Traits
from fkd.exchanging.stand_ins import Malformed, Unsafe
from fkd.exchanging.torch_files import read_arrays
from fkd.labels import SoftLabels
from fkd.views import Boxes

# How far rounding to float16 may move an edge, and a sum of probabilities, beyond 1.
_SLACK = 1e-3

_EXACT_IN_HALF = 2048  # float16 holds whole numbers up to this
_EXACT_IN_SINGLE = 2**24

MAX_FILE_BYTES = 2**30


@dataclass(frozen=True)
class FkdFile:
    """What a file holds: `coords` [M, 4], `flip` bool [M], `labels` in one of the forms above."""

    coords: NDArray[Any]
    flip: NDArray[np.bool_]
    labels: NDArray[Any]

    @property
    def num_crops(self) -> int:
        """M; where it was no multiple of `num_seg`, the generator kept more boxes than labels."""
        return min(len(self.coords), len(self.labels))

    @property
    def kind(self) -> str:
        """Which `label_quantization` it was."""
        labels = self.labels
        if labels.ndim == 1:
            return "hard"
        if labels.ndim == 3:
            return f"marginal_smoothing_k{labels.shape[2]}"
        return "smoothing" if labels.shape[1] == 2 else "ori"

    @property
    def traits(self) -> Traits:
        """What is the same for all files of the label set."""
        kind = self.kind
        num_classes = self.labels.shape[1] if kind == "ori" else None
        return Traits(kind, scheme_of(kind), self.num_crops, num_classes)


def scheme_of(kind: str) -> Scheme:
    """Return what keeps all that labels of a kind say."""
    named = re.fullmatch(r"marginal_(?:smoothing|renorm)_k([0-9]+)", kind)
    if named is not None:
        return Scheme("topk", int(named[1]))
    return {"hard": Scheme("hard"), "smoothing": Scheme("smoothing"), "ori": Scheme("full")}[kind]


def parse_file(path: str, content: bytes) -> FkdFile:
    """Read a file; raises `LabelFileError`, which names it, unless it holds crops and labels."""
    try:
        return _file_of(read_arrays(content))
    except Malformed as error:
        hostile = isinstance(error, Unsafe)
        raise LabelFileError(path, "damaged", str(error), hostile=hostile) from error


def _file_of(arrays: Sequence[NDArray[Any]]) -> FkdFile:
    if len(arrays) != 3:
        raise Malformed(f"it holds {len(arrays)} arrays, not boxes, flips and labels")
    coords, flip, labels = arrays
    if coords.ndim != 2 or coords.shape[1] != 4 or coords.dtype.kind != "f":
        raise Malformed(f"its boxes are {_form(coords)}, not floats [M, 4]")
    if flip.shape != coords.shape[:1] or flip.dtype != np.bool_:
        raise Malformed(f"its flips are {_form(flip)}, not bool [{len(coords)}]")
    of_ids = labels.ndim == 1 and labels.dtype.kind in "iu"
    pairs = labels.ndim == 3 and labels.shape[1] == 2 and labels.shape[2] > 0
    rows = labels.ndim == 2 and labels.shape[1] > 1
    if not (of_ids or ((pairs or rows) and labels.dtype.kind == "f")):
        raise Malformed(f"its labels are {_form(labels)}, which no kind of FKD is")
    found = FkdFile(coords, flip, labels)
    if not found.num_crops:
        raise Malformed("it has no crop")
    return found


def _form(array: NDArray[Any]) -> str:
    return f"{array.dtype} {list(array.shape)}"


def image_of(path: str, file: FkdFile, traits: Traits, size: tuple[int, int]) -> ForeignImage:
    """Return the first M crops of an image of size (height, width).

    Raises `LabelFileError` where the file is of another kind, has fewer crops or holds no labels.
    """
    if file.kind != traits.kind:
        raise LabelFileError(
            path, "damaged", f"its labels are {file.kind}, those of the set {traits.kind}"
        )
    if file.num_crops < traits.num_crops:
        raise LabelFileError(
            path,
            "damaged",
            f"it has {as_count(file.num_crops, 'crop')}, not {traits.num_crops}; --crops "
            f"{file.num_crops} takes fewer of all",
        )
    crops = slice(traits.num_crops)
    try:
        box, clamped = boxes_in(file.coords[crops], *size)
        index, value = _labels(file.labels[crops], traits.num_classes)
    except Malformed as error:
        raise LabelFileError(path, "damaged", str(error)) from error
    return ForeignImage(box, file.flip[crops], index, value, clamped)


def boxes_in(coords: NDArray[Any], height: int, width: int) -> tuple[Boxes, int]:
    """Return boxes u16 [M, 4] in pixels, and how many of them had to be moved into the image.

    FKD's loader crops with Pillow, which rounds the four edges, halves to even, not height and width.
    """
    fraction = coords.astype(np.float64)
    first, extent = fraction[:, :2], fraction[:, 2:]
    inside = (first >= 0) & (extent > 0) & (first + extent <= 1 + _SLACK)
    if not inside.all():  # a comparison with no number is false too
        crop = int((~inside).any(axis=1).argmax())
        raise Malformed(f"the box of crop {crop} leaves its image")
    sides = np.array([height, width])
    start, stop = np.rint(first * sides), np.rint(first * sides + extent * sides)
    within = np.clip(start, 0, sides - 1)
    end = np.clip(stop, within + 1, sides)
    moved = ((within != start) | (end != stop)).any(axis=1)
    return np.concatenate([within, end - within], axis=1).astype(np.uint16), int(moved.sum())


def fractions_of(box: Boxes, height: int, width: int, dtype: str) -> NDArray[Any]:
    """Return boxes u16 [M, 4] as fractions of the image's sides, of f4 or f2."""
    sides = np.array([height, width, height, width], np.float64)
    return (box / sides).astype(dtype)


def _labels(
    labels: NDArray[Any], num_classes: int | None
) -> tuple[NDArray[np.int64] | None, NDArray[np.float64] | NDArray[np.float32]]:
    """Return ids and values of sparse labels in falling order, or None and the values of dense ones."""
    assert num_classes is not None
    if labels.ndim == 1:
        ids = labels[:, None].astype(np.int64)
        value = np.ones(ids.shape)
    elif labels.ndim == 2 and labels.shape[1] > 2:
        return None, _distribution(labels, num_classes).astype(np.float32)
    else:
        pairs = labels[:, :, None] if labels.ndim == 2 else labels
        ids = _whole(pairs[:, 0])
        value = _distribution(pairs[:, 1], None)
        if (value[:, 1:] > value[:, :-1]).any():
            order = np.argsort(-value, axis=1, kind="stable")
            ids = np.take_along_axis(ids, order, axis=1)
            value = np.take_along_axis(value, order, axis=1)
    if ((ids < 0) | (ids >= num_classes)).any():
        wrong = int(ids[(ids < 0) | (ids >= num_classes)][0])
        raise Malformed(f"it has the class id {wrong}, of {num_classes} classes")
    twice = np.sort(ids, axis=1)
    if (twice[:, 1:] == twice[:, :-1]).any():
        raise Malformed("a label names a class twice")
    return ids, value


def _whole(ids: NDArray[Any]) -> NDArray[np.int64]:
    """Return ids, which FKD writes as floats."""
    exact = _EXACT_IN_HALF if ids.dtype.itemsize == 2 else _EXACT_IN_SINGLE
    good = (ids >= 0) & (ids <= exact) & (ids == np.floor(ids))
    if not good.all():
        raise Malformed(f"a class id is {ids[~good][0]:g}, which {ids.dtype} cannot say")
    return ids.astype(np.int64)


def _distribution(value: NDArray[Any], num_classes: int | None) -> NDArray[np.float64]:
    """Return probabilities whose sum is at most 1: that of all `num_classes` where these are all."""
    if num_classes is not None and value.shape[1] != num_classes:
        raise Malformed(f"its labels are over {value.shape[1]:,} classes, not {num_classes:,}")
    probs = value.astype(np.float64)
    total = probs.sum(axis=1)
    good = (probs >= 0).all(axis=1) & (total <= 1 + _SLACK)
    good &= total > 0 if num_classes is None else total >= 1 - _SLACK
    if not good.all():
        crop = int((~good).argmax())
        raise Malformed(f"the label of crop {crop} is no distribution (it sums to {total[crop]:g})")
    return np.asarray(probs / np.maximum(total, 1.0)[:, None])


def num_ids(dtype: str) -> int:
    """Return how many class ids numbers of f4 or f2 can say."""
    return (_EXACT_IN_HALF if dtype == "f2" else _EXACT_IN_SINGLE) + 1


def labels_as(kind: str, labels: SoftLabels, dtype: str) -> NDArray[Any]:
    """Return labels of M crops, restored as `scheme_of(kind)`, in the form of a kind: f4, f2 or ids i8.

    What a reader takes for the residual is 1 - Σ p. So the largest value is what the others and the
    residual leave of 1, in float64, and not more than that once it is rounded.
    """
    if labels.index is None:
        return labels.value.numpy().astype(dtype)
    ids = labels.index.numpy()
    if kind == "hard":
        return ids[:, 0].astype(np.int64)
    even = (labels.num_classes or 0) - ids.shape[1]
    others = labels.value[:, 1:].numpy().astype(dtype)
    residual = labels.tail.numpy().astype(np.float64) * even
    left = 1 - others.astype(np.float64).sum(axis=1) - residual
    first = left.astype(dtype)
    over = first.astype(np.float64) > left + residual
    first[over] = np.nextafter(first[over], np.zeros(1, dtype))
    if others.shape[1]:  # of equal ones, the first stays first
        first = np.maximum(first, others[:, 0])
    value = np.concatenate([first[:, None], others], axis=1)
    pairs = np.stack([ids.astype(dtype), value], axis=1)
    return pairs[:, :, 0] if kind == "smoothing" else pairs
