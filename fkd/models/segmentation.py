"""Networks of torchvision that say a class at each position of a view, and maps of another size."""

from collections.abc import Sequence
from typing import Any

import torchvision
from torch import Tensor, nn
from torch.nn import functional


def is_segmentation(name: str) -> bool:
    """Say whether torchvision has a segmentation model of this name."""
    return name in torchvision.models.list_models(module=torchvision.models.segmentation)


class OwnGrid(nn.Module):
    """A segmentation model of torchvision without its last step, which resizes logits to the view's size.

    What is resized says nothing that the grid of the last layer does not. Submodules keep their names.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.backbone, self.classifier = model.backbone, model.classifier
        # LR-ASPP's classifier looks at two layers of the backbone, all others at one.
        self._of_all = isinstance(model, torchvision.models.segmentation.LRASPP)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits [B, C, h, w] of views, f32 [B, 3, H, W]."""
        features = self.backbone(pixels)
        logits: Tensor = self.classifier(features if self._of_all else features["out"])
        return logits


def resized(logits: Tensor, sides: Sequence[int]) -> Tensor:
    """Return maps of logits [B, C, h, w] resized (bilinear) to `sides`, height and width.

    Lines [B, T, C] are resized alike (linear) to a side of frames. Pixel centres are where torchvision
    has them (`align_corners=False`). Where a side gets smaller the filter is as wide as a new cell
    (antialias).
    """
    wanted = tuple(sides)
    if logits.dim() == 3:
        if logits.shape[1:2] == wanted:
            return logits
        line = resized(logits.transpose(1, 2)[:, :, None], (1, *wanted))
        return line[:, :, 0].transpose(1, 2)
    if logits.shape[2:] == wanted:
        return logits
    smaller = any(new < old for new, old in zip(wanted, logits.shape[2:], strict=True))
    # Half precision has no such kernel everywhere. Without need, the wide filter takes twice as long.
    wide = logits if logits.element_size() >= 4 else logits.float()
    return functional.interpolate(wide, wanted, mode="bilinear", antialias=smaller)
