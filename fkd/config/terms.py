"""A loss as sentences: *of* a student, *to* what is known, *by* a distance, with a weight.

A term is one sentence, and a loss is the sum of its terms. In text a term is a TOML inline table, on the
command line as in a recipe file: `{to = "store", by = "kl", weight = 0.5, temperature = 4}`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

from fkd.config.checks import check_choice, check_key, check_range
from fkd.config.distances import (
    ADAPTS,
    CLASS_DISTANCES,
    DISTANCES,
    PEERS,
    STORE,
    STORED,
    TRUTH,
    VECTOR_DISTANCES,
    Adapt,
    Distance,
    check_sentence,
    has_place,
)
from fkd.config.types import settle
from fkd.errors import ConfigError
from fkd.recipes import inline_table

# A number, or where it starts and ends.
Course = float | tuple[float, float]

MAX_WEIGHT = 1e6

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Term:
    """One sentence of a loss.

    `of` names the student that it is of, "" for every one. `to` is what its output is compared with:
    "store" (the stored soft labels), "truth" (the class of the image, its mask or its text), "peers"
    (all other students), or one student's name; or "store:NAME", vectors that the store keeps under a
    name. `by` is the distance, between distributions over classes

    - "ce", "kl": cross-entropy, or KL with the same gradient; times T² (Hinton et al. 2015).
    - "symmetric_kl": the mean of both directions' KL, times T².
    - "mse": the mean square of the difference of centred logits.
    - "wttm": weighted transformed teacher matching (Zheng and Yang, ICLR 2024).
    - "dist": one minus the correlation, of rows and of columns, times T² (Huang et al., NeurIPS 2022).
    - "nkd": normalised knowledge distillation (Yang et al., ICCV 2023), which needs the class, too.
    - "ctc": of the text of a line, to the truth alone (Graves et al., ICML 2006).

    or between vectors, to "store:NAME", or to peers:

    - "l1", "l2", "smooth_l1": the mean of |d|, of d² (no root), of Huber's loss with β = 1.
    - "cosine": one minus the cosine, of a map the mean over its positions.
    - "relation": distances and angles between views (RKD: Park et al., CVPR 2019).
    - "channel_kl": each channel of a map as a distribution over positions, a vector as one over its
      numbers, times T² (CWD: Shu et al., ICCV 2021).

    `layer` says what of the student is compared with vectors: "" its output, "features" the input of its
    last linear layer, or a submodule by name; of peers it is the same layer. `adapt` brings it to their
    shape: "auto" by a linear map where numbers of channels differ, "linear" always, "mlp" by two with a
    GELU between, "none" by none. What it has of weights is trained with the student and left behind.

    All are means over views, and "peers" is the mean over the others, so a weight means the same at
    every size. `weight` and `temperature` are numbers, or (start, end): they move linearly over the run.
    `temperature` T is of both sides, and of wttm's label alone; `label_temperature` is of the stored
    label where that is another. `label_smoothing` is of ce to truth. `standardize` divides logits by
    their deviation before the temperature does (Sun et al., CVPR 2024), for ce and kl. `gamma` weighs
    nkd's classes other than the image's own, 1.5 where None.
    """

    to: str = STORE
    by: Distance = "ce"
    of: str = ""
    weight: Course = 1.0
    temperature: Course = 1.0
    label_temperature: Course | None = None
    label_smoothing: float = 0.0
    standardize: bool = False
    gamma: float | None = None
    layer: str = ""
    adapt: Adapt = "auto"

    example: ClassVar[str] = '{to="store", by="kl", weight=0.5}'

    def __post_init__(self) -> None:
        settle(self)
        check_choice("by", self.by, DISTANCES)
        check_choice("adapt", self.adapt, ADAPTS)
        for name in (self.to.removeprefix(STORED), *([self.of] if self.of else [])):
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"a loss names {name!r}; give store, store:NAME, truth, peers or a student's name"
                )
        if self.of in (STORE, TRUTH, PEERS):
            raise ConfigError(f"a loss is of {self.of}; it must be of a student, by name")
        for weight in ends(self.weight):
            check_range("weight", weight, 0, MAX_WEIGHT)
        for temperature in ends(self.temperature):
            check_range("temperature", temperature, 1e-3, 1e3)
        for temperature in () if self.label_temperature is None else ends(self.label_temperature):
            check_range("label_temperature", temperature, 1e-3, 1e3)
        check_range("label_smoothing", self.label_smoothing, 0, 1)
        if self.gamma is not None:
            check_range("gamma", self.gamma, 0, 1e3)
        self._refuse_what_does_nothing()

    def _refuse_what_does_nothing(self) -> None:
        """Refuse settings that this sentence has no place for."""
        check_sentence(self.to, self.by, self.layer)
        for name in self.table():
            if not has_place(name, self.to, self.by, self.layer, reads_labels=self._tempers_labels):
                raise ConfigError(
                    f"{name} does nothing in a loss to {self.to} by {self.by}; leave it out"
                )

    @property
    def target(self) -> str:
        """The name of the stored vectors that it is to, "" where it is to something else."""
        return self.to.removeprefix(STORED) if self.to.startswith(STORED) else ""

    @property
    def on_vectors(self) -> bool:
        """Whether it compares vectors, not distributions over classes."""
        return self.by in VECTOR_DISTANCES

    @property
    def on_logits(self) -> bool:
        """Whether what it moves are the student's logits over classes."""
        return not self.layer and not self.target

    @property
    def _tempers_labels(self) -> bool:
        """Whether it reads stored labels at a temperature; standardizing takes that away."""
        return self.to == STORE and self.by not in ("mse", "wttm") and not self.standardize

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a term from text: an inline table of TOML, or a distance alone.

        That is to the store, but for "ctc", which is to the truth.
        """
        text = text.strip()
        if text in CLASS_DISTANCES:
            return cls(by=text)
        if text == "ctc":
            return cls(TRUTH, "ctc")
        if text in VECTOR_DISTANCES:
            raise ConfigError(
                f"--loss {text} compares vectors; say with which, as in "
                f'{{to="{STORED}output", by="{text}", layer="features"}}'
            )
        if not text.startswith("{"):
            raise ConfigError(
                f"loss {text!r} is not known; choose from {', '.join(CLASS_DISTANCES)}, or give a table "
                f"such as {cls.example}"
            )
        return cls.of_table(inline_table("loss", text, cls.example))

    @classmethod
    def of_table(cls, table: Mapping[str, Any]) -> Self:
        """Build a term of a table; raises `ConfigError` for a key that is not known."""
        known = [field.name for field in fields(cls)]
        for name in table:
            check_key("a loss", name, known)
        try:
            return cls(**table)
        except ConfigError as error:
            said = ", ".join(f"{name} = {value!r}" for name, value in table.items())
            raise ConfigError(f"in the loss {{{said[:200]}}}: {error}") from error

    def table(self) -> dict[str, Any]:
        """Return the table that this term is read from: `to`, `by`, and what is not the default."""
        said: dict[str, Any] = {"to": self.to, "by": self.by}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                said[field.name] = list(value) if isinstance(value, tuple) else value
        return said

    def __str__(self) -> str:
        """Say the term in words: `kl to store, T = 4, weight 1 to 0`."""
        said = [f"{self.by} to {self.to}" + (f" of {self.of}" if self.of else "")]
        if self.layer:
            said.append(f"layer {self.layer}")
        if self.adapt != "auto":
            said.append(f"adapted by {self.adapt}")
        if self.temperature != 1:
            said.append(f"T = {_words(self.temperature)}")
        if self.label_temperature not in (None, self.temperature):
            said.append(f"labels at {_words(self.label_temperature or 1.0)}")
        if self.standardize:
            said.append("standardized")
        if self.gamma is not None:
            said.append(f"gamma {self.gamma:g}")
        if self.label_smoothing:
            said.append(f"smoothed by {self.label_smoothing:g}")
        return ", ".join([*said, f"weight {_words(self.weight)}"])

    def at(self, done: float) -> "Weighed":
        """Return the term when `done` (0 to 1) of the run is over."""
        temperature = at(self.temperature, done)
        asked = self.label_temperature
        read = temperature if asked is None else at(asked, done)
        if not self._tempers_labels:
            read = 1.0
        return Weighed(self, at(self.weight, done), temperature, read)

    @property
    def reads(self) -> tuple[float, ...]:
        """The label temperatures that it asks a store for, at the run's start and end."""
        if self.to != STORE:
            return ()
        first, last = self.at(0), self.at(1)
        both = {first.label_temperature, last.label_temperature}
        return tuple(sorted(both | {1.0} if self.by == "nkd" else both))

    @property
    def hottest(self) -> float:
        """The highest temperature that it brings a stored label to, 1 where it reads none."""
        if self.to != STORE:
            return 1.0
        return max(ends(self.temperature) if self.by == "wttm" else self.reads)


@dataclass(frozen=True)
class Weighed:
    """A term at a moment of the run: its weight, its temperature T, and that of the label it reads."""

    term: Term
    weight: float
    temperature: float = 1.0
    label_temperature: float = 1.0


def ends(course: Course) -> tuple[float, ...]:
    """Return the number, or both ends."""
    return course if isinstance(course, tuple) else (course,)


def at(course: Course, done: float) -> float:
    """Return where a course is when `done` (0 to 1) of the run is over."""
    if not isinstance(course, tuple):
        return course
    start, end = course
    return start + (end - start) * done


def _words(course: Course) -> str:
    return " to ".join(f"{end:g}" for end in ends(course))
