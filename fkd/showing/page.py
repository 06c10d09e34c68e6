"""One HTML page that is whole in itself, and the folder that it lies in.

The page has no script, asks the network for nothing, and holds its pictures. Names in it come from
folders and from stores of strangers: the template escapes whatever is not its own.
"""

import os
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from fkd.config import Url
from fkd.errors import ConfigError
from fkd.machine import write_whole
from fkd.pictures import Picture, Table
from fkd.progress import printable

MARK = "<!-- made by fkd show -->"  # a folder with such a page may be written anew

INDEX = "index.html"
_MARKED = 1000  # bytes from a page's beginning on

# What a page of other settings may have left behind.
_OURS = re.compile(
    r"(sample-\d+|top-probability|entropy|kept-mass|area|classes|confusions|sure-of-another|least-sure"
    r"|against|size|positions|truth|(neighbours|vectors)-[A-Za-z0-9_-]{1,64})\.(png|pdf|svg)"
)


@dataclass(frozen=True)
class Section:
    """A part of the page: pictures, in columns where they are `narrow`, and a table of its own."""

    title: str
    text: str = ""
    notes: tuple[str, ...] = ()
    pictures: tuple[Picture, ...] = ()
    narrow: bool = False
    table: Table | None = None


@dataclass(frozen=True)
class Page:
    """All that the page says: who labelled, the first numbers, the sections, and what the store is."""

    title: str
    settings: Sequence[tuple[str, str]]
    headline: Sequence[tuple[str, str]]
    notes: Sequence[str]
    about: Sequence[tuple[str, str]]
    sections: Sequence[Section]


def render_page(page: Page) -> bytes:
    """Return the page in UTF-8."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        finalize=_in_one_line,
    )  # fmt: skip
    environment.filters["data_uri"] = _data_uri
    template = environment.from_string((files("fkd.showing") / "show.html").read_text("utf-8"))
    html = template.render(page=page)
    head, rest = html.split("\n", 1)
    return f"{head}\n{MARK}\n{rest}".encode()


def _in_one_line(value: object) -> object:
    """Make control characters visible, and what is no Unicode text: a file name may hold any bytes."""
    return printable(value) if type(value) is str else value


def _data_uri(png: bytes) -> Markup:
    return Markup("data:image/png;base64," + b64encode(png).decode())


def default_folder(store: Path | Url) -> Path:
    """Return where a store is shown unless the user says: labels.zarr in labels-show."""
    name = store.name if isinstance(store, Url) else Path(os.path.abspath(store)).name
    return Path(name.removesuffix(".zip").removesuffix(".zarr") + "-show")


def check_folder(out: Path, stores: Sequence[Path | Url], images: Path, mark: str) -> None:
    """Refuse a place where a page would do harm; a folder may be empty, or hold one with our `mark`."""
    real = Path(os.path.realpath(out))
    here = [store for store in stores if not isinstance(store, Url)]
    for folder, what in (*((store, "the store") for store in here), (images, "the images")):
        if real.is_relative_to(os.path.realpath(folder)):
            raise ConfigError(f"--out {out} lies in {what} {folder}; name a folder apart from it")
    try:
        empty = not os.path.lexists(out) or not any(out.iterdir())
    except OSError as error:
        raise ConfigError(
            f"--out {out} is no folder that can be read ({error}); name another"
        ) from error
    if not empty and not _is_marked(out / INDEX, mark):
        raise ConfigError(
            f"--out {out} holds files, but no {INDEX} of `fkd show`, so it is left alone; name another "
            "folder"
        )


def _is_marked(page: Path, mark: str) -> bool:
    try:
        with page.open("rb") as file:
            return mark.encode() in file.read(_MARKED)
    except OSError:
        return False


def write_folder(out: Path, page: bytes, pictures: Mapping[str, bytes]) -> Path:
    """Write the pictures, by name, and then the page, each aside first; return the page's path."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in pictures.items():
            write_whole(out / name, content)
        write_whole(out / INDEX, page)
        for entry in out.iterdir():
            if _OURS.fullmatch(entry.name) and entry.name not in pictures:
                entry.unlink()
    except OSError as error:
        raise ConfigError(
            f"--out {out} cannot be written ({error}); name another folder"
        ) from error
    return out / INDEX
