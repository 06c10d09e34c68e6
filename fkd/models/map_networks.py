"""Students of maps by name: torchvision's segmentation models, timm's backbones with a head of ours."""

from typing import Any

import torchvision
from torch import Tensor, nn

from fkd.config import Size
from fkd.errors import ModelError
from fkd.models.segmentation import OwnGrid, is_segmentation, resized
from fkd.models.zoo import build, check_name

_FINEST = 8  # the stride of the finest stage that the head looks at
_WIDTH = 128  # channels that the head adds stages up in


def build_map_network(name: str, num_classes: int, size: Size | None = None) -> nn.Module:
    """Build an untrained network that says `num_classes` logits at each position of a grid of its own.

    `name` is a segmentation model of torchvision, or `timm:NAME`, whose backbone gets a `SummedStages`.
    Raises `ModelError` for one that says one row of logits a view.
    """
    if name.startswith("timm:"):
        return SummedStages(build(name, 0, size), num_classes, name)
    check_name(name, "student")
    if not is_segmentation(name):
        known = torchvision.models.list_models(module=torchvision.models.segmentation)
        raise ModelError(
            f"student {name} says one label a view, and the store holds maps; choose one of "
            f"{', '.join(known)}, timm:NAME for a backbone with a head of maps, or a function"
        )
    return OwnGrid(build(name, num_classes, size))


class SummedStages(nn.Module):
    """A backbone of timm, whose stages are added up to a map.

    Of each stride from 8 on the last stage counts, or the last of all where none is as coarse. A 1 × 1
    convolution brings each to 128 channels. They are resized (bilinear) to the grid of the finest and
    added up, and after batch norm and ReLU a 1 × 1 convolution says the logits. Layers that none of these
    stages needs are left out. `backbone` has the names of the library, so its weights fit.
    """

    def __init__(self, backbone: Any, num_classes: int, name: str) -> None:
        super().__init__()
        if not hasattr(backbone, "forward_intermediates"):
            raise ModelError(
                f"student {name}: this model of timm does not give its inner stages; choose another, or "
                "a function of your own"
            )
        stages = _last_of_each_stride(backbone.feature_info)
        self._stages = list(stages)
        backbone.prune_intermediate_layers(self._stages, prune_norm=False, prune_head=True)
        self.backbone = backbone
        self.reduce = nn.ModuleList(nn.Conv2d(width, _WIDTH, 1) for width in stages.values())
        self.head = nn.Sequential(
            nn.BatchNorm2d(_WIDTH), nn.ReLU(), nn.Conv2d(_WIDTH, num_classes, 1)
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits [B, C, h, w] of views, f32 [B, 3, H, W]."""
        said = self.backbone.forward_intermediates(
            pixels, indices=self._stages, intermediates_only=True, norm=True
        )
        total: Tensor = self.reduce[0](said[0])
        for reduce, stage in zip(self.reduce[1:], said[1:], strict=True):
            total = total + resized(reduce(stage), total.shape[2:])
        logits: Tensor = self.head(total)
        return logits


def _last_of_each_stride(feature_info: Any) -> dict[int, int]:
    """Return the channels of the stages that a head looks at, by their number, finest first."""
    stages = [(stage["reduction"], stage["num_chs"]) for stage in feature_info]
    last = {stride: number for number, (stride, _) in enumerate(stages)}
    chosen = sorted(n for stride, n in last.items() if stride >= _FINEST) or [len(stages) - 1]
    return {number: stages[number][1] for number in chosen}
