"""Checkpoints: written aside and renamed, two deep, and read with `weights_only=True`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fkd import models
from fkd.config import name_of_model
from fkd.errors import FkdError, ModelError, first_line
from fkd.machine import write_aside
from fkd.progress import note, note_lines
from fkd.students.batch_norm import CONVERGED, initial_share
from fkd.students.files import BEST, LAST, PREVIOUS, checkpoint_file
from fkd.students.student import StudentCard, build_student
from fkd.students.weights import Weights

CHECKPOINT_VERSION = 1


@dataclass(frozen=True)
class Checkpoint:
    """A student after `step` steps, and what its run needs for the next step to be the same.

    `student` is the student's state dict; `ema` is that of its moving average, or None. Where a run
    trains several, these are the first's, whose name is `name`, and `peers` has the others by name.
    `losses` are those since the last line of metrics and `loss` is their mean, `parts` those of peers and
    terms by their names in metrics; `best` is the best score so far.
    `evaluated` says whether the evaluation that is due at this step has been made. `trainer` holds the
    state of optimizer, scaler and average by name: plain values and tensors. Where batch norm was
    re-estimated, `student` and `ema` have the estimates, to be used, and `trainer["running"]` has the
    statistics with which training goes on.
    """

    card: StudentCard
    student: Mapping[str, Tensor]
    step: int
    ema: Mapping[str, Tensor] | None = None
    evaluated: bool = True
    losses: Sequence[float] = ()
    loss: float = math.inf
    best: float = -math.inf
    trainer: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    peers: Mapping[str, Weights] = field(default_factory=dict)
    parts: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def content(self) -> dict[str, Any]:
        """Return what is written to a file, by the keys of version 1."""
        own = Weights(self.card, self.student, self.ema).content()
        several: dict[str, Any] = {}
        if self.name:
            several["student_name"] = self.name
        if self.peers:
            several["peers"] = {name: peer.content() for name, peer in self.peers.items()}
        if self.parts:
            several["loss_parts"] = {name: list(values) for name, values in self.parts.items()}
        return {
            "checkpoint_version": CHECKPOINT_VERSION,
            "student_card": own.pop("student_card"),
            "step": self.step,
            "losses": list(self.losses),
            "best": self.best,
            "loss": self.loss,
            "evaluated": self.evaluated,
            **own,
            **several,
            **self.trainer,
        }

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Checkpoint":
        """Read what `content` returned; anything else is a `KeyError`, `TypeError` or `ValueError`."""
        rest = dict(content)
        own = Weights.of(rest)
        for name in ("checkpoint_version", "student_card", "student"):
            rest.pop(name)
        rest.pop("ema", None)
        parts = dict(rest.pop("loss_parts", {}))
        return cls(
            own.card,
            own.student,
            int(rest.pop("step")),
            own.ema,
            bool(rest.pop("evaluated", True)),
            [float(loss) for loss in rest.pop("losses", ())],
            float(rest.pop("loss", math.inf)),
            float(rest.pop("best", -math.inf)),
            name=str(rest.pop("student_name", "")),
            peers={str(n): Weights.of(peer) for n, peer in rest.pop("peers", {}).items()},
            parts={str(name): [float(v) for v in values] for name, values in parts.items()},
            trainer=rest,
        )

    def of_student(self, name: str | None) -> Weights | None:
        """Return the student of a name, without one the first; None where there is none of that name."""
        if name in (None, self.first_name):
            return Weights(self.card, self.student, self.ema)
        return self.peers.get(str(name))

    @property
    def first_name(self) -> str:
        """The name of the first student, or the only one."""
        return self.name or name_of_model(self.card.name)


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint aside, sync it and rename it: a reader sees the old one or the new one whole."""
    _write_aside(path, checkpoint).replace(path)


def _write_aside(path: Path, checkpoint: Checkpoint) -> Path:
    try:
        return write_aside(path, lambda file: torch.save(checkpoint.content(), file))
    except (OSError, RuntimeError) as error:  # torch's writer says RuntimeError of a full disk
        raise FkdError(
            f"{path} cannot be written ({first_line(error)}); make room, and go on with --resume"
        ) from error


def save_last(folder: Path, checkpoint: Checkpoint, *, same_step: bool = False) -> None:
    """Write last.pt, and keep the last.pt before it as previous.pt: a disk may lie about what it wrote.

    With `same_step`, last.pt holds this step already: it is replaced, and previous.pt stays.
    """
    last = folder / LAST
    aside = _write_aside(last, checkpoint)
    if last.exists() and not same_step:
        last.replace(folder / PREVIOUS)
    aside.replace(last)


