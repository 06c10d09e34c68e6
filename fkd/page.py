"""One HTML page that is whole in itself: no script, no network, its pictures inside.

Names in it come from folders and from stores of strangers: the template escapes whatever is not its own.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from fkd.figures import Picture, Table
from fkd.progress import printable

MARK = "<!-- made by fkd show -->"  # a folder with such a page may be written anew


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
    """All that the page says: the numbers at its head, what the store is, and the sections."""

    title: str
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
    template = environment.from_string((files("fkd") / "show.html").read_text("utf-8"))
    html = template.render(page=page)
    head, rest = html.split("\n", 1)
    return f"{head}\n{MARK}\n{rest}".encode()


def _in_one_line(value: object) -> object:
    """Make control characters visible, and what is no Unicode text: a file name may hold any bytes."""
    return printable(value) if type(value) is str else value


def _data_uri(png: bytes) -> Markup:
    return Markup("data:image/png;base64," + b64encode(png).decode())
