"""What is kept of a view beside its label: named vectors, each by its own scheme."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal, Self

from fkd.config.checks import check_choice, check_count, check_key
from fkd.config.types import fit, settle
from fkd.errors import ConfigError
from fkd.recipes import inline_table

VectorKind = Literal["f16", "int8", "pca"]
VECTOR_SCHEMES = ("f16", "int8", "pcaN")  # as they are written
_UNLEARNED = ("f16", "int8")
_MAX_COMPONENTS = 1024

Pool = Literal["auto", "mean", "cls", "none"]
POOLS: tuple[Pool, ...] = ("auto", "mean", "cls", "none")

MAX_TARGETS = 64  # of a store
OUTPUT_TARGET = "output"  # what the teacher returns

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")
_PCA = re.compile(r"pca([0-9]{1,5})")


@dataclass(frozen=True)
class VectorScheme:
    """How vectors are kept (`--compress`, or `keep` of `--features`), named by what is kept.

    "f16" are all numbers in half precision. "int8" are all numbers in 8 bits, with a scale for each
    vector, or for each channel of a map. "pcaN" are the first N principal components of the teacher's
    vectors in coarse steps, learned of a sample of views; it keeps no maps.
    """

    kind: VectorKind = "int8"
    size: int = 0

    example: ClassVar[str] = "int8"

    def __post_init__(self) -> None:
        settle(self)
        check_choice("keep", self.kind, (*_UNLEARNED, "pca"))
        if self.kind == "pca":
            check_count("the N of pcaN", self.size, 1, _MAX_COMPONENTS)
        elif self.size:
            raise ConfigError(f"keep {self.kind!r} has no size; only pcaN has")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a scheme of vectors from its name; raises `ConfigError` for another."""
        text = fit("keep", text, str)
        match = _PCA.fullmatch(text)
        if match is None and text not in _UNLEARNED:
            raise ConfigError(
                f"keep {text!r} is unknown; choose f16, int8, or pcaN with N the number of principal "
                "components (pca256)"
            )
        return cls(text) if match is None else cls("pca", int(match[1]))  # type: ignore[arg-type]

    @classmethod
    def is_named(cls, text: str) -> bool:
        """Say whether a text is the name of a scheme of vectors, and not of labels."""
        return text in _UNLEARNED or _PCA.fullmatch(text) is not None

    def __str__(self) -> str:
        return f"pca{self.size}" if self.kind == "pca" else self.kind


@dataclass(frozen=True)
class Target:
    """Vectors that a store keeps of each view: what a layer of the teacher says, and how it is kept.

    `layer` is a submodule of the teacher, "features" for the input of its last linear layer, or "" for
    what it returns. `pool` makes one vector of tokens [B, T, D] or of a map [B, D, h, w]: "mean" of all
    positions, the first token ("cls"), or "none" of it; "auto" is the mean of tokens, and none of a map.
    `name` is what terms call it, as in `store:NAME`; else it is the layer's, with dashes for dots.
    """

    layer: str = ""
    keep: VectorScheme = field(default_factory=VectorScheme)
    pool: Pool = "auto"
    name: str = ""

    example: ClassVar[str] = '{layer="layer3", keep="int8", pool="mean"}'

    def __post_init__(self) -> None:
        settle(self)
        check_choice("pool", self.pool, POOLS)
        name = self.name or self.layer.replace(".", "-") or OUTPUT_TARGET
        if not _NAME.fullmatch(name):
            raise ConfigError(
                f"features are named {name!r}; a name has at most 64 letters, digits, '_' and '-', since "
                f"arrays and losses are named by it; give one, as in {self.example}"
            )
        object.__setattr__(self, "name", name)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a target from text: the name of a layer, or an inline table of TOML."""
        text = text.strip()
        if not text.startswith("{"):
            return cls(text)
        return cls.of_table(inline_table("features", text, cls.example))

    @classmethod
    def of_table(cls, table: Mapping[str, Any]) -> Self:
        """Build a target of a table; raises `ConfigError` for a key that is not known."""
        for key in table:
            check_key("features", key, [one.name for one in fields(cls)])
        return cls(**table)

    def table(self) -> dict[str, Any]:
        """Return the table that this target is read from."""
        return {"name": self.name, "layer": self.layer, "keep": str(self.keep), "pool": self.pool}


def check_targets(targets: Sequence[Target], num_teachers: int) -> None:
    """Raise `ConfigError` for two targets of one name, more than a store has, and several teachers."""
    if targets and num_teachers > 1:
        raise ConfigError(
            "--features are of one teacher, and vectors of several have no mean; give one --teacher, "
            "or a store to each"
        )
    if len(targets) > MAX_TARGETS:
        raise ConfigError(
            f"--features: {len(targets)} are asked for, a store has at most {MAX_TARGETS}; label the "
            "others into another store"
        )
    names = [target.name for target in targets]
    for name in names:
        if sum(other.lower() == name.lower() for other in names) > 1:
            raise ConfigError(
                f"--features: two are named {name}; give one of them another name, as in "
                '{layer="layer3", name="other"}'
            )


def as_targets(given: Any) -> tuple[Target, ...]:
    """Return targets that may be given as text, as a table, or one alone."""
    targets: tuple[Target, ...] = fit("targets", given, tuple[Target, ...])
    return targets


def as_vector_scheme(given: Any) -> VectorScheme | None:
    """Return the scheme of vectors that a setting of schemes names, None where it names one of labels."""
    if isinstance(given, str) and VectorScheme.is_named(given):
        return VectorScheme.parse(given)
    return given if isinstance(given, VectorScheme) else None
