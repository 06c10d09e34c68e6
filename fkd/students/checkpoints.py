"""Checkpoints: written aside and renamed, two deep, and read with `weights_only=True`."""

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fkd import models
from fkd.config import Preprocessing
from fkd.errors import FkdError, ModelError, first_line
from fkd.machine import write_aside
from fkd.progress import note
from fkd.students.student import StudentCard, build_student

CHECKPOINT_VERSION = 1
LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


def save_checkpoint(path: Path, card: StudentCard, state: Mapping[str, Any]) -> None:
    """Write a checkpoint aside, sync it and rename it: a reader sees the old one or the new one whole.

    `state` holds plain values and tensors: "student", the student's state dict, "ema", that of its
    moving average where there is one, and whatever else the trainer needs to go on.
    """
    _write_aside(path, card, state).replace(path)


def _write_aside(path: Path, card: StudentCard, state: Mapping[str, Any]) -> Path:
    content = {"checkpoint_version": CHECKPOINT_VERSION, "student_card": asdict(card), **state}
    try:
        return write_aside(path, lambda file: torch.save(content, file))
    except (OSError, RuntimeError) as error:  # torch's writer says RuntimeError of a full disk
        raise FkdError(
            f"{path} cannot be written ({first_line(error)}); make room, and go on with --resume"
        ) from error


def save_last(
    folder: Path, card: StudentCard, state: Mapping[str, Any], *, same_step: bool = False
) -> None:
    """Write last.pt and keep the one before as previous.pt, for a disk that lies about what it wrote.

    With `same_step` that is not the one it replaces, but one of an earlier step.
    """
    last = folder / LAST
    aside = _write_aside(last, card, state)
    if last.exists() and not same_step:
        last.replace(folder / PREVIOUS)
    aside.replace(last)


def newest_checkpoint(folder: Path) -> dict[str, Any] | None:
    """Return the newest checkpoint of a run that can be read, or None where there is none.

    Raises `ModelError` where there are some and none can be read.
    """
    there = [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    problems = []
    for path in there:
        try:
            checkpoint = read_checkpoint(path)
        except ModelError as error:
            problems.append(str(error))
            continue
        if problems:
            note(f"{problems[0]}; going on from {path.name}, step {checkpoint['step']:,}")
        return checkpoint
    if problems:
        raise ModelError(
            f"{problems[0]}; remove {' and '.join(p.name for p in there)} to begin anew"
        )
    return None


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Return the content of a checkpoint, or of a run's best one, "student_card" built.

    Raises `ModelError` for any other file.
    """
    if os.path.isdir(path):
        path = path / BEST
    if not os.path.isfile(path):
        raise ModelError(f"checkpoint {path}: no such file; `fkd train` writes RUN/best.pt")
    try:
        content = models.read_file(path)
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}")
        version, said = content["checkpoint_version"], content["student_card"]
        preprocessing = Preprocessing(**said["preprocessing"])
        card = StudentCard(said["name"], tuple(said["classes"]), preprocessing)
        dict(content["student"])
        int(content["step"])
    except Exception as error:  # reading fails in a dozen ways on a file that is not a checkpoint
        raise ModelError(f"checkpoint {path}: not a checkpoint of fkd train") from error
    if version != CHECKPOINT_VERSION:
        raise ModelError(
            f"checkpoint {path} has version {version}, this fkd reads version {CHECKPOINT_VERSION}"
        )
    return {**content, "student_card": card}


def load_student(path: Path, *, ema: bool = False) -> tuple[StudentCard, nn.Module]:
    """Rebuild the student of a checkpoint, with its weights, in eval mode on the CPU.

    With `ema`, the weights are the moving average; a checkpoint without one is refused.
    """
    content = read_checkpoint(path)
    if ema and "ema" not in content:
        raise ModelError(f"checkpoint {path} has no moving average; it was trained without --ema")
    card: StudentCard = content["student_card"]
    weights: dict[str, Tensor] = dict(content["ema" if ema else "student"])
    model = build_student(card)
    models.load_weights(model, weights, f"checkpoint {path}")
    return card, model.eval()
