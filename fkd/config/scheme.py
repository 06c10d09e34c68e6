"""How soft labels are kept, and how they are read."""

import re
from dataclasses import dataclass, replace
from typing import Literal, get_args

from fkd.config.checks import check_count
from fkd.config.types import fit, settle
from fkd.errors import ConfigError

SchemeKind = Literal["full", "hard", "none", "samples", "smoothing", "topk"]
Tail = Literal["renorm", "smooth"]

# Nats between two codes. Measured on a MobileNetV2's labels of 200 photos, top-5, 1000 classes: the flat
# tail costs KL 0.35 nats, codes of 1/8 nat 0.0002 and 1.6 bytes a crop more than codes of 3/4, which
# cost 0.007. Steps of 1/2 save 0.3 bytes less, and a lattice in the root of p saves as much as 3/4.
FINE_STEP, COARSE_STEP = 0.125, 0.75

MAX_SAMPLES = 256  # classes drawn from a label


@dataclass(frozen=True)
class Scheme:
    """How soft labels are kept (`fkd label --compress`) or read (`fkd train --compress`).

    The kinds are the four quantizers of FKD §3.3: `full`, `hard`, `smoothing` and `topk`. The two
    top-K forms of the paper store the same bytes and differ in `tail`, which is a choice of the
    reader: "renorm" is marginal re-norm, "smooth" is marginal smoothing.

    A `coarse` scheme keeps the same classes in fewer bits: top-K in steps of 3/4 nat, and full in codes
    of 8 bits instead of float16. It is a way to store labels, and reads as the scheme that is not.

    One with `deviation` also keeps, in a byte, the standard deviation of the teacher's logits over all
    classes, which losses of standardized logits divide by. Only top-K has it, since full labels tell it.
    It is a way to store labels, too.

    `samples` are k classes that are drawn from the label, and count 1/k each: Sparse Logit Sampling
    (Anshumann et al., ACL 2025, arXiv:2503.16870). The mean over crops is the teacher's; of one crop they
    say neither its first class nor how sure the teacher is.

    `none` keeps no label at all, for a store of vectors alone.
    """

    kind: SchemeKind
    k: int = 0
    tail: Tail = "renorm"
    coarse: bool = False
    deviation: bool = False

    def __post_init__(self) -> None:
        settle(self)
        if self.kind not in get_args(SchemeKind):
            raise ConfigError(f"scheme {self.kind!r} is unknown")
        if self.tail not in ("renorm", "smooth"):
            raise ConfigError(f"tail {self.tail!r} is unknown; choose renorm or smooth")
        if self.coarse and self.kind not in ("full", "topk"):
            raise ConfigError(f"scheme {self.kind!r} has no coarse form; only full and topk have")
        if self.deviation and self.kind != "topk":
            raise ConfigError(
                f"scheme {self.kind!r} keeps no deviation of logits; only topk does, and full needs none"
            )
        if self.kind == "topk":
            check_count("the K of topkK", self.k, 1, 65_536)
        if self.kind == "samples":
            check_count("the N of samplesN", self.k, 1, MAX_SAMPLES)
        if self.kind == "smoothing":
            object.__setattr__(self, "k", 1)
        if self.kind != "topk":  # the others have no choice, and equal ones must be equal
            object.__setattr__(self, "tail", "smooth" if self.kind == "smoothing" else "renorm")

    @classmethod
    def parse(cls, text: str) -> "Scheme":
        """Read `full`, `full-8bit`, `hard`, `smooth`, `topkK` with its endings, `samplesN` or `none`.

        Anything else is refused.
        """
        text = fit("scheme", text, str)
        if text in ("full", "hard", "none"):
            return cls(text)  # type: ignore[arg-type]
        if text == "full-8bit":
            return cls("full", coarse=True)
        if text in ("smooth", "smoothing"):
            return cls("smoothing", 1, "smooth")
        drawn = re.fullmatch(r"samples([0-9]{1,5})", text)
        if drawn is not None:
            return cls("samples", int(drawn[1]))
        match = re.fullmatch(r"topk([0-9]{1,5})(?:(-smooth)|(-coarse)?(-std)?)", text)
        if match is None or int(match[1]) == 0:
            raise ConfigError(
                f"--compress {text!r} is unknown; choose full, hard, smooth, topkK or topkK-smooth "
                f"with K a number above 0 (topk5), or samplesN with N up to {MAX_SAMPLES}; a store also "
                "keeps topkK-coarse or full-8bit, and topkK-std or topkK-coarse-std"
            )
        tail: Tail = "smooth" if match[2] else "renorm"
        return cls("topk", int(match[1]), tail, match[3] is not None, match[4] is not None)

    def __str__(self) -> str:
        if self.kind == "topk":
            ending = "-coarse" if self.coarse else "-smooth" if self.tail == "smooth" else ""
            return f"topk{self.k}{ending}{'-std' if self.deviation else ''}"
        if self.kind == "full":
            return "full-8bit" if self.coarse else "full"
        if self.kind == "samples":
            return f"samples{self.k}"
        return "smooth" if self.kind == "smoothing" else self.kind

    @property
    def step(self) -> float:
        """Nats between two codes of what is stored."""
        return COARSE_STEP if self.coarse and self.kind == "topk" else FINE_STEP

    def kept(self, num_classes: int) -> int:
        """Classes that a label names: K, but never more than there are."""
        return min(1 if self.kind in ("hard", "smoothing") else self.k, num_classes)

    def keeps_all(self, num_classes: int | None) -> bool:
        """Say whether a label of top-K names every class there is."""
        return self.kind == "topk" and num_classes is not None and self.k >= num_classes

    @property
    def reading(self) -> "Scheme":
        """This scheme without what only says how a store keeps it."""
        return replace(self, coarse=False, deviation=False)

    @property
    def whole(self) -> "Scheme":
        """The reading that gives all that a store of this scheme keeps."""
        return replace(self.reading, tail="smooth" if self.kind == "topk" else self.tail)

    @property
    def without_deviation(self) -> "Scheme":
        """The scheme that keeps the same distribution, and no deviation of logits."""
        return replace(self, deviation=False)

    def readings(self) -> str:
        """Name, for a message, every scheme that a store of this one can be read as."""
        if self.kind == "full":
            return "full, hard, smooth, topkK and topkK-smooth for any K"
        if self.kind in ("hard", "none", "samples"):
            return str(self)
        if self.k == 1:
            return "hard, smooth, topk1 and topk1-smooth"
        return f"hard, smooth, topkK and topkK-smooth for K = 1 to {self.k}"

    def can_be_read_as(self, wanted: "Scheme", num_classes: int | None = None) -> bool:
        """Say whether `wanted` follows from what this scheme keeps, without the teacher.

        Where it keeps all of the `num_classes`, as far as these are known, any K does.
        """
        if wanted.coarse or wanted.deviation or "none" in (self.kind, wanted.kind):
            return False
        if "samples" in (self.kind, wanted.kind):
            return self == wanted
        if self.kind == "full":
            return True
        if wanted.kind == "full" or self.kind == "hard":
            return wanted.kind == "hard"
        return wanted.kind == "hard" or wanted.k <= self.k or self.keeps_all(num_classes)


def check_stored(scheme: Scheme) -> None:
    """Raise `ConfigError` for a scheme that is a reading of the bytes of another one."""
    if scheme.kind == "topk" and scheme.tail == "smooth":
        raise ConfigError(
            f"--compress {scheme}: a store keeps the same bytes for topk{scheme.k} and "
            f"{scheme}; store topk{scheme.k} and choose -smooth in `fkd train`"
        )
