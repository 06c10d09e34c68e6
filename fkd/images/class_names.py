"""Names of classes: which are the same in another Unicode form, and which are numbers.

é is one character, or e and an accent. macOS may name folders in the second form, and lists of classes
are written in the first.
"""

import re
import unicodedata
from collections.abc import Sequence

from fkd.errors import ImagesError

_SHOWN = 3  # names that a message lists


def composed(name: str) -> str:
    """Return a name in the form (NFC) in which names are compared."""
    return unicodedata.normalize("NFC", name)


def match_names(folders: Sequence[str], names: Sequence[str]) -> list[int | None]:
    """Return the position in `names` of each folder's name, None where it is not among them.

    Names are compared character by character, and in NFC where that fails. Raises `ImagesError` where
    two then fall together. Two forms that nobody asks for are two classes: the lists of recognisers have
    both the letter Å and the sign of the unit.
    """
    exact = {name: position for position, name in enumerate(names)}
    others = {composed(folder) for folder in folders if folder not in exact}
    if not others:
        return [exact[folder] for folder in folders]
    _refuse_twins("class folders", [folder for folder in folders if composed(folder) in others])
    alike = [name for name in exact if composed(name) in others]
    _refuse_twins("names of classes", alike)
    position = {composed(name): exact[name] for name in alike}
    return [exact.get(folder, position.get(composed(folder))) for folder in folders]


def difference_words(now: Sequence[str], then: Sequence[str]) -> str | None:
    """Say how classes differ from those that were there, None where they do not."""
    new, gone = (
        list(dict.fromkeys(n for n in one if n not in {*other}))
        for one, other in ((now, then), (then, now))
    )
    said = [
        f"{_few(names)} {'is' if len(names) == 1 else 'are'} {what}"
        for names, what in ((new, "new"), (gone, "gone"))
        if names
    ]
    if said:
        return " and ".join(said)
    moved = next((name for name, other in zip(now, then, strict=False) if name != other), None)
    return None if moved is None else f"their order is another from {moved!r} on"


def _few(names: Sequence[str]) -> str:
    return ", ".join(map(repr, names[:_SHOWN])) + (" …" if len(names) > _SHOWN else "")


def are_numbers(folders: Sequence[str]) -> bool:
    """Say whether all names are numbers as a program writes them: without signs and leading zeros."""
    return all(re.fullmatch("0|[1-9][0-9]{,17}", name) for name in folders)


def match_outputs(folders: Sequence[str], names: Sequence[str]) -> list[int | None]:
    """Return the output of each folder, whose `names` are in order; None where there is none.

    Folders are matched by name or, where all are numbers and none is a name, as in ImageNetV2, by
    position.
    """
    if are_numbers(folders) and not {*folders} & {*names}:
        names = [str(output) for output in range(len(names))]
    return match_names(folders, names)


def _refuse_twins(what: str, names: Sequence[str]) -> None:
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(composed(name), name)
        if other != name:
            raise ImagesError(
                f"two {what} are one name in two Unicode forms: {other!a} and {name!a}; rename "
                "one of them"
            )
