"""Students: built by name, and given weights to begin with."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torchvision
from torch import Tensor, nn

from fkd import models
from fkd.amounts import as_count
from fkd.config import CenterView, NetworkInput
from fkd.errors import ModelError, first_line
from fkd.progress import note_once

_BACKBONE = "backbone."  # before the names of a backbone's weights in a network of maps


@dataclass(frozen=True)
class StudentCard:
    """What a checkpoint records of its student: enough to build it and to prepare images for it.

    `preprocessing` has the size that it is built for and was last trained at, `evaluation` how images are
    cut out for it. Checkpoints of older versions do not say that: they were evaluated at that size, on
    224 / 256 of an image.
    `titles` are names of the classes for people to read, None where nobody gave any. `learned_classes` is
    false where no loss was on its outputs: its features are what it learned, and its head says nothing.
    `maps` says that it has logits at each position of a grid, [B, C, h, w], and not one row a view, and
    `lines` that it has logits of each frame of a line, [B, T, C].
    """

    name: str
    classes: tuple[str, ...]
    preprocessing: NetworkInput
    evaluation: CenterView | None = None
    titles: tuple[str, ...] | None = None
    learned_classes: bool = True
    maps: bool = False
    lines: bool = False

    @property
    def center_view(self) -> CenterView:
        """How images become the views that the student is evaluated on."""
        seen = self.preprocessing
        return self.evaluation or CenterView(seen.size, seen.interpolation)

    @property
    def judged_by(self) -> str:
        """What the score is called by which the best of its weights are chosen."""
        if not self.learned_classes:
            return "kNN"
        return "mIoU" if self.maps else "exact match" if self.lines else "top-1"


def build_student(card: StudentCard) -> nn.Module:
    """Build an untrained student with one output per class.

    Its name is a model of torchvision, `timm:NAME`, or `package.module:function`, which is called with
    the number of classes and returns a model. One of maps is built as `build_map_network` does it.
    """
    if card.lines and not models.is_function(card.name):
        raise ModelError(
            f"student {card.name} says no line of labels, and the store holds lines; choose "
            "fkd.models:crnn, fkd.models:svtr or a function of your own"
        )
    if models.is_function(card.name):
        return models.call_function(
            card.name, len(card.classes), role="student", takes="of the number of classes"
        )
    if card.name.startswith("timm:"):
        models.timm_name(card.name, "student")
    else:
        models.check_name(card.name, "student")
    return _of_library(card, len(card.classes))


def _of_library(card: StudentCard, num_classes: int) -> nn.Module:
    build = models.build_map_network if card.maps else models.build
    return build(card.name, num_classes, card.preprocessing.size)


def give_weights(model: nn.Module, card: StudentCard, init: str, *, average: bool = False) -> None:
    """Load the weights that training begins with: those of `init`, a file or "default".

    "default" are the weights that the model's library offers. A file is a state dict or a checkpoint;
    with `average` the moving average in it is taken. A head of another number of classes keeps its random
    weights, and so does one that a backbone comes without; a note says so. Of a student of maps, a file
    may be of the backbone alone, or of a classifier with that backbone. Raises `ModelError` where the
    weights do not fit.
    """
    what, shapes = f"--init {init}", _shapes(model, card)
    state = _pretrained(card, shapes) if init == "default" else _read(init, card, shapes, average)
    built = model.state_dict()
    missing = [name for name in built if name not in state and _is_of_head(name, shapes, card)]
    if missing:
        # The head of a map has many tensors, so its modules are named.
        parts = dict.fromkeys(name.partition(".")[0] for name in missing) if card.maps else missing
        note_once(f"{what} has no head: {' and '.join(parts)} begin at random")
        state |= {name: built[name] for name in missing}
    head = [
        name
        for name in models.head_tensors(shapes)
        if name in state and state[name].shape != built[name].shape
    ]
    if head:
        note_once(
            f"{what} was made for {as_count(len(state[head[-1]]), 'class')}, the store has "
            f"{len(card.classes):,}: {' and '.join(head)} begin at random"
        )
    models.load_weights(model, {**state, **{name: built[name] for name in head}}, what)


def _read(init: str, card: StudentCard, shapes: models.Shapes, average: bool) -> dict[str, Tensor]:
    """Read the weights of a student from a file, or those of its backbone where it says maps."""

    def read(shapes: models.Shapes, *, part: bool = False) -> dict[str, Tensor]:
        return models.read_weights(
            Path(init), shapes, card.name,
            option="--init", average_option="--init-ema", average=average,
            may_miss=models.head_tensors(shapes), part=part,
        )  # fmt: skip

    try:
        return read(shapes, part=card.maps)
    except ModelError:
        backbone = {
            name.removeprefix(_BACKBONE): shape
            for name, shape in shapes.items()
            if name.startswith(_BACKBONE)
        }
        if not (card.maps and backbone):
            raise
        state = read(backbone, part=True)
        return {f"{_BACKBONE}{name}": value for name, value in state.items()}


def _is_of_head(name: str, shapes: models.Shapes, card: StudentCard) -> bool:
    """Say whether weights may come without a tensor: of a student of maps, all beside the backbone."""
    if card.maps and not name.startswith(_BACKBONE):
        return True
    return None in shapes[name]


def _shapes(model: nn.Module, card: StudentCard) -> models.Shapes:
    """Return the shapes of the student's weights, with any number of classes if it is a library's."""
    if models.is_function(card.name):
        return models.shapes_of(model)
    return models.shapes_of_any(lambda n: _of_library(card, n))


def _pretrained(card: StudentCard, shapes: models.Shapes) -> dict[str, Tensor]:
    try:
        if card.name.startswith("timm:"):
            timm = models.import_timm(card.name)
            model: Any = timm.create_model(models.timm_name(card.name, "student"), pretrained=True)
        elif models.is_function(card.name):
            raise ModelError(
                f"--init default: {card.name} has no library that keeps weights for it"
            )
        else:
            model = torchvision.models.get_model(card.name, weights="DEFAULT")
    except ModelError:
        raise
    except Exception as error:  # the clients of both hubs raise a dozen kinds
        raise ModelError(
            f"--init default: the weights of {card.name} could not be downloaded ({first_line(error)}); "
            "give a state-dict file with --init FILE"
        ) from error
    state: dict[str, Tensor] = model.state_dict()
    return _as_maps(state, shapes, card) if card.maps else dict(state)


def _as_maps(
    state: dict[str, Tensor], shapes: models.Shapes, card: StudentCard
) -> dict[str, Tensor]:
    """Return a library's weights as a student of maps has them, without what it leaves out."""
    prefix = _BACKBONE if card.name.startswith("timm:") else ""
    return {f"{prefix}{n}": value for n, value in state.items() if f"{prefix}{n}" in shapes}
