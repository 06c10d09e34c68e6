"""Mean intersection over union and pixel accuracy of a student of maps, on images with masks."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from fkd.config import IGNORED, sides_of
from fkd.errors import DecodeError, ImagesError
from fkd.evaluation.answers import a_batch_late, as_seen, each_batch
from fkd.images import ImageList
from fkd.machine import Download, upload
from fkd.models import find_logits, resized
from fkd.progress import note
from fkd.students import StudentCard
from fkd.truth import Confusion, Masks
from fkd.views import EvaluationBatch

# Pixels of the views that go through a student together, at most: 128 views of 224 px.
_MOST_PIXELS = 128 * 224 * 224

# Numbers of logits as large as a view that are held at once, at most.
_MOST_LOGITS = 2**25

# What trackers refuse in the name of a metric. Letters of any language are none of it.
_STRANGE = re.compile(r"[^\w. -]")


@dataclass(frozen=True)
class MapAccuracy:
    """How right a student is at the pixels of `num_images` images that have a class.

    `miou` is the mean over classes of the intersection over union, and `iou` that of each class by its
    name, of those that are in the truth or said. `pixel_accuracy` is the share of pixels that are right,
    `loss` their mean cross-entropy in nats. The `num_unusable` images that cannot be decoded, or have no
    mask that can, are left out.
    """

    miou: float
    pixel_accuracy: float
    loss: float
    iou: Mapping[str, float]
    num_images: int
    num_unusable: int

    @property
    def score(self) -> float:
        """By what the best of several is chosen: the mean IoU."""
        return self.miou

    @property
    def numbers(self) -> dict[str, float]:
        """Its numbers by their names in metrics: that of a class as `iou/road`."""
        plain = {
            "miou": self.miou, "pixel_accuracy": self.pixel_accuracy, "loss": self.loss,
            "num_images": self.num_images, "num_unusable": self.num_unusable,
        }  # fmt: skip
        return plain | {f"iou/{_STRANGE.sub('_', name)}": iou for name, iou in self.iou.items()}

    def __str__(self) -> str:
        return f"mIoU {self.miou:.2%}, pixel accuracy {self.pixel_accuracy:.2%}"


def evaluate_maps(
    model: nn.Module,
    card: StudentCard,
    images: ImageList,
    masks: Masks,
    batch_size: int,
    workers: int,
    *,
    nested: bool = False,
) -> MapAccuracy:
    """Evaluate `model` on the centre views of images and of their `masks`, as its `card` says.

    Masks are in the numbers of its classes, and rendered (nearest) at the size of the views, to which its
    logits are resized (bilinear). Of large views fewer than `batch_size` go through it together. Images
    that cannot be used are named on stderr. `nested` is for a run that shows a bar of its own. Raises
    `ImagesError` where no pixel of all images has a class.
    """
    height, width = sides_of(card.center_view.size)
    at_a_time = max(1, min(batch_size, _MOST_PIXELS // (height * width)))
    tally = _Tally(len(card.classes), next(model.parameters()).device)

    def counted(batch: EvaluationBatch, rows: Tensor) -> tuple[Sequence[DecodeError], Download]:
        assert batch.masks is not None  # of an image that cannot be used, no pixel counts
        losses = tally.add(_answer(model, batch.views, card), batch.masks)
        return batch.errors, Download(losses=losses)

    num_unusable, loss = 0, 0.0
    batches = each_batch(
        model, card, images, torch.arange(len(images)), at_a_time, workers, counted,
        masks=masks, nested=nested,
    )  # fmt: skip
    for errors, coming in a_batch_late(batches):
        for part in coming.wait()["losses"].tolist():  # `sum` is another one from Python 3.12 on
            loss += part
        num_unusable += len(errors)
        for error in errors:
            note(f"left out: {error}")
    confusion = tally.confusion
    if not confusion.num_pixels:
        raise ImagesError(f"no pixel of the images in {images.root} has a class; give other masks")
    said = dict(zip(card.classes, confusion.iou.tolist(), strict=True))
    return MapAccuracy(
        confusion.miou,
        confusion.pixel_accuracy,
        loss / confusion.num_pixels,
        {name: iou for name, iou in said.items() if not math.isnan(iou)},
        len(images),
        num_unusable,
    )


@torch.inference_mode()
def _answer(model: nn.Module, views: Tensor, card: StudentCard) -> Tensor:
    """Return logits [b, C, h, w] of views, uint8 [b, 3, H, W], on the device of the model."""
    device = next(model.parameters()).device
    answer = model(as_seen(upload(views, device), card))
    logits: Tensor = find_logits(answer, len(views), f"student {card.name}")
    return logits.float()


class _Tally:
    """What is said at each pixel so far, against the truth."""

    def __init__(self, num_classes: int, device: torch.device) -> None:
        self.confusion, self._device = Confusion(num_classes, device), device

    @torch.inference_mode()
    def add(self, logits: Tensor, masks: Tensor) -> Tensor:
        """Count the pixels of masks, uint8 [b, H, W], of logits [b, C, h, w] on the device.

        Returns their losses, in nats, f32 [parts] in sum.
        """
        truth, losses = upload(masks, self._device), list[Tensor]()
        at_once = max(1, _MOST_LOGITS // (logits.shape[1] * masks[0].numel()))
        pairs = zip(torch.split(logits, at_once), torch.split(truth, at_once), strict=True)
        for some, wanted in pairs:
            large = resized(some, wanted.shape[1:])
            self.confusion.add(large.argmax(dim=1), wanted)
            losses.append(
                functional.cross_entropy(
                    large, wanted.long(), ignore_index=IGNORED, reduction="sum"
                )
            )
        return torch.stack(losses)
