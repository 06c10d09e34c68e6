"""`fkd eval`: a checkpoint on an image folder, by classes or, of maps and lines, by masks and texts."""

from dataclasses import dataclass, replace
from pathlib import Path

from torch import nn

from fkd.amounts import as_count
from fkd.config import MAX_BATCH, MAX_WORKERS, Size, ViewSizes, as_path, check_count, fit
from fkd.errors import ConfigError, ModelError
from fkd.evaluation.classes import Accuracy, evaluate
from fkd.evaluation.images import lined_images, masked_images
from fkd.evaluation.lines import LineAccuracy, evaluate_lines
from fkd.evaluation.maps import MapAccuracy, evaluate_maps
from fkd.evaluation.real_labels import read_real
from fkd.images import ImageList
from fkd.machine import place, resolve_device
from fkd.progress import note
from fkd.sources import evaluated_folder, list_images, refuse_other_kinds
from fkd.students import StudentCard, announce_student, require_size, seen_otherwise
from fkd.truth import Masks, Truth


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
        images = list_images(evaluated_folder(folder, card.classes), split="val")
    note(f"on {as_count(len(images), 'image')} of {images.root}, at {view}")
    return Opened(replace(card, evaluation=view), model, images, truth)
