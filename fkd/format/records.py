"""What a store records of its teachers, and of the vectors that it keeps of them."""

from dataclasses import dataclass
from functools import cached_property

from fkd.config import Pool, Preprocessing, TeacherOutput, VectorScheme
from fkd.vectors import KeptVectors


@dataclass(frozen=True)
class TeacherRecord:
    """Who labelled: name, hash of the weights, hash of which outputs are which class, preprocessing.

    The hash of the outputs begins with the word `probs` where they were probabilities, not logits.
    """

    name: str
    weights_hash: str
    outputs_hash: str
    preprocessing: Preprocessing

    @property
    def output(self) -> TeacherOutput:
        """What the teacher returned."""
        return "probs" if self.outputs_hash.startswith("probs ") else "logits"


@dataclass(frozen=True)
class TargetRecord:
    """Vectors that are kept beside labels: their name, whose they are, how they are kept, their shape.

    `layer` and `pool` are those of `Target`. `constants_hash` is the SHA-256 of what the scheme has
    learned of a sample, "" where it learns nothing.
    """

    name: str
    layer: str
    pool: Pool
    keep: VectorScheme
    shape: tuple[int, ...]
    constants_hash: str = ""

    @cached_property
    def vectors(self) -> KeptVectors:
        """What is kept of each view's."""
        return KeptVectors(self.name, self.keep, self.shape)
