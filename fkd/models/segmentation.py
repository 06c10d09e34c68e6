"""Networks of torchvision that say a class at each position of a view."""

from typing import Any

import torchvision
from torch import Tensor, nn


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
