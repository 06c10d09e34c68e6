"""How right a student is on an image folder: by classes or, of maps and lines, by masks and texts."""

from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from fkd.amounts import as_count
from fkd.config import (
    MAX_BATCH,
    MAX_WORKERS,
    Size,
    ViewSizes,
    as_path,
    check_count,
    fit,
)
from fkd.errors import ConfigError, ImagesError, ModelError
from fkd.images import ImageList, match_outputs
from fkd.machine import place, resolve_device
from fkd.progress import note
from fkd.sources import list_images, refuse_other_kinds, split_folder
from fkd.students.answers import Answers, ask
from fkd.students.checkpoints import announce_student
from fkd.students.line_evaluation import LineAccuracy, evaluate_lines
from fkd.students.map_evaluation import MapAccuracy, evaluate_maps
from fkd.students.real_labels import read_real
from fkd.students.student import StudentCard
from fkd.students.views import require_size, seen_otherwise
from fkd.truth import (
    Masks,
    Texts,
    Truth,
    find_masks,
    find_texts,
    list_lines,
    require_lined_root,
    require_masked_root,
    require_named,
)


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

    @property
    def score(self) -> float:
        """By what the best of several is chosen: top-1."""
        return self.top1

    @property
    def numbers(self) -> dict[str, float]:
        """Its numbers by their names in metrics."""
        return asdict(self)

    def __str__(self) -> str:
        return f"top-1 {self.top1:.2%}, top-5 {self.top5:.2%}"


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
) -> Accuracy | MapAccuracy | LineAccuracy:
    """Evaluate a checkpoint of `fkd train` on an image folder, or on the `val` folder inside it.

    A student of maps is evaluated on images with masks beside them, which gives a `MapAccuracy`, one of
    lines on images with texts, which gives a `LineAccuracy`. `ema` takes the moving average of the
    weights, `student` the one of that name where a run has several, whose first is taken without it.
    `real` is the file of ImageNet-ReaL's labels. The size of its views and the share of an image that
    they show are those of its training's evaluations, unless `eval_size` and `eval_crop` are others.
    Raises `FkdError` for a student that takes no such size.
    """
    real_labels = fit("real", real, Path | None)
    opened = open_evaluation(
        checkpoint, folder, ema=ema, student=student, eval_size=eval_size, eval_crop=eval_crop,
        batch_size=batch_size, workers=workers,
    )  # fmt: skip
    card, images = opened.card, opened.images
    if not card.learned_classes:
        raise ModelError(
            f"checkpoint {checkpoint}: no loss was on the student's outputs, so they name no classes; "
            "evaluate its features with --knn"
        )
    if opened.truth is not None:
        if real is not None:
            raise ConfigError(
                f"--real names classes of whole images, and checkpoint {checkpoint} says "
                f"{'maps' if card.maps else 'lines'}; leave it out"
            )
        model = place(opened.model, resolve_device(device))
        if isinstance(opened.truth, Masks):
            return evaluate_maps(model, card, images, opened.truth, batch_size, workers)
        return evaluate_lines(model, card, images, opened.truth, batch_size, workers)
    answers = None if real is None else read_real(real_labels, images, len(card.classes))
    return evaluate(
        place(opened.model, resolve_device(device)),
        card,
        images,
        batch_size,
        workers,
        answers=answers,
    )


@dataclass(frozen=True)
class Opened:
    """A student of a checkpoint, how its images are cut out, and the images to evaluate it on.

    `truth` are the masks of the images where it says maps, and their texts where it says lines, in the
    numbers of its classes.
    """

    card: StudentCard
    model: nn.Module
    images: ImageList
    truth: Truth | None = None


