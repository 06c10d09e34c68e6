"""Logits of maps: positions as rows, whose losses are a view's by their mean; and masks, pixel by pixel.

A student's map and the stored one have grids of their own. Stored labels stay as they are, since K kept
classes of neighbours cannot be blended: the student's logits come to their grid.

Legend: b views, C classes, h × w positions of a map, G of them, H × W pixels of a mask.
"""

import torch
from torch import Tensor
from torch.nn import functional

from fkd.config import IGNORED, Grid, grid_text
from fkd.errors import SoftLabelError
from fkd.labels import GridLabels, SoftLabels, rows_of
from fkd.losses.given import fitting_labels, in_precision, shown
from fkd.models import resized


def is_map(logits: object) -> bool:
    """Say whether logits are a map's, [b, C, h, w], and not those of whole views, [b, C]."""
    return isinstance(logits, Tensor) and logits.dim() == 4


def at_positions(logits: Tensor, grid: Grid) -> Tensor:
    """Return logits [b, C, h, w] at the positions of a grid, as rows [b · G, C]."""
    return rows_of(resized(logits, grid))


def by_view(losses: Tensor, num_views: int) -> Tensor:
    """Return the mean over positions, [b], of losses [b · G]."""
    return losses.reshape(num_views, -1).mean(dim=1) if num_views else losses


def fitting_maps(logits: Tensor, labels: object) -> GridLabels:
    """Return labels, `GridLabels` or probabilities [b, C, h, w], in the precision of logits of maps.

    Their grid may be any. Raises `SoftLabelError` where the two do not belong together.
    """
    if not logits.is_floating_point():
        raise SoftLabelError(
            f"outputs are {shown(logits)}; give floats of shape [views, classes, height, width]"
        )
    said = labels if isinstance(labels, GridLabels) else _dense(labels)
    if len(said) != len(logits):
        raise SoftLabelError(
            f"there are labels of {len(said):,} views for outputs of {len(logits):,}; give each view its "
            "own map of labels"
        )
    # What is looked at are shape, type and device, which a number that is repeated has, too.
    rows = logits.new_empty((1, 1)).expand(len(said.flat), logits.shape[1])
    return GridLabels(fitting_labels(rows, said.flat), said.grid)


def _dense(labels: object) -> GridLabels:
    if isinstance(labels, SoftLabels):
        raise SoftLabelError(
            "outputs are maps and the soft labels are one row each, which do not say their grid; give "
            "GridLabels(labels, (height, width))"
        )
    if not isinstance(labels, Tensor):
        raise SoftLabelError(
            f"soft labels are of the class {type(labels).__name__}; give GridLabels, or probabilities of "
            "shape [views, classes, height, width]"
        )
    if labels.dim() != 4 or not labels.is_floating_point():
        raise SoftLabelError(
            f"soft labels are {shown(labels)}, and outputs are maps; give GridLabels, or probabilities "
            "of shape [views, classes, height, width], and masks as targets"
        )
    rows = rows_of(labels)
    return GridLabels(SoftLabels(None, rows, rows.new_zeros(len(rows))), tuple(labels.shape[2:]))


def fitting_masks(logits: Tensor, masks: object) -> Tensor:
    """Return masks [b, H, W] of whole numbers; raises `SoftLabelError` unless they are of the logits."""
    wanted = f"whole numbers of shape [{len(logits)}, height, width]"
    if masks is None:
        raise SoftLabelError(
            f"the loss looks at the class of each pixel and there are no masks; give {wanted} as "
            "targets, or a loss to soft labels alone"
        )
    if not isinstance(masks, Tensor):
        raise SoftLabelError(f"masks are of the class {type(masks).__name__}; give {wanted}")
    whole = (torch.uint8, torch.int32, torch.int64)
    if masks.dim() != 3 or len(masks) != len(logits) or masks.dtype not in whole:
        raise SoftLabelError(f"masks are {shown(masks)}; give {wanted}")
    if masks.device != logits.device:
        raise SoftLabelError(
            f"masks are on {masks.device}, outputs on {logits.device}; move them by .to(device)"
        )
    _require_classes(masks, logits.shape[1])
    return masks


def _require_classes(masks: Tensor, num_classes: int) -> None:
    """Raise `SoftLabelError` where a pixel has no class, and looking at it makes no device wait."""
    if masks.device.type != "cpu" or torch.compiler.is_compiling():
        return
    wrong = (masks != IGNORED) & ((masks < 0) | (masks >= num_classes))
    if wrong.any():
        raise SoftLabelError(
            f"masks name class {int(masks[wrong][0])}, counted from 0, and there are {num_classes} "
            f"outputs; give classes of the model's own, and {IGNORED} where a pixel counts for nothing"
        )


def mask_loss(logits: Tensor, masks: Tensor, label_smoothing: float) -> Tensor:
    """Return the cross-entropy to masks [b, H, W] of whole numbers, per view, [b].

    Logits are resized (bilinear) to H × W. It is the mean over the pixels of a view that count for
    something, those that are not 255, and 0 of a view without any.
    """
    # On a CPU kernels of one channel after the other take two thirds of the time of those in between.
    apart = in_precision(logits).contiguous()
    pixels = functional.cross_entropy(
        resized(apart, masks.shape[1:]),
        masks.long(),
        ignore_index=IGNORED,
        reduction="none",
        label_smoothing=label_smoothing,
    )
    counted = (masks != IGNORED).sum(dim=(1, 2))
    return pixels.sum(dim=(1, 2)) / counted.clamp(min=1)


def refuse_mix(mix: object, logits: Tensor) -> None:
    """Raise `SoftLabelError` for a mix of views whose labels are maps."""
    if mix is not None:
        raise SoftLabelError(
            f"views with maps of {grid_text(tuple(logits.shape[2:]))} outputs are not mixed, since each "
            "position has a label of its own; leave mix out"
        )
