"""A figure on its way to the page: its files, what the page says of it, and the numbers that it shows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from fkd.figures import figure_file


@dataclass(frozen=True)
class Table:
    """The numbers of a figure: names of the columns, and rows of text."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Picture:
    """A figure's files by suffix, a "png" among them, with what a page says of it.

    `name` is that of the files without their suffixes, `alt` is for who cannot see it.
    """

    name: str
    files: Mapping[str, bytes] = field(repr=False)
    title: str
    caption: str
    alt: str
    table: Table | None = field(default=None, repr=False)


def as_files(figure: Any, formats: Sequence[str]) -> dict[str, bytes]:
    """Return a figure as PNG, which the page shows, and in other formats, for a paper."""
    return {suffix: figure_file(figure, suffix) for suffix in dict.fromkeys(("png", *formats))}
