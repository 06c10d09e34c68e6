"""Titles: names of classes to be read by people, where the folders have ids (n01440764, 0001)."""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fkd.amounts import as_count
from fkd.errors import ConfigError
from fkd.images.class_names import are_numbers
from fkd.machine import read_text
from fkd.progress import note_once

_GAP = re.compile(r"\s*,\s*|\s+")


def read_titles(path: Path, classes: Sequence[str], *, some: bool = False) -> tuple[str, ...]:
    """Return a title for each class, whose own names are `classes`, from a file (`--class-names`).

    A line has a class and its title, apart by a tab, spaces or a comma, and there may be more classes
    than are asked for; or lines are titles alone, one for each class in order. A JSON file says the same
    as a list, or as an object: by class, by number, or Keras' {"0": ["n01440764", "tench"]}. Of synonyms
    with commas between (`tench, Tinca tinca`) the first is taken, where no other class has it too;
    classes of the same title get their names behind it. With `some`, a class that has no title keeps its
    name, as long as one has a title. Raises `ConfigError` for a file that does not
    name every class.
    """
    text = _read(path)
    if _is_json(path, text):
        named, in_order = _from_json(path, text)
    else:
        in_order = [line.strip() for line in text.splitlines() if line.strip()]
        named = _by_class(in_order, set(classes))
    if some and any(named.get(name) for name in classes):
        named = {name: named.get(name) or name for name in classes}
    titles = _titles(path, named, in_order, classes)
    return _told_apart([_plain(title) for title in titles], classes)


def visible_name(name: str) -> str:
    """Return a name as people see it: of white space alone the names of its characters, "space".

    A recogniser of lines has such classes. Any other name is returned as it is.
    """
    if not name.isspace():
        return name
    return " ".join(unicodedata.name(c, f"U+{ord(c):04X}").lower() for c in name)


def require_titles(path: Path) -> None:
    """Raise `ConfigError` for a file of titles that cannot be read."""
    text = _read(path)
    if _is_json(path, text):
        _from_json(path, text)


def _read(path: Path) -> str:
    remedy = "give a text file with one name per class, in UTF-8"
    return read_text(path, f"--class-names {path}", remedy, ConfigError)


def _titles(
    path: Path, named: Mapping[str, str], in_order: Sequence[str], classes: Sequence[str]
) -> Sequence[str]:
    """Return the title of each class: by its name or, where hardly any class is named, in order."""
    unnamed = [name for name in classes if not named.get(name)]
    if not unnamed:
        return [named[name] for name in classes]
    known = len(classes) - len(unnamed)
    if len(in_order) == len(classes) and known < len(classes) / 2:
        _warn_of_text_order(path, classes)
        return in_order
    if known:
        raise ConfigError(
            f"--class-names {path} has no name for {len(unnamed):,} of {len(classes):,} classes: "
            f"{', '.join(unnamed[:3])}{' …' if len(unnamed) > 3 else ''}; add a line of folder and name"
        )
    raise ConfigError(
        f"--class-names {path} has {as_count(len(in_order or named), 'line')}, the store has "
        f"{len(classes):,} classes; give a name per class, in order, or lines of folder and name"
    )


def _warn_of_text_order(path: Path, classes: Sequence[str]) -> None:
    """Warn where classes are numbers in the order of their text: 10 before 2, as folders are listed."""
    if are_numbers(classes) and list(classes) != sorted(classes, key=int):
        place = next(n for n, name in enumerate(classes) if name != str(n))
        note_once(
            f"warning: --class-names {path}: classes are numbers in the order of their text: the title "
            f"in line {place + 1} is that of class {classes[place]}; where it is that of another, write "
            "lines of class and title"
        )


def _by_class(lines: Sequence[str], classes: set[str]) -> dict[str, str]:
    """Return titles by class, of the lines that begin with a class; its name may hold spaces."""
    named = {}
    for line in lines:
        gaps = [(line[: gap.start()], line[gap.end() :]) for gap in _GAP.finditer(line)]
        for name, title in reversed(gaps):
            if name.strip('"') in classes:
                named[name.strip('"')] = title.strip('"')
                break
    return named


def _is_json(path: Path, text: str) -> bool:
    return path.suffix.lower() == ".json" or text.lstrip()[:1] in ("{", "[")


def _from_json(path: Path, text: str) -> tuple[dict[str, str], list[str]]:
    """Return titles by class, and titles in order, as far as a JSON file has either."""
    try:
        content = json.loads(text)
        if isinstance(content, list):
            content = {str(number): value for number, value in enumerate(content)}
        entries = {key: _entry(value) for key, value in content.items()}
    except (ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ConfigError(
            f"--class-names {path}: it is no JSON object or list of names ({error}); give one name per "
            "class"
        ) from error
    named = {key: title for key, (_, title) in entries.items()}
    named |= {name: title for name, title in entries.values() if name is not None}
    numbers = {int(key): title for key, (_, title) in entries.items() if key.isdecimal()}
    whole = sorted(numbers) == list(range(len(entries)))
    return named, [numbers[number] for number in sorted(numbers)] if whole else []


def _entry(value: Any) -> tuple[str | None, str]:
    """Return the class, if it is told, and the title of an entry: text, or a class and its title."""
    if isinstance(value, str):
        return None, value
    name, title = value
    if not isinstance(name, str) or not isinstance(title, str):
        raise TypeError("a name is not text")
    return name, title.replace("_", " ")  # Keras writes great_white_shark


def _plain(title: str) -> str:
    """Return a title in one line."""
    return " ".join(title.replace("\0", " ").split())


def _told_apart(titles: Sequence[str], classes: Sequence[str]) -> tuple[str, ...]:
    first = [title.split(", ")[0].strip() or title for title in titles]
    times = Counter(first)
    short = [head if times[head] == 1 else title for head, title in zip(first, titles, strict=True)]
    times = Counter(short)
    return tuple(
        title if times[title] == 1 else f"{title} ({name})"
        for title, name in zip(short, classes, strict=True)
    )
