"""Classes: how a teacher's outputs meet the class folders of an image data set."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fkd.config import TeacherChoice
from fkd.errors import ModelError
from fkd.images import match_names


@dataclass(frozen=True)
class ClassMap:
    """How teacher outputs become the store's classes.

    `names` are the C classes of the store. `columns`, int64 [C], are the outputs that they are taken
    from, or None where all outputs are kept in order. `target_of`, int64 [folder classes], is each
    folder's class in the store.
    """

    columns: NDArray[np.int64] | None
    names: tuple[str, ...]
    target_of: NDArray[np.int64]

    def outputs_hash(self) -> str:
        """Return a SHA-256 over the mapping: which output is which class of the store."""
        columns = None if self.columns is None else self.columns.tolist()
        content = json.dumps([columns, self.names, self.target_of.tolist()])
        return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


def map_classes(folder_classes: Sequence[str], num_outputs: int, choice: TeacherChoice) -> ClassMap:
    """Match class folders to a teacher's outputs: by name, or by position where no names are given.

    Raises `ModelError` where the names, or the number of outputs, do not fit, and `ImagesError` where two
    names differ in their Unicode form alone.
    """
    folder = tuple(folder_classes)
    if choice.classes_file is None:
        if choice.all_classes:
            raise ModelError(
                f"--all-classes needs --teacher-classes FILE to name the outputs of {choice.name}"
            )
        if len(folder) != num_outputs:
            raise ModelError(
                f"the folder has {len(folder)} classes, teacher {choice.name} has {num_outputs} "
                "outputs; give --teacher-classes FILE with one class name per output, in order"
            )
        return ClassMap(None, folder, np.arange(len(folder)))
    names = _read_names(choice.classes_file, num_outputs, choice.name)
    outputs = match_names(folder, names)
    known = [output for output in outputs if output is not None]
    if len(known) < len(folder):
        unknown = [name for name, output in zip(folder, outputs, strict=True) if output is None]
        raise ModelError(
            f"{len(unknown)} of {len(folder)} class folders are not in {choice.classes_file}: "
            f"{', '.join(unknown[:3])}{' …' if len(unknown) > 3 else ''}; "
            "folder names and lines must be spelled alike; is it the right folder?"
        )
    columns = np.array(known)
    if choice.all_classes:
        return ClassMap(None, names, columns)
    return ClassMap(columns, folder, np.arange(len(folder)))


def _read_names(path: Path, num_outputs: int, teacher: str) -> tuple[str, ...]:
    try:
        lines = path.read_text(
            "utf-8-sig"
        ).splitlines()  # with the mark that Windows' editors begin with
        names = tuple(line.strip() for line in lines if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        why = (
            "no such file" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        )
        raise ModelError(
            f"--teacher-classes {path}: {why}; give a text file with one class name per output"
        ) from error
    if len(names) != num_outputs:
        raise ModelError(
            f"--teacher-classes {path} has {len(names)} names, teacher {teacher} has {num_outputs} "
            "outputs; give one name per output, in order"
        )
    if len(set(names)) != len(names):
        repeated = next(name for name in names if names.count(name) > 1)
        raise ModelError(f"--teacher-classes {path} names {repeated!r} twice; names must be unique")
    return names
