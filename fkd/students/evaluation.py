"""Top-1 and top-5 of a student on an image folder.

ImageNet-ReaL names, for each validation image, all classes that people see in it (Beyer et al. 2020).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from fkd.config import MAX_BATCH, MAX_WORKERS, Preprocessing, check_count
from fkd.errors import ImagesError
from fkd.images import ImageList, list_images
from fkd.machine import device_memory, place, resolve_device, upload
from fkd.progress import note, progress
from fkd.students.checkpoints import load_student
from fkd.views import RenderPool, evaluation_batches, normalize

_NUMBER = re.compile(r"ILSVRC2012_val_(\d{8})\.")
_NUM_CLASSES = 1000


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1] of `num_images` centre crops, and the mean cross-entropy in nats.

    The `num_unusable` images that cannot be decoded count as missed, and not in the loss.
    """

    top1: float
    top5: float
    loss: float
    num_images: int
    num_unusable: int


def evaluate_checkpoint(
    checkpoint: Path,
    folder: Path,
    *,
    ema: bool = False,
    real: Path | None = None,
    batch_size: int = 128,
    workers: int = 2,
    device: str = "auto",
) -> Accuracy:
    """Evaluate a checkpoint of `fkd train` on an image folder, or on the `val` folder inside it.

    `ema` takes the moving average of the weights. `real` is the file of ImageNet-ReaL's labels.
    """
    check_count("--batch-size", batch_size, 1, MAX_BATCH)
    check_count("--workers", workers, 1, MAX_WORKERS)
    card, model = load_student(checkpoint, ema=ema)
    root = folder / "val" if (folder / "val").is_dir() and "val" not in card.classes else folder
    images = list_images(root)
    answers = None if real is None else read_real(real, images, len(card.classes))
    return evaluate(
        place(model, resolve_device(device)),
        card.preprocessing,
        card.classes,
        images,
        batch_size,
        workers,
        answers=answers,
    )


def evaluate(
    model: nn.Module,
    preprocessing: Preprocessing,
    classes: tuple[str, ...],
    images: ImageList,
    batch_size: int,
    workers: int,
    *,
    answers: NDArray[np.int64] | None = None,
    nested: bool = False,
) -> Accuracy:
    """Evaluate `model`, whose outputs are `classes` in order; folders are matched to them by name.

    `answers`, int64 [N, A], are the outputs that count as right for each image, -1 for none; an image
    without any is left out. Without them it is the folder's class. Images that cannot be decoded are
    named on stderr and count as missed. `nested` is for a run that shows a bar of its own.
    """
    outputs = match_classes(images, classes)[images.targets]
    right = torch.from_numpy(outputs[:, None] if answers is None else answers)
    chosen = torch.nonzero((right >= 0).any(dim=1))[:, 0]
    if not len(chosen):
        raise ImagesError(f"no image in {images.root} has a label that could be right")
    device = next(model.parameters()).device
    was_training, in_top1, in_top5, loss, unusable = model.training, 0, 0, 0.0, 0
    model.eval()
    with (
        device_memory(f"choose a --batch-size below {batch_size}"),
        RenderPool(workers, device) as pool,
        progress(None, "evaluate", unit="image", total=len(chosen), nested=nested) as bar,
    ):
        batches = evaluation_batches(pool, images, chosen.tolist(), batch_size, preprocessing)
        for batch, rows in zip(batches, torch.split(chosen, batch_size), strict=True):
            views = upload(batch.views, device)
            pixels = normalize(views, preprocessing.mean, preprocessing.std)
            with torch.inference_mode():
                logits = model(pixels.contiguous(memory_format=torch.channels_last)).float()
            for error in batch.errors:
                note(f"counted as missed: {error}")
            unusable += len(batch.errors)
            rows, logits = rows[batch.usable], logits[batch.usable.to(device)].cpu()
            classed = torch.from_numpy(outputs[rows.numpy()])
            loss += float(functional.cross_entropy(logits, classed, reduction="sum"))
            best = logits.topk(min(5, len(classes)), dim=1).indices
            hits = (best[:, :, None] == right[rows][:, None, :]).any(dim=2)
            in_top1 += int(hits[:, 0].sum())
            in_top5 += int(hits.any(dim=1).sum())
            bar.update(len(batch.targets))
    model.train(was_training)
    count = max(1, len(chosen))
    mean_loss = loss / max(1, count - unusable)
    return Accuracy(in_top1 / count, in_top5 / count, mean_loss, len(chosen), unusable)


def match_classes(images: ImageList, classes: tuple[str, ...]) -> NDArray[np.int64]:
    """Return the output, int64 [folder classes], of each class folder; refuse unknown folders.

    Folders are matched by name or, where all are numbers as in ImageNetV2, by position.
    """
    position = {name: output for output, name in enumerate(classes)}
    if all(name.isdecimal() and name not in position for name in images.classes):
        position = {str(output): output for output in range(len(classes))}
    unknown = [name for name in images.classes if name not in position]
    if unknown:
        raise ImagesError(
            f"{images.root}: {len(unknown)} of {len(images.classes)} class folders are not among the "
            f"student's classes: {', '.join(unknown[:3])}{' …' if len(unknown) > 3 else ''}; "
            "give a folder whose class folders have the names that it was trained on"
        )
    return np.array([position[name] for name in images.classes])


def read_real(path: Path, images: ImageList, num_classes: int) -> NDArray[np.int64]:
    """Return the classes that count as right, int64 [N, A] with -1 for none, of validation images.

    `path` is the published real.json: a list of class ids for each image, in the order of the image
    numbers. Raises `ImagesError` for other files, other images and students of other classes.
    """
    if num_classes != _NUM_CLASSES:
        raise ImagesError(
            f"--real {path} is of ImageNet's {_NUM_CLASSES} classes, the student has {num_classes}"
        )
    try:
        said = json.loads(path.read_text("utf-8"))
        labels = [[int(i) for i in ids] for ids in said]
        if not all(0 <= i < _NUM_CLASSES for ids in labels for i in ids):
            raise ValueError("a class id is not in 0 … 999")
    except (OSError, ValueError, TypeError) as error:
        raise ImagesError(
            f"--real {path}: not the published real.json ({error}); it is a list of lists of class ids"
        ) from error
    numbers = [_number(name, len(labels), path) for name in images.paths]
    answers = np.full((len(images), max(1, *(len(labels[n]) for n in numbers), 1)), -1)
    for row, number in enumerate(numbers):
        answers[row, : len(labels[number])] = labels[number]
    return answers


def _number(name: str, count: int, path: Path) -> int:
    match = _NUMBER.search(name)
    number = int(match[1]) - 1 if match else -1
    if not 0 <= number < count:
        raise ImagesError(
            f"--real {path}: {name} is none of its {count:,} images; they are named "
            "ILSVRC2012_val_00000001 and so on"
        )
    return number