def open_evaluation(
    checkpoint: str | Path,
    folder: str | Path,
    *,
    ema: bool,
    student: str | None,
    eval_size: Size | str | None,
    eval_crop: float | None,
    batch_size: int,
    workers: int,
) -> Opened:
    """Open what `fkd eval` names, and say what it is; raises `FkdError` for what cannot be evaluated."""
    check_count("--batch-size", batch_size, 1, MAX_BATCH)
    check_count("--workers", workers, 1, MAX_WORKERS)
    folder = as_path("folder", folder)
    sizes = fit("eval_size", eval_size, ViewSizes | None)
    card, model = announce_student(checkpoint, ema=ema, student=student)
    view = seen_otherwise(card.center_view, sizes, eval_crop)
    if view.size != card.center_view.size:
        require_size(model, card, view.size)
    refuse_other_kinds(folder)
    truth: Truth | None = None
    if card.maps:
        images, truth = masked_images(folder, card.classes)
    elif card.lines:
        images, truth = lined_images(folder, card.classes)
    else:
        root = folder if "val" in card.classes else split_folder(folder, "val")
        images = list_images(root, split="val")
    note(f"on {as_count(len(images), 'image')} of {images.root}, at {view}")
    return Opened(replace(card, evaluation=view), model, images, truth)


def masked_images(folder: Path, classes: tuple[str, ...]) -> tuple[ImageList, Masks]:
    """List the images of a folder that have masks, or of the `val` folder inside it, and their masks.

    Masks are in the numbers of a student's `classes`. Raises `ImagesError` where there are none, of
    other classes, or of no class at any pixel.
    """
    images = list_images(require_masked_root(folder), unlabelled=True)
    found = find_masks(images)
    assert found is not None
    masks = found.matched(classes, "the student's")
    if not masks.say_classes():
        raise ImagesError(
            f"no pixel of the masks in {masks.folder} has a class, so nothing could be judged by them; "
            "give other masks"
        )
    return images, masks


def lined_images(folder: Path, classes: tuple[str, ...]) -> tuple[ImageList, Texts]:
    """List the images of a folder that have texts, or of the `val` folder inside it, and their texts.

    Texts are in the numbers of a student's `classes`. Raises `ImagesError` where there are none, of other
    characters, or of no character.
    """
    images = list_lines(require_lined_root(folder))
    texts = find_texts(images)
    assert texts is not None
    require_named(texts)
    if not any(texts.written.values()):
        raise ImagesError(
            f"{texts.file}: no text has a character, so nothing could be judged by it; write what is on "
            "each line"
        )
    return images, texts.matched(classes, "the student's classes")


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
    tally = Tally(images, card, answers)
    for said in ask(model, card, images, tally.chosen, batch_size, workers, nested=nested):
        for error in said.errors:
            note(f"counted as missed: {error}")
        tally.add(said)
    return tally.accuracy()


class Tally:
    """Hits and losses so far, of the `chosen` images, int64 [n]: those that have a right answer."""

    def __init__(
        self, images: ImageList, card: StudentCard, answers: NDArray[np.int64] | None = None
    ) -> None:
        """Match class folders to the outputs of a student; `answers` are as `evaluate` has them."""
        self._targets = torch.from_numpy(match_classes(images, card.classes)[images.targets])
        self._right = self._targets[:, None] if answers is None else torch.from_numpy(answers)
        self.chosen = torch.nonzero((self._right >= 0).any(dim=1))[:, 0]
        if not len(self.chosen):
            raise ImagesError(f"no image in {images.root} has a label that could be right")
        self._usable = self._in_top1 = self._in_top5 = 0
        self._loss = 0.0

    def add(self, said: Answers) -> None:
        """Count images by their logits [b, C]: classes for the loss, right outputs for the rest."""
        logits, targets, right = said.logits, self._targets[said.rows], self._right[said.rows]
        best = logits.topk(min(5, logits.shape[1]), dim=1).indices
        hits = (best[:, :, None] == right[:, None, :]).any(dim=2)
        self._usable += len(logits)
        self._in_top1 += int(hits[:, 0].sum())
        self._in_top5 += int(hits.any(dim=1).sum())
        self._loss += float(functional.cross_entropy(logits, targets, reduction="sum"))

    def accuracy(self) -> Accuracy:
        """Return shares of all images, and the mean loss of the usable ones."""
        count = len(self.chosen)
        return Accuracy(
            self._in_top1 / count,
            self._in_top5 / count,
            self._loss / max(1, self._usable),
            count,
            count - self._usable,
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
