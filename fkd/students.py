"""Students: build one by name, save it with what is needed to use it again, load it."""

import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fkd import zoo
from fkd.config import Preprocessing
from fkd.errors import ModelError

CHECKPOINT_VERSION = 1


@dataclass(frozen=True)
class StudentCard:
    """What a checkpoint says of its student: enough to build it and to prepare images for it."""

    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing


def build_student(card: StudentCard) -> nn.Module:
    """Build an untrained student with one output per class."""
    zoo.check_name(card.name, "student")
    return zoo.build(card.name, len(card.classes), card.preprocessing.size)


def save_checkpoint(path: Path, card: StudentCard, model: nn.Module, state: dict[str, Any]) -> None:
    """Write a checkpoint aside, sync it and rename it: a reader sees the old one or the new one whole.

    `state` is the trainer's own (step, metrics, optimizer) and holds plain values and tensors only.
    """
    content = {
        "checkpoint_version": CHECKPOINT_VERSION,
        "student_card": asdict(card),
        "student": model.state_dict(),
        **state,
    }
    aside = path.with_name(path.name + ".partial")
    with aside.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    aside.replace(path)


def load_student(path: Path) -> tuple[StudentCard, nn.Module]:
    """Rebuild the student of a checkpoint, with its weights, in eval mode on the CPU."""
    if not path.is_file():
        raise ModelError(f"checkpoint {path}: no such file; `fkd train` writes RUN/best.pt")
    try:
        content = zoo.read_file(path)
        if not isinstance(content, dict):
            raise TypeError(f"it holds a {type(content).__name__}")
        version, said = content["checkpoint_version"], content["student_card"]
        preprocessing = Preprocessing(**said["preprocessing"])
        card = StudentCard(said["name"], tuple(said["classes"]), preprocessing)
        weights: dict[str, Tensor] = dict(content["student"])
    except Exception as error:  # reading fails in a dozen ways on a file that is not a checkpoint
        raise ModelError(f"checkpoint {path}: not a checkpoint of fkd train") from error
    if version != CHECKPOINT_VERSION:
        raise ModelError(
            f"checkpoint {path} has version {version}, this fkd reads version {CHECKPOINT_VERSION}"
        )
    model = build_student(card)
    zoo.load_weights(model, weights, f"checkpoint {path}")
    return card, model.eval()
