"""Who learns: one student, or several that learn from the same views, and from each other.

In text a student is the name of a model, or a TOML inline table, on the command line as in a recipe file:
`{name = "small", model = "resnet18", init = "small.pth"}`.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from os import PathLike
from typing import Any, ClassVar, Self

from fkd.config.checks import check_key
from fkd.config.distances import PEERS, STORE, TRUTH
from fkd.config.terms import Term, Weighed, ends
from fkd.config.types import fit, settle
from fkd.errors import ConfigError
from fkd.recipes import inline_table

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_LONGEST = 100  # letters of a name, which is a part of names of files

# What a loss is to, and what stands where a student's name does in the names of metrics.
_TAKEN = (STORE, TRUTH, PEERS, "loss")

# What elsewhere makes a teacher of one of the networks that are trained together.
_TEACHERS = ("freeze", "frozen", "freeze_params", "trainable", "teacher")


# What several students have of each other where the loss is not given in terms (Zhang et al., CVPR 2018).
MUTUAL = Term(to=PEERS, by="kl")


@dataclass(frozen=True)
class StudentChoice:
    """One of the students that a run trains.

    `model` is a torchvision model, `timm:NAME` or `package.module:function`. `name` says which student it
    is in losses, metrics, checkpoints and files; without one it is the model's, and students of the same
    model are numbered: resnet18-1, resnet18-2. `init` and `init_ema` are the weights that it begins with,
    as `TrainConfig` has them.
    """

    model: str
    name: str = ""
    init: str | None = None
    init_ema: bool = False

    example: ClassVar[str] = '{model="resnet18", name="small"}'

    def __post_init__(self) -> None:
        settle(self)
        if self.name and not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"a student is named {self.name!r}; a name has letters, digits, '_', '-' and '.' alone, "
                "since files and metrics are named by it"
            )
        if len(self.name) > _LONGEST:
            raise ConfigError(
                f"a student is named {self.name[:20]}…, with {len(self.name)} letters; give it a name of "
                f"{_LONGEST} at most, since files are named by it"
            )
        if self.name in _TAKEN:
            raise ConfigError(
                f"a student is named {self.name}, which means something else in a loss or in metrics; "
                "give it another name"
            )
        if self.init_ema and self.init in (None, "none", "default"):
            raise ConfigError(
                f"init_ema of student {self.name or self.model} needs init, a file whose moving average "
                "it takes"
            )

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a student from text: the name of a model, or an inline table of TOML."""
        text = text.strip()
        if not text.startswith("{"):
            return cls(text)
        return cls.of_table(inline_table("student", text, cls.example))

    @classmethod
    def of_table(cls, table: Mapping[str, Any]) -> Self:
        """Build a student of a table; raises `ConfigError` for a key that is not known."""
        known = [field.name for field in fields(cls)]
        for key in table:
            if key in _TEACHERS:
                raise ConfigError(
                    f"a student has no {key}: a network that does not learn is a teacher, and costs a "
                    "pass at every step; label with it once (`fkd label --teacher`), and learn from "
                    "the store"
                )
            check_key("a student", key, known)
        if "model" not in table:
            raise ConfigError(f"a student has no model; name one, as in {cls.example}")
        return cls(**table)

    def table(self) -> dict[str, Any]:
        """Return the table that this student is read from: its model, and what is not the default."""
        said = {field.name: getattr(self, field.name) for field in fields(self)}
        return {
            field.name: said[field.name]
            for field in fields(self)
            if said[field.name] != field.default
        }


def as_students(given: Any) -> Any:
    """Return the name of a model where that is all that is said, and else students with their names.

    What is neither comes back as it is. Raises `ConfigError` for students of one name.
    """
    if isinstance(given, (StudentChoice, Mapping)) or _is_table(given):
        given = (given,)
    if not isinstance(given, (tuple, list)):
        return given
    if not given:
        raise ConfigError("--student is empty; name a model")
    choices = _named(fit("student", given, tuple[StudentChoice, ...]))
    alone = choices[0].model
    return alone if choices == students_of(alone) else choices


def students_of(
    student: str | Sequence[StudentChoice], init: str | None = None, init_ema: bool = False
) -> tuple[StudentChoice, ...]:
    """Return all students of a run; one that says nothing of `init` begins as the run's says."""
    if isinstance(student, str):
        return (StudentChoice(student, name_of_model(student), init, init_ema),)
    return tuple(
        choice if choice.init is not None else replace(choice, init=init) for choice in student
    )


