"""A teacher's model once it is open, and what all kinds of teachers have in common."""

import hashlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fkd import models
from fkd.config import Preprocessing, Size, TeacherChoice, as_size, sides_of, size_text
from fkd.errors import ConfigError, ModelError
from fkd.progress import note_once
from fkd.teachers.output_names import OutputNames

_BATCH = 3  # views that a model is tried on

Model = Callable[[torch.Tensor], Any]


@dataclass(frozen=True)
class Source:
    """A frozen model, the preprocessing that it gets, and a hash that identifies its weights.

    `outputs` are how many there are, and on which grid. `made_for` is the input side in pixels that is
    recorded with the weights, None where none is known. `names` are what the outputs are called, where
    the teacher itself says so. `no_logits` says why its outputs are of no classes, None where nothing
    speaks against it.
    """

    model: Model
    preprocessing: Preprocessing
    weights_hash: str
    outputs: models.OutputShape
    made_for: int | None = None
    names: OutputNames | None = None
    no_logits: str | None = None

    @property
    def num_outputs(self) -> int:
        """How many outputs there are, at each position of a grid."""
        return self.outputs.count


def override(recorded: Preprocessing, choice: TeacherChoice) -> Preprocessing:
    """Prefer what the user says to what is recorded with the weights."""
    return Preprocessing(
        recorded.size if choice.size is None else choice.size,
        choice.mean or recorded.mean,
        choice.std or recorded.std,
        choice.interpolation or recorded.interpolation,
    )


def usual_preprocessing(choice: TeacherChoice) -> Preprocessing:
    """Return that of ImageNet, for a teacher that does not say what its input is; say so unless told."""
    taken = [name for name in ("mean", "std") if getattr(choice, name) is None]
    if taken:
        note_once(
            f"teacher {choice.name} does not say how its pixels are normalised, and gets ImageNet's "
            f"{' and '.join(taken)}; give its own by --{' and --'.join(taken)}"
        )
    return Preprocessing()


def refuse_weights(choice: TeacherChoice) -> None:
    """Refuse `--teacher-weights` for a teacher that has its weights in it."""
    if choice.weights != "default":
        raise ModelError(
            f"--teacher-weights {choice.weights}: teacher {choice.name} brings its own weights; "
            "leave the option out, or give it as `default` for this teacher"
        )


def size_taken(
    sides: tuple[int | None, int | None], size: Size | None, what: str, recorded: Size | None = None
) -> Size | None:
    """Return the size of views for a program of `sides`, of which None are free; None where both are.

    `size` is what the user says, and `recorded` what else is known. Raises `ConfigError`, which calls the
    program `what`, where a size does not fit, and where nothing says the side that is free.
    """
    if sides == (None, None):
        return None
    fixed = [side for side in sides if side is not None]
    known = size or (recorded if recorded and _fits(recorded, sides) else None)
    if known is None and len(fixed) == 2:
        return as_size(*fixed)
    takes = "x".join(dict.fromkeys("any" if side is None else str(side) for side in sides))
    if known is None:
        raise ConfigError(f"{what} takes views of {takes} px; say which with --size HxW")
    if not _fits(known, sides):
        raise ConfigError(f"--size {size_text(known)}: {what} takes views of {takes} px alone")
    return known


def _fits(size: Size, sides: tuple[int | None, int | None]) -> bool:
    return all(side in (None, own) for side, own in zip(sides, sides_of(size), strict=True))


def try_on_views(
    model: Model, choice: TeacherChoice, size: Size, device: torch.device, remedy: str
) -> models.OutputShape:
    """Run a small batch and look at the outputs: programs and users' models do not say what they take."""
    views = torch.zeros(_BATCH, 3, *sides_of(size), device=device)
    return models.output_shape(model, views, f"teacher {choice.name}", remedy)


@contextmanager
def asking_hub(choice: TeacherChoice) -> Iterator[None]:
    """Say once that a hub does not answer; its client would say so twice for each of its attempts."""
    told = False

    def says_itself(record: logging.LogRecord) -> bool:
        nonlocal told
        if not told and record.levelno < logging.ERROR and "Retry" in record.getMessage():
            note_once(f"the hub of teacher {choice.name} does not answer yet, and is asked again")
            told = True
        return record.levelno >= logging.ERROR

    handlers = list(logging.getLogger("huggingface_hub").handlers)
    for handler in handlers:
        handler.addFilter(says_itself)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(says_itself)


def file_hash(path: Path) -> str:
    """Return the SHA-256 of a file, which identifies a program."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
