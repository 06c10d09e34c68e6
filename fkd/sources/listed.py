"""Images that a list names: CSV with a line `path,label` for each, or JSON lines.

A path is relative to the list's folder, or to the folder beside it that has the list's name. Its key is
that path; keys of absolute paths begin below the folder that holds all of them.
"""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray

from fkd.containers import LABEL_KEYS, NoSplitError, number_classes, split_of
from fkd.errors import ImagesError, first_line
from fkd.images import EXTENSIONS, FolderFiles, ImageList, Keys, key_order
from fkd.machine import refuse_utf16

_PATH_NAMES = (
    "path",
    "file_name",
    "filename",
    "file",
    "image",
    "image_path",
    "filepath",
    "imageid",
)
_LABEL_NAMES = (*LABEL_KEYS, "labels", "classname")


@dataclass(frozen=True)
class Row:
    """A line of a list, by its number: the image's path, and its class, None where it has none.

    `split` is what a column of that name says, as "train" or "test".
    """

    line: int
    path: str
    label: str | None
    split: str = ""


def list_listed(path: Path, *, split: str = "train", unlabelled: bool = False) -> ImageList:
    """List the images that a .csv, .tsv, .txt or .jsonl file names; of its column `split`, those of one.

    Raises `ImagesError` for a line that is none of a list, for a file that is not there, and for images
    without a class unless they are taken as `unlabelled`.
    """
    rows = _of_split(list(read_rows(path)), split, path)
    if not rows:
        raise ImagesError(f"{path} names no image; give it a line path,label for each")
    bare = next((row for row in rows if not row.label), None)
    if bare is not None and not unlabelled:
        raise ImagesError(
            f"{path}, line {bare.line}: {bare.path} has no class; add it, or take images without classes "
            "with --unlabelled"
        )
    root, keys = _below_one_folder(path, [row.path for row in rows])
    _refuse_twins(path, keys, rows)
    order = sorted(range(len(rows)), key=lambda row: key_order(keys[row]))
    labels: NDArray[np.int64] = np.full(len(rows), -1)
    classes: tuple[str, ...] = ()
    if not unlabelled:
        labels, classes = number_classes([rows[row].label or "" for row in order], (), path)
    names = Keys.of(keys[row] for row in order)
    sizes = _sizes(path, root, names, [rows[row].line for row in order])
    return ImageList(path, names, labels, sizes, classes, FolderFiles(root, names))


def _of_split(rows: list[Row], split: str, where: Path) -> list[Row]:
    """Return the rows of a split, all of them where no column says which they are of."""
    splits = {row.split for row in rows}
    if len(splits) <= 1 or not any(map(split_of, splits)):
        return rows
    strange = next((row for row in rows if split_of(row.split) is None), None)
    if strange is not None:
        raise ImagesError(
            f"{where}, line {strange.line}: its split {strange.split!r:.40} is none that is known; "
            "say train, val or test"
        )
    if not any(split_of(name) == split for name in splits):
        raise NoSplitError(
            f"{where} has no row of {split} in its column split ({', '.join(sorted(splits))[:80]}); name "
            "a list of the split alone"
        )
    return [row for row in rows if split_of(row.split) == split]


def read_rows(path: Path) -> Iterator[Row]:
    """Yield the rows of a list; raises `ImagesError` for what is none."""
    try:
        refuse_utf16(path, str(path), ImagesError)
        with path.open(encoding="utf-8-sig", newline="") as file:
            ending = path.suffix.lower()
            yield from (_json_rows if ending in (".jsonl", ".ndjson") else _table_rows)(file, path)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ImagesError(f"{path} cannot be read as a list ({first_line(error)})") from error


def _json_rows(file: IO[str], where: Path) -> Iterator[Row]:
    for number, line in enumerate(file, start=1):
        if not line.strip():
            continue
        try:
            fields = json.loads(line)
            named = {str(name).lower(): value for name, value in fields.items()}
        except (ValueError, AttributeError) as error:
            raise ImagesError(
                f'{where}, line {number}: no JSON object as {{"path": "a.jpg", "label": "cat"}}'
            ) from error
        path = next((named[name] for name in _PATH_NAMES if name in named), None)
        label = next((named[name] for name in _LABEL_NAMES if name in named), None)
        is_class = isinstance(label, (str, int, type(None))) and not isinstance(label, bool)
        if not isinstance(path, str) or not is_class:
            raise ImagesError(
                f'{where}, line {number}: it needs a "path" that is a text, and a "label" that is a '
                "number or a text"
            )
        yield Row(number, path, None if label is None else str(label), str(named.get("split", "")))


