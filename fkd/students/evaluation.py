"""Top-1, top-5 and loss of a student on an image folder."""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from fkd.amounts import as_count
from fkd.config import (
    MAX_BATCH,
    MAX_WORKERS,
    CenterView,
    NetworkInput,
    Size,
    ViewSizes,
    as_path,
    check_count,
    fit,
    sides_of,
    size_text,
)
from fkd.errors import ImagesError
from fkd.images import ImageList, match_outputs
from fkd.machine import device_memory, place, resolve_device, upload
from fkd.models import count_outputs, find_logits
from fkd.progress import note, progress_bar
from fkd.sources import list_images, refuse_other_kinds, split_folder
from fkd.students.checkpoints import announce_student
from fkd.students.real_labels import read_real
from fkd.students.student import StudentCard
from fkd.views import RenderPool, evaluation_batches, normalize


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1] of `num_images` images, and their mean cross-entropy in nats.

    The `num_unusable` images that cannot be decoded count as missed, and are left out of the loss.
    """

    top1: float
    top5: float
    loss: float
    num_images: int
    num_unusable: int


def evaluate_checkpoint(  # noqa: PLR0913  one argument an option
    checkpoint: str | Path,
    folder: str | Path,
    *,
    ema: bool = False,
    student: str | None = None,
    real: str | Path | None = None,
    eval_size: Size | str | None = None,
    eval_crop: float | None = None,
    batch_size: int = 128,
    workers: int = 2,
    device: str = "auto",
) -> Accuracy:
    """Evaluate a checkpoint of `fkd train` on an image folder, or on the `val` folder inside it.

    `ema` takes the moving average of the weights, `student` the one of that name where a run has several,
    whose first is taken without it. `real` is the file of ImageNet-ReaL's labels. The size
    of its views and the share of an image that they show are those of its training's evaluations, unless
    `eval_size` and `eval_crop` are others. Raises `FkdError` for a student that takes no such size.
    """
    check_count("--batch-size", batch_size, 1, MAX_BATCH)
    check_count("--workers", workers, 1, MAX_WORKERS)
    folder = as_path("folder", folder)
    real_labels = fit("real", real, Path | None)
    sizes = fit("eval_size", eval_size, ViewSizes | None)
    card, model = announce_student(checkpoint, ema=ema, student=student)
    view = seen_otherwise(card.center_view, sizes, eval_crop)
    if view.size != card.center_view.size:
        require_size(model, card, view.size)
    refuse_other_kinds(folder)
    root = folder if "val" in card.classes else split_folder(folder, "val")
    images = list_images(root, split="val")
    note(f"on {as_count(len(images), 'image')} of {images.root}, at {view}")
    answers = None if real is None else read_real(real_labels, images, len(card.classes))
    return evaluate(
        place(model, resolve_device(device)),
        replace(card, evaluation=view),
        images,
        batch_size,
        workers,
        answers=answers,
    )


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
    count_outputs(
        model.eval(), pixels, f"student {card.name}",
        f"it was trained at {size_text(card.preprocessing.size)} px; leave --eval-size out",
    )  # fmt: skip


def evaluate(
    model: nn.Module,
    card: StudentCard,
    images: ImageList,
    batch_size: int,
    workers: int,
    *,
    answers: NDArray[np.int64] | None = None,
    nested: bool = False,
) -> Accuracy:
    """Evaluate `model` on the centre views of images, prepared as its `card` says.

    Class folders are matched to the outputs by name. `answers`, int64 [N, A], are the outputs that count
    as right for each image, -1 for none; an image without any is left out. Without `answers` the class
    of its folder is right. Images that cannot be decoded are named on stderr and count as missed.
    `nested` is for a run that shows a bar of its own.
    """
    targets = torch.from_numpy(match_classes(images, card.classes)[images.targets])
    right = targets[:, None] if answers is None else torch.from_numpy(answers)
    chosen = torch.nonzero((right >= 0).any(dim=1))[:, 0]
    if not len(chosen):
        raise ImagesError(f"no image in {images.root} has a label that could be right")
    device = next(model.parameters()).device
    was_training, tally = model.training, _Tally(len(chosen))
    model.eval()
    with (
        device_memory(f"choose a --batch-size below {batch_size}"),
        RenderPool(workers, device) as pool,
        progress_bar("evaluate", unit="image", total=len(chosen), nested=nested) as bar,
    ):
        parts = torch.split(chosen, batch_size)
        batches = evaluation_batches(pool, images, map(Tensor.tolist, parts), card.center_view)
        for batch, rows in zip(batches, parts, strict=True):
            for error in batch.errors:
                note(f"counted as missed: {error}")
            logits = _logits(model, upload(batch.views, device), card.preprocessing).cpu()
            usable = rows[batch.usable]
            tally.add(logits[batch.usable], targets[usable], right[usable])
            bar.update(len(batch.targets))
    model.train(was_training)
    return tally.accuracy()


@torch.inference_mode()
def _logits(model: nn.Module, views: Tensor, preprocessing: NetworkInput) -> Tensor:
    """Return the logits, f32 [B, C], of views, uint8 [B, 3, H, W], on their device."""
    pixels = normalize(views, preprocessing.mean, preprocessing.std)
    answer = model(pixels.contiguous(memory_format=torch.channels_last))
    logits: Tensor = find_logits(answer, len(views), "the student").float()
    return logits


@dataclass
class _Tally:
    """Hits and losses so far, of `num_images` images in all."""

    num_images: int
    num_usable: int = 0
    in_top1: int = 0
    in_top5: int = 0
    loss: float = 0.0

    def add(self, logits: Tensor, targets: Tensor, right: Tensor) -> None:
        """Count images by logits [B, C], classes [B] for the loss, and right outputs [B, A]."""
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        hits = (best[:, :, None] == right[:, None, :]).any(dim=2)
        self.num_usable += len(logits)
        self.in_top1 += int(hits[:, 0].sum())
        self.in_top5 += int(hits.any(dim=1).sum())
        self.loss += float(functional.cross_entropy(logits, targets, reduction="sum"))

    def accuracy(self) -> Accuracy:
        """Return shares of all images, and the mean loss of the usable ones."""
        return Accuracy(
            self.in_top1 / self.num_images,
            self.in_top5 / self.num_images,
            self.loss / max(1, self.num_usable),
            self.num_images,
            self.num_images - self.num_usable,
        )


def match_classes(
    images: ImageList, classes: tuple[str, ...], *, others: bool = False
) -> NDArray[np.int64]:
    """Return the output, int64 [folder classes], of each class folder; refuse unknown folders.

    Folders are matched by name or, where all are numbers as in ImageNetV2, by position. With `others`,
    unknown folders are allowed and get -1.
    """
    outputs = match_outputs(images.classes, classes)
    unknown = [n for n, output in zip(images.classes, outputs, strict=True) if output is None]
    if unknown and not others:
        raise ImagesError(
            f"{images.root}: {len(unknown)} of {len(images.classes)} class folders are not among the "
            f"student's classes: {', '.join(unknown[:3])}{' …' if len(unknown) > 3 else ''}; "
            "give a folder whose class folders have the names that it was trained on"
        )
    return np.array([-1 if output is None else output for output in outputs])