def _is_table(given: Any) -> bool:
    return isinstance(given, str) and given.lstrip().startswith("{")


def _named(choices: Sequence[StudentChoice]) -> tuple[StudentChoice, ...]:
    """Give each student a name: its own, its model's, or its model's with a number."""
    alike = Counter(choice.model for choice in choices if not choice.name)
    numbers: Counter[str] = Counter()
    named = []
    for choice in choices:
        name = choice.name or name_of_model(choice.model)
        if not choice.name and alike[choice.model] > 1:
            numbers[choice.model] += 1
            name += f"-{numbers[choice.model]}"
        named.append(replace(choice, name=name))
    for names in _read_alike(choice.name for choice in named):
        who = f"{len(names)} students are named {names[0]}"
        if len(set(names)) > 1:
            who = (
                f"students {' and '.join(names)} differ in capitals alone, which file names may not"
            )
        raise ConfigError(f"{who}; give each a name of its own, as in {StudentChoice.example}")
    return tuple(named)


def _read_alike(names: Iterable[str]) -> Iterator[list[str]]:
    """Yield names that are one where capitals are not told apart, several at a time."""
    alike: dict[str, list[str]] = {}
    for name in names:
        alike.setdefault(name.lower(), []).append(name)
    return (found for found in alike.values() if len(found) > 1)


def name_of_model(model: str | PathLike[str]) -> str:
    """Return the name of a model as a student's: what a name cannot have becomes a dash."""
    plain = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(model)).lstrip(".-")
    return plain[:_LONGEST] or "student"


def models_of(setting: Any) -> tuple[str, ...]:
    """Return the models of the setting `student`, as a configuration or its config.json has it."""
    if isinstance(setting, (tuple, list)):
        choices = fit("student", setting, tuple[StudentChoice, ...])
        return tuple(choice.model for choice in choices)
    return (str(setting),)


def check_init(student: str | Sequence[StudentChoice], init: str | None) -> None:
    """Raise `ConfigError` where the run's `init` is a file, and students are given in tables."""
    if not isinstance(student, str) and init not in (None, "none", "default"):
        raise ConfigError(
            f"--init {init} is of one student; say whose it is in its table, as in "
            f'--student \'{{model="{student[0].model}", init="{init}"}}\''
        )


def check_names(terms: Sequence[Term], students: Sequence[StudentChoice]) -> None:
    """Raise `ConfigError` for a term that names no student, and for a student without a term."""
    names = [choice.name for choice in students]
    for term in terms:
        others = [name for name in names if name != term.of]
        if term.of and term.of not in names:
            raise ConfigError(f"--loss {term}: no student is named {term.of}; {_known(names)}")
        if term.to == PEERS and len(names) == 1:
            raise ConfigError(
                f"--loss {term}: there is one student, {names[0]}, and so no peer; give another "
                "--student"
            )
        if not term.target and term.to not in (STORE, TRUTH, PEERS, *others):
            itself = "no student learns from itself" if term.to == term.of else ""
            problem = itself or f"no other student is named {term.to}"
            known = [STORE, *(["store:NAME"] if term.on_vectors else []), TRUTH, PEERS, *others]
            raise ConfigError(f"--loss {term}: {problem}; it may be to {', '.join(known)}")
    for name in names:
        if not any(is_of(term, name) and any(ends(term.weight)) for term in terms):
            raise ConfigError(
                f"no term of --loss with a weight above 0 is of student {name}, which would learn "
                "nothing: a network that does not learn is a teacher; label with it "
                "(`fkd label --teacher`), or give it a term"
            )


def _known(names: Sequence[str]) -> str:
    return f"known are {', '.join(names)}"


def is_of(term: Term, name: str) -> bool:
    """Say whether a term is of a student, by name: one of every student is not of that which it is to."""
    return term.of in ("", name) and term.to != name


def terms_of(terms: Sequence[Weighed], name: str) -> tuple[Weighed, ...]:
    """Return the terms of one student."""
    return tuple(each for each in terms if is_of(each.term, name))


def learns_classes(terms: Iterable[Term], name: str) -> bool:
    """Say whether a student, by name, learns classes: whether a term is on its logits."""
    return any(term.on_logits and is_of(term, name) for term in terms)
