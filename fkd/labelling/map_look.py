"""A first look at maps of labels: do they say of each pixel what its mask says?"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fkd.amounts import as_count
from fkd.config import LabelConfig
from fkd.labels import laid_out
from fkd.machine import upload
from fkd.teachers import Teacher
from fkd.truth import Confusion

_WORST = 3  # classes that a line names

# Agreement beyond chance (Cohen's kappa) that guessing hardly reaches. DeepLab of Cityscapes has 0.85 on
# CamVid; with its classes one place on it has -0.03, four places on -0.09.
_LEAST = 0.1


class MapLook:
    """Compares what a teacher says of views with their masks, batch by batch."""

    def __init__(self, teacher: Teacher, config: LabelConfig) -> None:
        """Begin with no view."""
        self._teacher, self._temperature = teacher, config.temperature
        self._confusion = Confusion(len(teacher.class_map.names), teacher.device)

    def add(self, outputs: Tensor, masks: Tensor, usable: Tensor) -> None:
        """Look at usable views, bool [n]: outputs f32 [n · G, outputs], masks uint8 [n, H, W].

        Each pixel of a mask is compared with the class that is most likely there, of probabilities that
        are brought to its size (bilinear).
        """
        count, masks = len(masks), upload(masks, self._teacher.device)
        for view in torch.nonzero(usable)[:, 0].tolist():
            rows = outputs.reshape(count, -1, outputs.shape[1])[view]
            probs = laid_out(self._teacher.as_probs(rows, self._temperature), self._teacher.grid)
            said = functional.interpolate(probs, masks.shape[-2:], mode="bilinear")
            self._confusion.add(said[0].argmax(dim=0), masks[view])

    def found(self) -> "SampleMaps":
        """Return what was found."""
        seen, names = self._confusion, self._teacher.class_map.names
        return SampleMaps(
            seen.pixel_accuracy,
            seen.miou,
            seen.chance,
            int((seen.counts.sum(dim=1) > 0).sum()),
            seen.num_pixels,
            tuple(seen.worst(names, _WORST)),
        )


@dataclass(frozen=True)
class SampleMaps:
    """How maps of a few views agree with their masks, at `num_pixels` pixels of `num_classes` classes.

    `pixel_accuracy` and `miou` are in [0, 1], and `chance` is the pixel accuracy of guessing as often as
    the teacher says each class. `worst` are the classes of the lowest IoU.
    """

    pixel_accuracy: float
    miou: float
    chance: float
    num_classes: int
    num_pixels: int
    worst: Sequence[tuple[str, float]]

    @property
    def near_chance(self) -> bool:
        """Whether guessing would do nearly as well, as far as that can be told."""
        if self.num_classes < 2:
            return False
        return self.pixel_accuracy - self.chance < _LEAST * (1 - self.chance)

    @property
    def warnings(self) -> list[str]:
        """What may be wrong with the masks, or with maps of them, and what to do."""
        if not self.num_pixels:
            return ["says nothing that could be compared: no mask that was looked at has a class"]
        if self.num_classes == 1:
            return [
                f"has masks of one class alone, {self.worst[0][0]}, as far as they were looked at; check "
                "their values, of which 255 counts for nothing"
            ]
        if not self.near_chance:
            return []
        return [
            f"is little better than guessing at pixels of {as_count(self.num_classes, 'class')}; check "
            "--teacher-weights, --teacher-classes, classes.txt, --mean, --std and --size"
        ]

    def __str__(self) -> str:
        worst = ", ".join(f"{name} {iou:.1%}" for name, iou in self.worst)
        return (
            f"pixel accuracy {self.pixel_accuracy:.1%}, mIoU {self.miou:.1%}"
            + f" (lowest: {worst})" * bool(worst)
        )