def _table_rows(file: IO[str], where: Path) -> Iterator[Row]:
    """Yield the rows of a table; its first line may name the columns."""
    lines = _fields(file, where.suffix.lower())
    first = next(lines, None)
    if first is None:
        return
    names = [name.strip().lower() for name in first[1]]
    path_at, label_at = _column(names, _PATH_NAMES), _column(names, _LABEL_NAMES)
    if path_at is None:
        if not os.path.splitext(first[1][0])[1]:
            raise ImagesError(
                f"{where}: no column is named path, and its first line begins with no file "
                f"({first[1][0]!r:.40}); name the columns path and label"
            )
        path_at, label_at = 0, 1
        yield _row(first, path_at, label_at, where)
    elif label_at is None and "predictionstring" in names:  # of ILSVRC: a class, and boxes
        label_at = names.index("predictionstring")
    split_at = names.index("split") if "split" in names else None
    for line in lines:
        row, fields = _row(line, path_at, label_at, where), line[1]
        if split_at is not None and split_at < len(fields):
            row = replace(row, split=fields[split_at].strip())
        yield row


def _fields(file: IO[str], ending: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the number and the fields of each line that is not empty."""
    if ending == ".txt":
        for number, line in enumerate(file, start=1):
            text = line.strip()
            if text and "\t" in text:
                yield number, text.split("\t")
            elif text.lower().endswith(EXTENSIONS):
                yield number, [text]
            elif text:  # a path may have blanks, a class has none
                yield number, text.rsplit(None, 1)
        return
    table = csv.reader(file, delimiter="\t" if ending == ".tsv" else ",", strict=True)
    for fields in table:
        if fields and any(fields):
            yield table.line_num, fields


def _column(names: Sequence[str], known: Sequence[str]) -> int | None:
    return next((names.index(name) for name in known if name in names), None)


def _row(line: tuple[int, list[str]], path_at: int, label_at: int | None, where: Path) -> Row:
    number, fields = line
    if path_at >= len(fields) or not fields[path_at].strip():
        raise ImagesError(f"{where}, line {number}: it names no image; give it a path")
    label = fields[label_at].strip() if label_at is not None and label_at < len(fields) else None
    if where.suffix.lower() == ".csv" and label and label_at is not None:
        label = label.split()[0] if _is_boxes(label) else label
    return Row(number, fields[path_at].strip(), label or None)


def _is_boxes(label: str) -> bool:
    """Say whether a field is ILSVRC's "n03995372 85 1 499 272": a class and where it is."""
    words = label.split()
    return len(words) > 4 and all(word.isdecimal() for word in words[1:5])


def _below_one_folder(where: Path, paths: Sequence[str]) -> tuple[str, list[str]]:
    """Return a folder, and the paths below it."""
    if any("\0" in path for path in paths):
        raise ImagesError(f"{where} has a path with a zero byte; write the list anew")
    tidy = [os.path.normpath(path).replace(os.sep, "/") for path in paths]
    folder = os.path.abspath(where.parent)
    if not any(path.startswith(("/", "../")) or path == ".." for path in tidy):
        beside = os.path.join(folder, where.stem)
        inside = os.path.exists(os.path.join(folder, tidy[0]))
        return (folder if inside or not os.path.isdir(beside) else beside), tidy
    absolute = [os.path.normpath(os.path.join(folder, path)) for path in tidy]
    root = os.path.commonpath([os.path.dirname(path) for path in absolute])
    return root, [os.path.relpath(path, root).replace(os.sep, "/") for path in absolute]


def _refuse_twins(where: Path, keys: Sequence[str], rows: Sequence[Row]) -> None:
    line_of: dict[str, int] = {}
    for key, row in zip(keys, rows, strict=True):
        first = line_of.setdefault(key, row.line)
        if first != row.line:
            raise ImagesError(
                f"{where} names {row.path} twice, in lines {first} and {row.line}; remove one of them"
            )


def _sizes(where: Path, root: str, keys: Keys, lines: Sequence[int]) -> NDArray[np.int64]:
    """Return the sizes of files; refuse a list of which some are not there, or are no images."""
    sizes, missing = np.zeros(len(keys), np.int64), []
    for row, key in enumerate(keys):
        if not key.lower().endswith(EXTENSIONS):
            raise ImagesError(
                f"{where}, line {lines[row]}: {key} is no image by its name ({', '.join(EXTENSIONS)})"
            )
        try:
            sizes[row] = os.stat(os.path.join(root, key)).st_size
        except OSError:
            missing.append(row)
    if missing:
        first = missing[0]
        raise ImagesError(
            f"{where}, line {lines[first]}: there is no {os.path.join(root, keys[first])}, and "
            f"{len(missing):,} of {len(keys):,} are missing; paths are relative to the list's folder"
        )
    return sizes
