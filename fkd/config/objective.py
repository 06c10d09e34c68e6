"""What a student is asked for: a loss by its name and some numbers, or in sentences."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from fkd.config.checks import check_range
from fkd.config.distances import TRUTH
from fkd.config.terms import Term, Weighed, ends
from fkd.config.types import settle
from fkd.errors import ConfigError

LOSSES: tuple[Literal["ce", "kl"], ...] = ("ce", "kl")


@dataclass(frozen=True)
class Objective:
    """What the student is asked for.

    `loss` is "ce" or "kl", soft cross-entropy to the stored label, or KL, which has the same gradient and
    is zero where they agree; or terms, a `Term` or several, whose sum is the loss. The other settings say
    more of "ce" and "kl", and are refused beside terms, which say it themselves. `student_temperature` T
    divides the student's logits and multiplies the soft loss by T², so that its gradient keeps its size
    (Hinton et al. 2015); the labels are re-tempered apart from it. `hard_weight` is the share of the loss
    that looks at the folder's class; with `hard_weight_end` it moves there linearly over the run (teacher
    annealing, Clark et al. 2019). `label_smoothing` is of the hard part.
    """

    loss: Literal["ce", "kl"] | tuple[Term, ...] = "ce"
    student_temperature: float = 1.0
    hard_weight: float = 0.0
    hard_weight_end: float | None = None
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "loss", _as_terms(self.loss))
        settle(self)
        check_range("--student-temperature", self.student_temperature, 1e-3, 1e3)
        check_range("--hard-weight", self.hard_weight, 0, 1)
        check_range("--label-smoothing", self.label_smoothing, 0, 1)
        if self.hard_weight_end is not None:
            check_range("--hard-weight-end", self.hard_weight_end, 0, 1)
        if isinstance(self.loss, tuple):
            self._check_terms(self.loss)

    def _check_terms(self, terms: tuple[Term, ...]) -> None:
        if not any(end for term in terms for end in ends(term.weight)):
            raise ConfigError(
                "--loss has no term with a weight above 0, so nothing to learn; add one"
            )
        for setting in fields(self)[1:]:
            if getattr(self, setting.name) != setting.default:
                flag = f"--{setting.name.replace('_', '-')}"
                raise ConfigError(
                    f"{flag} says more of --loss ce and --loss kl, and the loss is given in terms; "
                    "say it in a term, and leave the option out"
                )

    def hard_weight_at(self, done: float) -> float:
        """Return the share of the hard loss when `done` (0 to 1) of the run is over."""
        if self.hard_weight_end is None:
            return self.hard_weight
        return self.hard_weight + (self.hard_weight_end - self.hard_weight) * done

    @property
    def terms(self) -> tuple[Term, ...]:
        """The loss as terms; those of "ce" and "kl" without `hard_weight`, for `terms_at` has that."""
        if isinstance(self.loss, tuple):
            return self.loss
        soft = Term(by=self.loss, temperature=self.student_temperature)
        return soft, Term(TRUTH, "ce", label_smoothing=self.label_smoothing)

    def terms_at(self, done: float, label_temperature: float) -> tuple[Weighed, ...]:
        """Return the terms that weigh something when `done` (0 to 1) of the run is over.

        "ce" and "kl" read labels at `label_temperature`; explicit terms have temperatures of their own.
        """
        if isinstance(self.loss, tuple):
            weighed = tuple(term.at(done) for term in self.loss)
        else:
            (soft, hard), share = self.terms, self.hard_weight_at(done)
            weighed = (
                Weighed(soft, 1 - share, self.student_temperature, label_temperature),
                Weighed(hard, share),
            )
        return tuple(each for each in weighed if each.weight > 0)


def as_loss(loss: Any) -> str | tuple[Term, ...]:
    """Return a loss as an `Objective` has it; raises `ConfigError` for what is none."""
    return Objective(loss=loss).loss


def _as_terms(loss: Any) -> Any:
    """Return "ce" or "kl" where that is all that is said, and else what is said as a tuple."""
    if isinstance(loss, (str, Term, Mapping)):
        loss = (loss,)
    if isinstance(loss, (tuple, list)):
        if len(loss) == 1 and loss[0] in LOSSES:
            return loss[0]
        if not loss:
            raise ConfigError("--loss is empty; give ce, kl or a term")
        return tuple(loss)
    return loss
