"""A first look at lines of labels: do they read what the texts say?"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from fkd.config import LabelConfig
from fkd.labels import laid_out
from fkd.teachers import Teacher
from fkd.truth import ReadLines, Texts, read_off

_FEW = 0.05  # the share of lines read right below which something is likely wrong


class LineLook:
    """Reads what a teacher says of views, batch by batch, and compares it with their texts."""

    def __init__(self, teacher: Teacher, config: LabelConfig, texts: Texts) -> None:
        """Begin with no view; `texts` are of the images that are looked at, in their order."""
        self._teacher, self._temperature, self._texts = teacher, config.temperature, texts
        self._read, self._example = ReadLines(), ("", "")

    def add(self, outputs: Tensor, rows: Sequence[int], usable: Tensor) -> None:
        """Look at usable views, bool [n], of the images `rows`: outputs f32 [n · T, outputs]."""
        probs = self._teacher.as_probs(outputs, self._temperature)
        best = laid_out(probs, self._teacher.grid).argmax(dim=2).tolist()
        names = self._teacher.class_map.names
        for frames, row, there in zip(best, rows, usable.tolist(), strict=True):
            if not there:
                continue
            said, written = read_off(frames, names), self._texts.text(row)
            self._read.add(said, written)
            if said != written:
                self._example = self._example if any(self._example) else (written, said)

    def found(self) -> "SampleLines":
        """Return what was found."""
        return SampleLines(self._read, self._example)


@dataclass(frozen=True)
class SampleLines:
    """How a few lines are `read`; `example` is the text of the first wrong one, and what is read."""

    read: ReadLines
    example: tuple[str, str]

    @property
    def warnings(self) -> list[str]:
        """What may be wrong with the classes, or with the texts, and what to do."""
        if not self.read.num_lines or self.read.exact_match >= _FEW:
            return []
        written, said = self.example
        return [
            f"reads {self.read.exact_match:.1%} of lines right ({written!r} as {said!r}); check "
            "--teacher-classes, charset.txt (the blank first), --teacher-weights, --mean, --std "
            "and --size"
        ]

    def __str__(self) -> str:
        return str(self.read)
