"""What a trainer gives to a loss: does it fit, and in which precision is it worked with.

Legend: B crops, C classes.
"""

from typing import Literal

import torch
from torch import Tensor

from fkd.config import check_choice, check_range, grid_text
from fkd.errors import SoftLabelError
from fkd.labels import GridLabels, SoftLabels, require_fit

Reduction = Literal["none", "mean", "sum"]
_REDUCTIONS = ("none", "mean", "sum")


def in_precision(numbers: Tensor) -> Tensor:
    """Return floats of any type as those that a loss works with: float64 as it is, others as float32."""
    return numbers if numbers.dtype == torch.float64 else numbers.float()


def fitting_labels(logits: object, labels: object) -> SoftLabels:
    """Return labels, `SoftLabels` or probabilities [B, C], in the precision of logits [B, C].

    Labels are constants: no gradient reaches them. Raises `SoftLabelError` where the two do not belong
    together.
    """
    if not isinstance(logits, Tensor):
        raise SoftLabelError(
            f"outputs are of the class {type(logits).__name__}; give the logits alone, floats of shape "
            "[crops, classes]"
        )
    said = labels if isinstance(labels, SoftLabels) else _dense(labels)
    require_fit(logits, said)
    if said.index is not None:
        require_below(
            said.index,
            logits.shape[1],
            "soft labels name class {largest}, counted from 0, and there are {count} outputs; the model "
            "must have one output for each class of the store",
        )
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    value, tail = (part.detach().to(dtype) for part in (said.value, said.tail))
    deviation = None if said.deviation is None else said.deviation.detach().to(dtype)
    return SoftLabels(said.index, value, tail, said.num_classes, deviation)


def _dense(labels: object) -> SoftLabels:
    if isinstance(labels, GridLabels):
        raise SoftLabelError(
            f"each view has {grid_text(labels.grid)} soft labels, and outputs are one row a view; the "
            "model must return maps, [views, classes, height, width]"
        )
    if not isinstance(labels, Tensor):
        raise SoftLabelError(
            f"soft labels are of the class {type(labels).__name__}; give SoftLabels, or probabilities of "
            "shape [crops, classes]"
        )
    if labels.dim() != 2 or not labels.is_floating_point():
        raise SoftLabelError(
            f"soft labels are {shown(labels)}; give SoftLabels, or probabilities of shape "
            "[crops, classes], and class ids as targets"
        )
    return SoftLabels(None, labels, labels.new_zeros(len(labels)))


def require_ids(name: str, ids: object, rows: Tensor) -> Tensor:
    """Return whole numbers as int64 [B] for tensors of B rows; raises `SoftLabelError` for all else."""
    num_crops = len(rows)
    if not isinstance(ids, Tensor):
        raise SoftLabelError(
            f"{name} are of the class {type(ids).__name__}; give a tensor of int64"
        )
    if ids.shape != (num_crops,) or ids.dtype not in (torch.int64, torch.int32):
        raise SoftLabelError(f"{name} are {shown(ids)}; give int64 of shape [{num_crops}]")
    if ids.device != rows.device:
        raise SoftLabelError(
            f"{name} are on {ids.device}, outputs on {rows.device}; move them by .to(device)"
        )
    return ids.long()


def require_below(ids: Tensor, count: int, refusal: str) -> None:
    """Raise `SoftLabelError` where an id is too large, and looking at it makes no device wait."""
    if ids.device.type != "cpu" or torch.compiler.is_compiling() or not ids.numel():
        return
    largest = int(ids.max())
    if largest >= count:
        raise SoftLabelError(refusal.format(largest=f"{largest:,}", count=f"{count:,}"))


def require_classes(targets: Tensor) -> None:
    """Raise `SoftLabelError` for views without a class, of images that have none in their store."""
    if targets.device.type == "cpu" and not torch.compiler.is_compiling() and (targets < 0).any():
        raise SoftLabelError(
            "targets are below 0, as for views of images without classes, and the loss looks at classes; "
            "leave such views out, or give a loss to soft labels alone"
        )


def reduced(losses: Tensor, reduction: Reduction) -> Tensor:
    """Return losses per crop, [B], as they are, or their mean or sum; the mean of none is no number."""
    check_reduction(reduction)
    if reduction == "mean":
        return losses.mean()
    return losses.sum() if reduction == "sum" else losses


def check_reduction(reduction: str) -> None:
    """Raise `ConfigError` for a reduction that there is not."""
    check_choice("reduction", reduction, _REDUCTIONS)


def check_temperature(temperature: float) -> None:
    """Raise `ConfigError` for a temperature that is not positive, or far from all that is used."""
    check_range("temperature", temperature, 1e-3, 1e3)


def shown(tensor: Tensor) -> str:
    """Return the type and the shape of a tensor, in words."""
    return f"{str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)}"
