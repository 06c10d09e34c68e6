"""The masks of maps: are they of the logits, and how far are the logits from them, pixel by pixel.

Legend: b views, C classes, H × W pixels of a mask.
"""

import torch
from torch import Tensor
from torch.nn import functional

from fkd.config import IGNORED
from fkd.errors import SoftLabelError
from fkd.losses.given import in_precision, shown
from fkd.models import resized

_FOUND = "batch.truth of StudentLoader(…, masks=True)"


def fitting_masks(logits: Tensor, masks: object) -> Tensor:
    """Return masks [b, H, W] of whole numbers; raises `SoftLabelError` unless they are of the logits."""
    wanted = f"whole numbers of shape [{len(logits)}, height, width]"
    if masks is None:
        raise SoftLabelError(
            f"the loss looks at the class of each pixel and there are no masks; give {wanted} as "
            f"targets ({_FOUND}), or a loss to soft labels alone"
        )
    if not isinstance(masks, Tensor):
        raise SoftLabelError(f"masks are of the class {type(masks).__name__}; give {wanted}")
    whole = (torch.uint8, torch.int32, torch.int64)
    if masks.dim() != 3 or len(masks) != len(logits) or masks.dtype not in whole:
        raise SoftLabelError(f"masks are {shown(masks)}; give {wanted} ({_FOUND})")
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
