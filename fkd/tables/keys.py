"""The keys of the rows of tables: the paths that they came from, or the file and the row.

Millions of texts are made and sorted where pyarrow keeps them, and never become strings of Python's.
"""

import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.containers import import_pyarrow
from fkd.images import Keys

# A path with an empty part, "." or "..", or with a drive, may lead out of a folder.
_ASTRAY = re.compile(rb"(?:^|[\0/])\.{0,2}(?=[\0/])|(?:^|\0)[A-Za-z]:[\\/]")


def ordered_keys(
    paths: Sequence[Any] | None, files: Sequence[str], rows: Sequence[int]
) -> tuple[Keys, NDArray[np.int64]]:
    """Return the keys of N rows in the order of `key_order`, and the row of each, int64 [N].

    `paths` are arrays of texts, in order. They are the keys where all are there, different, and stay
    inside a folder. Else a row's key is its file's name and its number; `files` have so many `rows` each.
    """
    compute = import_pyarrow().compute
    texts = None if paths is None else _of_paths(paths)
    if texts is not None:
        order = _order(texts)
        texts = texts.take(order)
        twins = compute.equal(texts.slice(1), texts.slice(0, max(0, len(texts) - 1)))
        if not compute.any(twins).as_py():
            return Keys(_joined(texts)), order.to_numpy().astype(np.int64)
    texts = _of_rows(files, rows)
    order = _order(texts)
    return Keys(_joined(texts.take(order))), order.to_numpy().astype(np.int64)


def _of_paths(paths: Sequence[Any]) -> Any:
    """Return paths as one array of bytes, or None where they are no keys."""
    arrow = import_pyarrow()
    if any(part.null_count for part in paths):
        return None
    texts = arrow.concat_arrays([part.cast(arrow.large_binary()) for part in paths])
    text = _joined(texts)
    if _ASTRAY.search(text.data) or int((text == 0).sum()) != len(texts):
        return None
    return texts


def _of_rows(files: Sequence[str], rows: Sequence[int]) -> Any:
    """Return "train-00000-of-00005/00000012" for row 12 of that file."""
    arrow = import_pyarrow()
    stems = [os.path.splitext(os.path.basename(file))[0] for file in files]
    if len(set(stems)) < len(stems):
        stems = list(files)
    parts = []
    for stem, count in zip(stems, rows, strict=True):
        digits = arrow.array(np.arange(count)).cast(arrow.large_string())
        numbers = arrow.compute.utf8_lpad(digits, 8, "0").cast(arrow.large_binary())
        name = arrow.scalar(os.fsencode(stem), arrow.large_binary())
        parts.append(_with(name, numbers, b"/"))
    return arrow.concat_arrays(parts)


def _order(texts: Any) -> Any:
    """Sort as `key_order` does: what is before the first slash goes first, by itself."""
    compute = import_pyarrow().compute
    return compute.sort_indices(compute.replace_substring(texts, b"/", b"\0", max_replacements=1))


def _joined(texts: Any) -> NDArray[np.uint8]:
    """Return texts as one, u8, a zero byte after each."""
    arrow = import_pyarrow()
    if not len(texts):
        return np.empty(0, np.uint8)
    empty = arrow.scalar(b"", arrow.large_binary())
    ended = _with(texts, empty, b"\0")
    first, last = (
        int.from_bytes(ended.buffers()[1][8 * at : 8 * at + 8], "little") for at in (0, len(ended))
    )
    return np.frombuffer(ended.buffers()[2], np.uint8)[first:last]


def _with(left: Any, right: Any, between: bytes) -> Any:
    arrow = import_pyarrow()
    return arrow.compute.binary_join_element_wise(
        left, right, arrow.scalar(between, arrow.large_binary())
    )
