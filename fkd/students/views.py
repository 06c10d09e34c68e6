"""How large an image is seen, and how much of it, where a student is evaluated."""

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from fkd.config import (
    MAX_SIZE,
    CenterView,
    NetworkInput,
    Size,
    ViewSizes,
    as_size,
    fit,
    is_line,
    sides_of,
    size_text,
)
from fkd.models import output_shape
from fkd.store import LabelStore
from fkd.students.student import StudentCard
from fkd.views import Sizes

_MULTIPLE = 32  # of the longer side of a view of a whole image


def usual_view(seen: NetworkInput, store: LabelStore) -> CenterView:
    """Return how students of a store are evaluated where nobody says another way.

    Padded views, and those of lines, are of whole images.
    """
    fit, grid = store.spec.views.fit, store.spec.grid
    if is_line(grid) and fit == "fill":
        return CenterView(seen.size, seen.interpolation, 1.0)
    if grid and fit == "fill":
        return whole_view(seen, store.sizes())
    return seen.center_view_of(fit)


def whole_view(seen: NetworkInput, sizes: Sizes) -> CenterView:
    """Return the view that a student of maps is evaluated on: the whole of an image, in its proportion.

    Its shorter side is that of the views that the student was trained on. Its longer one is so much
    longer as in the images, whose heights and widths are `sizes`, [N, 2], by their median; it is a
    multiple of 32, as many networks want it, and 4096 at most.
    """
    height, width = sizes[sizes.all(axis=1)].astype(np.float64).T
    ratio = float(np.median(width / height))
    short = min(sides_of(seen.size))
    long = max(short, round(short * max(ratio, 1 / ratio) / _MULTIPLE) * _MULTIPLE)
    long = min(long, MAX_SIZE)
    sides = (short, long) if ratio > 1 else (long, short)
    return CenterView(as_size(*sides), seen.interpolation, 1.0)


def seen_otherwise(view: CenterView, sizes: ViewSizes | None, crop: float | None) -> CenterView:
    """Return how a student is evaluated where the user gives a size or a share of the image, or both."""
    if sizes is not None:
        sizes.check("--eval-size")
        view = replace(view, size=sizes.last)
    return view if crop is None else replace(view, crop=fit("eval_crop", crop, float))


def require_size(model: nn.Module, card: StudentCard, size: Size) -> None:
    """Raise `ModelError` for a student that cannot be evaluated on views of a size.

    It is left in eval mode.
    """
    pixels = torch.zeros(1, 3, *sides_of(size))
    output_shape(
        model.eval(), pixels, f"student {card.name}",
        f"it was trained at {size_text(card.preprocessing.size)} px; leave --eval-size out",
    )  # fmt: skip
