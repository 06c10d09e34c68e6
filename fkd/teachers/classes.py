"""Classes: how a teacher's outputs meet the class folders of an image data set."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import TeacherChoice
from fkd.errors import ModelError
from fkd.images import are_numbers, match_outputs
from fkd.progress import note_once
from fkd.teachers.output_names import OutputNames, output_names, store_names

_SHOWN = 3  # names that a message lists


@dataclass(frozen=True)
class Whose:
    """Who has the classes that outputs are matched to, and what these are called, in messages.

    `otherwise` says what else may be done where names are not found, and `instead` where numbers of
    classes differ: only a command that begins a store can do so.
    """

    owner: str
    names: str
    otherwise: str = (
        "; is it the right folder? --unlabelled keeps labels over the teacher's own classes"
    )
    instead: str = ", or keep them as a vector with --compress int8"

    def of_labels_there_are(self) -> "Whose":
        """Return the same for classes of a store that is there: there is nothing else to do."""
        return replace(self, otherwise="", instead="")


OF_FOLDER = Whose("the folder", "class folders")
OF_MASKS = Whose("classes.txt", "classes of masks")
OF_TEXTS = Whose("charset.txt", "characters")
OF_STORE = Whose("the store", "classes of the store", "", "")


@dataclass(frozen=True)
class ClassMap:
    """How teacher outputs become the store's classes.

    `names` are the C classes of the store. `columns`, int64 [K], are the outputs that they are taken
    from, or None where all outputs are kept in order. `target_of`, int64 [folder classes], is each
    folder's class in the store; it is empty where images have no classes. `class_of`, int64 [K], is the
    class of each output that is kept, where several are one class; None where K = C, in order.
    """

    columns: NDArray[np.int64] | None
    names: tuple[str, ...]
    target_of: NDArray[np.int64]
    class_of: NDArray[np.int64] | None = None

    @classmethod
    def of_no_outputs(cls, folder_classes: Sequence[str] | None, num_outputs: int) -> "ClassMap":
        """Return the map of a store without labels: its classes are the folder's, of no output.

        Without folders they are the numbers of the outputs.
        """
        if folder_classes is None:
            names = tuple(map(str, range(num_outputs)))
            return cls(None, names, np.empty(0, np.int64))
        return cls(None, tuple(folder_classes), np.arange(len(folder_classes)))

    def outputs_hash(self) -> str:
        """Return a SHA-256 over the mapping: which output is which class of the store."""
        columns = None if self.columns is None else self.columns.tolist()
        shared = [] if self.class_of is None else [self.class_of.tolist()]
        content = json.dumps([columns, self.names, self.target_of.tolist(), *shared])
        return "sha256:" + hashlib.sha256(content.encode()).hexdigest()

    def of_folders(self, chosen: NDArray[np.int64], *, all_classes: bool) -> "ClassMap":
        """Return the map of some of the folder's classes, int64 [n], in their order.

        The store's classes are these alone, but for `all_classes`.
        """
        if all_classes:
            return replace(self, target_of=self.target_of[chosen])
        class_of = np.arange(len(self.names)) if self.class_of is None else self.class_of
        columns = np.arange(len(class_of)) if self.columns is None else self.columns
        each = [np.flatnonzero(class_of == number) for number in chosen]
        groups = np.repeat(np.arange(len(chosen)), [len(outputs) for outputs in each])
        names = tuple(self.names[number] for number in chosen)
        shared = None if len(groups) == len(chosen) else groups
        return ClassMap(columns[np.concatenate(each)], names, np.arange(len(chosen)), shared)

    def unlabelled(self) -> "ClassMap":
        """Return the same for images that have no classes."""
        return replace(self, target_of=np.empty(0, np.int64))


def map_classes(
    folder_classes: Sequence[str] | None,
    num_outputs: int,
    choice: TeacherChoice,
    names: OutputNames | None = None,
    *,
    whose: Whose = OF_FOLDER,
) -> ClassMap:
    """Match class folders to a teacher's outputs: by name, or by position where no names are known.

    So the classes of masks and of texts are matched, which their lists name, and those of a store that
    another teacher labelled; `whose` they are is for messages.

    `names` are those that come with the teacher; a file of the `choice` counts before them. Folders whose
    names are numbers, none of which is the name of an output, are the outputs of these numbers. Outputs
    of one name are one class. Without folder classes all outputs are kept, and there are no targets.

    Raises `ModelError` where the names, or the number of outputs, do not fit, and `ImagesError` where two
    names differ in their Unicode form alone.
    """
    known = output_names(choice, num_outputs, names)
    if folder_classes is None:
        every = replace(choice, all_classes=False)
        own = store_names([known], num_outputs)
        return map_classes(own, num_outputs, every, names).unlabelled()
    folder = tuple(folder_classes)
    if known is None or not (known.binding or _are_among(folder, known.names)):
        return _match_positions(folder, num_outputs, choice, whose)
    return _match_names(folder, known, choice, whose)


def _are_among(folder: tuple[str, ...], names: tuple[str, ...]) -> bool:
    return None not in match_outputs(folder, names) and not _by_number(folder, names)


def _by_number(folder: tuple[str, ...], names: tuple[str, ...]) -> bool:
    return are_numbers(folder) and not {*folder} & {*names}


def _match_positions(
    folder: tuple[str, ...], num_outputs: int, choice: TeacherChoice, whose: Whose
) -> ClassMap:
    """Match folders to outputs that have no names."""
    if choice.all_classes:
        raise ModelError(
            f"--all-classes needs --teacher-classes FILE to name the outputs of {choice.name}"
        )
    in_order = np.arange(len(folder))
    if len(folder) == num_outputs:
        _warn_of_text_order(folder, choice, whose)
        return ClassMap(None, folder, in_order)
    if are_numbers(folder):
        outputs = _numbered(folder, num_outputs, choice, whose)
        note_once(
            f"warning: classes are numbers: class {folder[-1]} is output {folder[-1]} of teacher "
            f"{choice.name}; where it is another, give --teacher-classes FILE with one class name per "
            "output, in order"
        )
        return ClassMap(outputs, folder, in_order)
    raise ModelError(
        f"{whose.owner} has {as_count(len(folder), 'class')}, teacher {choice.name} has "
        f"{as_count(num_outputs, 'output')}; give --teacher-classes FILE with one class name per output, "
        f"in order{whose.instead}"
    )


def _warn_of_text_order(folder: tuple[str, ...], choice: TeacherChoice, whose: Whose) -> None:
    """Warn where classes are numbers in the order of their text: 10 before 2, as ImageFolder has them."""
    if are_numbers(folder) and list(folder) != sorted(folder, key=int):
        place = next(n for n, name in enumerate(folder) if name != str(n))
        note_once(
            f"warning: {whose.names} are numbers in the order of their text, as torchvision sorts them: "
            f"class {folder[place]} is output {place} of teacher {choice.name}; where it is output "
            f"{folder[place]}, give --teacher-classes FILE with one class name per output, in order"
        )


def _match_names(
    folder: tuple[str, ...], known: OutputNames, choice: TeacherChoice, whose: Whose
) -> ClassMap:
    """Match folders to outputs that have names, of which several may have one."""
    unique = tuple(dict.fromkeys(known.names))
    number = {name: position for position, name in enumerate(unique)}
    class_of = np.array([number[name] for name in known.names])
    in_order = np.arange(len(folder))
    if _by_number(folder, known.names):
        columns = _numbered(folder, len(known.names), choice, whose)
        targets, groups = class_of[columns], in_order
    else:
        targets = _found(folder, unique, known, whose)
        each = [np.flatnonzero(class_of == target) for target in targets]
        columns = np.concatenate(each)
        groups = np.repeat(in_order, [len(outputs) for outputs in each])
    if choice.all_classes:
        return ClassMap(None, unique, targets, _shared(class_of, unique, known))
    # A file that changes nothing is recorded as one all the same: stores of it go on.
    as_they_are = choice.classes_file is None and np.array_equal(columns, np.arange(len(class_of)))
    groups_if_any = _shared(groups, folder, known)
    return ClassMap(None if as_they_are else columns, folder, in_order, groups_if_any)


def _shared(
    class_of: NDArray[np.int64], names: tuple[str, ...], known: OutputNames
) -> NDArray[np.int64] | None:
    """Return the class of each output, and say which have several; None where each has its own."""
    if len(class_of) == len(names):
        return None
    several = [names[number] for number in np.flatnonzero(np.bincount(class_of) > 1)]
    note_once(
        f"{known.said_by} names {as_count(len(several), 'class')} more than once ({_listed(several)}): "
        "the probabilities of the outputs of one name are added"
    )
    return class_of


def _found(
    folder: tuple[str, ...], unique: tuple[str, ...], known: OutputNames, whose: Whose
) -> NDArray[np.int64]:
    """Return the position of each folder's name, int64 [folder classes]; refuse others."""
    positions = match_outputs(folder, unique)
    unknown = [name for name, found in zip(folder, positions, strict=True) if found is None]
    if unknown:
        raise ModelError(
            f"{len(unknown)} of {len(folder)} {whose.names} are not in {known.said_by}: "
            f"{_listed(unknown)}; {known.remedy}{whose.otherwise}"
        )
    return np.array([found for found in positions if found is not None])


def _numbered(
    folder: tuple[str, ...], num_outputs: int, choice: TeacherChoice, whose: Whose
) -> NDArray[np.int64]:
    """Return the numbers that are the classes' names, int64 [folder classes]."""
    beyond = [name for name in folder if int(name) >= num_outputs]
    if beyond:
        raise ModelError(
            f"{whose.names} are numbers, and {beyond[0]} is no output of teacher {choice.name} (0 to "
            f"{num_outputs - 1}); give --teacher-classes FILE with one class name per output, in order"
        )
    return np.array([int(name) for name in folder])


def _listed(names: Sequence[str]) -> str:
    shown = [name if name.strip() else repr(name) for name in names[:_SHOWN]]
    return f"{', '.join(shown)}{' …' if len(names) > _SHOWN else ''}"
