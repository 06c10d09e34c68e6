"""A trial: which store a student is trained on, and what it is asked, by one plan for all students.

All see the same number of crops with the same optimizer, schedule and size; what a table varies is in the
trial's name.
"""

from dataclasses import dataclass, field
from typing import Any

from fkd import FkdError
from fkd.config import Amp, ViewPolicy

USUAL = 4  # crops an image, m, where a table does not vary it and it is not 1
_SAME = {"topk1": "hard", "topk1-smooth": "smooth"}  # readings of one class, by their other names


def _tuples(said: Any) -> Any:
    return tuple(map(_tuples, said)) if isinstance(said, list | tuple) else said


@dataclass(frozen=True)
class Plan:
    """What all students of a study share: `stored` is the crops an image, M, that are labelled.

    `amp` is of the students, `teacher_amp` of the teacher, `student_size` of the students' views where
    that is not the teacher's; the other names are those of `TrainConfig`, and None leaves it to the
    recipe. `scale` is that of `ViewPolicy`, for all crops. `rates` has rows of the table of losses that
    are trained once more, each at a rate of its own.
    """

    epochs: int
    stored: int
    batch_size: int = 128
    student: str = "thin_resnet:thin_resnet"
    recipe: str = "fkd"
    lr: float | None = None
    warmup_epochs: float | None = None
    amp: Amp = "off"
    teacher_amp: Amp = "off"
    student_size: int | None = None
    micro_batch: int | None = None
    scale: tuple[float, float] = ViewPolicy.scale
    rates: tuple[tuple[str, float], ...] = ()

    def __post_init__(self) -> None:
        for name in ("scale", "rates"):  # JSON has lists
            object.__setattr__(self, name, _tuples(getattr(self, name)))
        if self.stored < USUAL or self.batch_size % USUAL:
            raise FkdError(
                f"some tables train on m = {USUAL} crops an image; choose --stored of {USUAL} or more "
                f"and a --batch-size that is a multiple of {USUAL}"
            )

    @property
    def views(self) -> ViewPolicy:
        """Return the rule by which the crops are drawn."""
        return ViewPolicy(scale=self.scale)

    @property
    def used(self) -> int:
        """The stored crops of an image that a run comes to."""
        return min(self.stored, self.epochs)

    @property
    def used_rounded(self) -> int:
        """The same as whole visits of `USUAL` crops."""
        return -(-self.used // USUAL) * USUAL

    @property
    def redrawn(self) -> int:
        """The crops that table "replacement" draws from: as the paper's 200 for 300 epochs."""
        return max(USUAL, min(self.stored, self.epochs * 2 // 3))


@dataclass(frozen=True)
class Trial:
    """One row of a table: `settings` are those of `TrainConfig`, `compress` is how labels are read.

    `taught_by` is the key of the row whose student of the same seed labels the store. Students of the
    rows whose keys are in `together` answer as one: such a row is evaluated, and nobody is trained.
    """

    table: str
    name: str
    store: str = "full"
    compress: str = "full"
    settings: dict[str, Any] = field(default_factory=dict)
    online: bool = False
    taught_by: str = ""
    together: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """Say what is trained; the same may stand in several tables."""
        if self.together:
            return f"{self.store}_together"
        reading = _SAME.get(self.compress, self.compress)
        said = [f"{k}={_short(v)}" for k, v in sorted(self.settings.items())]
        return "_".join([self.store, reading, *said, *(["online"] if self.online else [])])

    @property
    def needs(self) -> tuple[str, ...]:
        """The keys of the rows that must have been trained before, with the same seed."""
        return (self.taught_by,) if self.taught_by else self.together

    def run(self, seed: int) -> str:
        """Return the name of the run folder."""
        return f"{self.key}_seed{seed}"

    @property
    def hard(self) -> bool:
        """Whether the student looks at the folder's class alone."""
        return self.settings.get("hard_weight") == 1.0

    @property
    def crops_per_image(self) -> int:
        """The crops on which an image is trained at each visit, m."""
        return int(self.settings["crops_per_image"])


def _short(value: Any) -> str:
    """Say a setting in few words that a folder's name may have: `{"by": "kl"}` is by-kl."""
    if isinstance(value, dict):
        return ",".join(f"{name}-{_short(said)}" for name, said in value.items())
    return "+".join(map(_short, value)) if isinstance(value, list | tuple) else str(value)
