"""What a teacher's outputs are called, and by whom: a file, the teacher itself, or nobody."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from fkd.amounts import as_count
from fkd.config import TeacherChoice
from fkd.errors import ModelError
from fkd.machine import read_text


@dataclass(frozen=True)
class OutputNames:
    """What a teacher's outputs are called, in order, and who says so.

    `remedy` is what to do where folders have other names. They are `binding` where class folders must
    have these names. A library's words for its classes are not: ImageNet's folders have others.
    """

    names: tuple[str, ...]
    said_by: str
    remedy: str = "give --teacher-classes FILE with one class name per output, in order"
    binding: bool = True

    def distinct(self) -> "OutputNames":
        """Return the same with its number after each name that several outputs have."""
        seen = self.names
        names = [f"{n} ({i})" if seen.count(n) > 1 else n for i, n in enumerate(seen)]
        return replace(self, names=tuple(names))


def output_names(
    choice: TeacherChoice, num_outputs: int, names: OutputNames | None
) -> OutputNames | None:
    """Return what a teacher's outputs are called: in the file of the `choice`, or what came with it."""
    if choice.classes_file is not None:
        return _read_names(choice.classes_file, num_outputs, choice.name)
    return None if names is None else names if names.binding else names.distinct()


def store_names(known: Sequence[OutputNames | None], num_outputs: int) -> tuple[str, ...]:
    """Return the classes of a store of images without classes: one source names them for all teachers.

    Names that are binding come before a library's, and numbers stand where no teacher knows any.
    """
    named = [one for one in known if one is not None]
    best = next((one for one in named if one.binding), named[0] if named else None)
    if best is None:
        return tuple(map(str, range(num_outputs)))
    return tuple(dict.fromkeys(best.names))


def lines_of(text: str) -> tuple[str, ...]:
    """Return the lines of a text as they are, of which one may be a blank of any kind."""
    lines = text.split("\n")
    return tuple(line.removesuffix("\r") for line in (lines if lines[-1] else lines[:-1]))


def _read_names(path: Path, num_outputs: int, teacher: str) -> OutputNames:
    remedy = "give a text file with one class name per output, in UTF-8"
    text = read_text(path, f"--teacher-classes {path}", remedy, ModelError)
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    as_they_are = lines_of(text)
    if len(names) != num_outputs and len(as_they_are) == num_outputs:
        names = as_they_are  # some are blanks, as a recogniser's characters are
    if len(names) != num_outputs:
        spaces = sum(bool(line) and not line.strip() for line in as_they_are)
        of_them = f" ({spaces} of them white space)" if spaces else ""
        raise ModelError(
            f"--teacher-classes {path} has {as_count(len(names) + spaces, 'name')}{of_them}, teacher "
            f"{teacher} has {as_count(num_outputs, 'output')}; give one name per output, in order"
        )
    remedy = "names and lines must be spelled alike"
    return OutputNames(names, str(path), remedy)