def newest_checkpoint(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint of a run that can be read, or None where there is none.

    Raises `ModelError` where there are checkpoints and none can be read.
    """
    paths = [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    problems = []
    for path in paths:
        try:
            checkpoint = read_checkpoint(path)
        except ModelError as error:
            problems.append(str(error))
            continue
        if problems:
            note(f"{problems[0]}; going on from {path.name}, step {checkpoint.step:,}")
        return checkpoint
    if problems:
        raise ModelError(
            f"{problems[0]}; remove {' and '.join(path.name for path in paths)} to begin anew"
        )
    return None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint, or the best one of a run folder; raises `ModelError` for any other file."""
    path = checkpoint_file(path)
    try:
        content = models.read_file(path)
        if not isinstance(content, Mapping):  # a tensor, asked for a key, warns before it fails
            raise TypeError(f"{type(content).__name__} has no keys")
        version, checkpoint = content["checkpoint_version"], Checkpoint.of(content)
    except Exception as error:  # reading fails in a dozen ways on a file that is not a checkpoint
        raise ModelError(
            f"checkpoint {path}: not a checkpoint of fkd train, which says what the student and its "
            "classes are; give a run folder, or best.pt or last.pt in it"
        ) from error
    if version != CHECKPOINT_VERSION:
        raise ModelError(
            f"checkpoint {path} has version {version}, this fkd reads version {CHECKPOINT_VERSION}"
        )
    return checkpoint


def load_student(
    path: str | Path, *, ema: bool = False, student: str | None = None
) -> tuple[StudentCard, nn.Module]:
    """Rebuild the student of a checkpoint, with its weights, in eval mode on the CPU.

    With `ema`, the weights are the moving average; a checkpoint without one is refused. Of a run of
    several students it is the first, or the `student` of a name.
    """
    checkpoint = read_checkpoint(path)
    return _load(path, checkpoint, _chosen(path, checkpoint, student), ema)


def announce_student(
    path: str | Path, *, ema: bool = False, student: str | None = None, option: str = "--ema"
) -> tuple[StudentCard, nn.Module]:
    """Do what `load_student` does, and say on stderr which weights of which step these are.

    `option` is how the user asks for the moving average.
    """
    checkpoint, file = read_checkpoint(path), checkpoint_file(path)
    chosen = _chosen(path, checkpoint, student)
    loaded = _load(path, checkpoint, chosen, ema)
    name = checkpoint.first_name if student is None else student
    whose = f"student {name}'s" if checkpoint.peers else "the student's"
    which = f"{whose} own"
    if ema:
        which = f"the moving average of {whose}"
    elif chosen.ema is not None and file.name == BEST and checkpoint.best >= 0:
        # A run without a val folder chooses by the loss: its score is negative, and of these weights.
        first = name == checkpoint.first_name
        judged, it = ("their", "it") if first else (f"{checkpoint.first_name}'s", "their own")
        best, judge = checkpoint.best, checkpoint.card.judged_by
        which += (
            f", kept for the {judge} of {judged} moving average ({best:.2%}); {option} takes {it}"
        )
    elif chosen.ema is not None:
        which += f"; {option} takes their moving average"
    note_lines([("weights", f"{file}, step {checkpoint.step:,}: {which}")])
    return loaded


def _chosen(path: str | Path, checkpoint: Checkpoint, student: str | None) -> Weights:
    """Return the student that is asked for; raises `ModelError` for a name that none has."""
    chosen = checkpoint.of_student(student)
    if chosen is not None:
        return chosen
    known = ", ".join([checkpoint.first_name, *checkpoint.peers])
    if not checkpoint.peers:
        raise ModelError(
            f"checkpoint {path} has one student, {known}, and none named {student}; leave --student out"
        )
    raise ModelError(f"checkpoint {path} has no student {student}; it has {known}")


def _load(
    path: str | Path, checkpoint: Checkpoint, chosen: Weights, ema: bool
) -> tuple[StudentCard, nn.Module]:
    weights = chosen.ema if ema else chosen.student
    if weights is None:
        raise ModelError(f"checkpoint {path} has no moving average; it was trained without --ema")
    model = build_student(chosen.card)
    models.load_weights(model, weights, f"checkpoint {path}")
    left = initial_share(model)
    if left > CONVERGED and "running" not in checkpoint.trainer:
        note(
            f"warning: {path}: batch norm's running statistics still hold {left:.0%} of their initial "
            "values, so the student may look worse than it is; what `fkd train` keeps at an evaluation, "
            "with --bn-stats auto or estimate, has better ones"
        )
    return chosen.card, model.eval()
