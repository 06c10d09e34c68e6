"""One student in a checkpoint: what it is, its weights and their moving average."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from torch import Tensor

from fkd.config import CenterView, NetworkInput
from fkd.students.student import StudentCard


@dataclass(frozen=True)
class Weights:
    """A student's state dict, and that of its moving average, or None."""

    card: StudentCard
    student: Mapping[str, Tensor]
    ema: Mapping[str, Tensor] | None = None

    def content(self) -> dict[str, Any]:
        """Return what is written of it to a file."""
        average = {} if self.ema is None else {"ema": self.ema}
        return {"student_card": card_content(self.card), "student": self.student, **average}

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Weights":
        """Read what `content` returned; anything else is a `KeyError`, `TypeError` or `ValueError`."""
        average = content.get("ema")
        return cls(
            card_of(content["student_card"]),
            _tensors(content["student"]),
            None if average is None else _tensors(average),
        )


def card_content(card: StudentCard) -> dict[str, Any]:
    """Return a card as plain values."""
    content = {name: value for name, value in asdict(card).items() if value is not None}
    if card.evaluation is not None and card.evaluation.fit == "fill":
        del content["evaluation"]["fit"]  # as in all checkpoints of older versions
    if card.learned_classes:
        del content["learned_classes"]  # as in all checkpoints of older versions
    for kind in ("maps", "lines"):
        if not content[kind]:
            del content[kind]  # likewise
    return content


def card_of(card: Mapping[str, Any]) -> StudentCard:
    """Read what `card_content` returned, of this version or an older one."""
    preprocessing, view = NetworkInput(**card["preprocessing"]), card.get("evaluation")
    titles = card.get("titles")
    texts = (card["name"], *card["classes"], *(titles or ()))
    if not all(isinstance(text, str) for text in texts):
        raise TypeError("the names of a student and its classes are text")
    return StudentCard(
        card["name"],
        tuple(card["classes"]),
        preprocessing,
        None if view is None else CenterView(**view),
        None if titles is None else tuple(titles),
        card.get("learned_classes") is not False,
        card.get("maps") is True,
        card.get("lines") is True,
    )


def _tensors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    if not all(isinstance(value, Tensor) for value in state.values()):
        raise TypeError("a state dict holds tensors")
    return dict(state)
