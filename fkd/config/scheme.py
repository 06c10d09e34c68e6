"""How soft labels are kept, and how they are read."""

import re
from dataclasses import dataclass, replace
from typing import Literal

from fkd.config.checks import check_count
from fkd.config.types import fit, settle
from fkd.errors import ConfigError

SchemeKind = Literal["full", "hard", "smoothing", "topk"]
Tail = Literal["renorm", "smooth"]


@dataclass(frozen=True)
class Scheme:
    """How soft labels are kept (`fkd label --compress`) or read (`fkd train --compress`).

    The kinds are the four quantizers of FKD §3.3: `full`, `hard`, `smoothing` and `topk`. The two
    top-K forms of the paper store the same bytes and differ in `tail`, which is a choice of the
    reader: "renorm" is marginal re-norm, "smooth" is marginal smoothing.
    """

    kind: SchemeKind
    k: int = 0
    tail: Tail = "renorm"

    def __post_init__(self) -> None:
        settle(self)
        if self.kind not in ("full", "hard", "smoothing", "topk"):
            raise ConfigError(f"scheme {self.kind!r} is unknown")
        if self.tail not in ("renorm", "smooth"):
            raise ConfigError(f"tail {self.tail!r} is unknown; choose renorm or smooth")
        if self.kind == "topk":
            check_count("the K of topkK", self.k, 1, 65_536)
        if self.kind == "smoothing":
            object.__setattr__(self, "k", 1)
            object.__setattr__(self, "tail", "smooth")

    @classmethod
    def parse(cls, text: str) -> "Scheme":
        """Read `full`, `hard`, `smooth`, `topkK` or `topkK-smooth`; anything else is refused."""
        text = fit("scheme", text, str)
        if text in ("full", "hard"):
            return cls(text)  # type: ignore[arg-type]
        if text in ("smooth", "smoothing"):
            return cls("smoothing", 1, "smooth")
        match = re.fullmatch(r"topk([0-9]{1,5})(-smooth)?", text)
        if match is None or int(match[1]) == 0:
            raise ConfigError(
                f"--compress {text!r} is unknown; choose full, hard, smooth, topkK or topkK-smooth "
                "with K a number above 0 (topk5)"
            )
        return cls("topk", int(match[1]), "smooth" if match[2] else "renorm")

    def __str__(self) -> str:
        if self.kind == "topk":
            return f"topk{self.k}" + ("-smooth" if self.tail == "smooth" else "")
        return "smooth" if self.kind == "smoothing" else self.kind

    def kept(self, num_classes: int) -> int:
        """Classes kept per crop: K, but never more than there are."""
        return min(1 if self.kind in ("hard", "smoothing") else self.k, num_classes)

    @property
    def whole(self) -> "Scheme":
        """The reading that gives all that a store of this scheme keeps."""
        return replace(self, tail="smooth") if self.kind == "topk" else self

    def readings(self) -> str:
        """Name, for a message, every scheme that a store of this one can be read as."""
        if self.kind == "full":
            return "full, hard, smooth, topkK and topkK-smooth for any K"
        if self.kind == "hard":
            return "hard"
        if self.k == 1:
            return "hard, smooth, topk1 and topk1-smooth"
        return f"hard, smooth, topkK and topkK-smooth for K = 1 to {self.k}"

    def can_be_read_as(self, wanted: "Scheme") -> bool:
        """Say whether `wanted` follows from what this scheme keeps, without the teacher."""
        if self.kind == "full":
            return True
        if wanted.kind == "full" or self.kind == "hard":
            return wanted.kind == "hard"
        return wanted.kind == "hard" or wanted.k <= self.k
