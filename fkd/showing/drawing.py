"""Text in figures, which may come from a stranger's store, and figures as PNG files."""

import io
from functools import cache
from typing import Any

from fkd.figures import installed_faces
from fkd.progress import printable

_MISSING = "\N{WHITE SQUARE}"


def bare(axes: Any) -> None:
    """Leave nothing of axes but what is drawn in them."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def write(axes: Any, x: float, y: float, text: str, **look: Any) -> Any:
    """Write at (x, y) of the axes, letter by letter: `$` is a dollar, and no letter is missing."""
    return axes.text(x, y, drawable(text), parse_math=False, **look)


def name_rows(axes: Any, rows: list[float], names: list[str]) -> None:
    """Write names left of the axes, at these heights."""
    axes.set_yticks([])
    for y, name in zip(rows, names, strict=True):
        write(axes, -0.02, y, name, transform=axes.get_yaxis_transform(), ha="right", va="center")


def shorten(text: str, most: int) -> str:
    """Cut text to so many letters, the last of them an ellipsis."""
    text = printable(text)
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def drawable(text: str) -> str:
    """Replace letters that no font of this machine has, of which matplotlib would warn at each."""
    return "".join(c if ord(c) in _letters() else _MISSING for c in printable(text))


def to_png(figure: Any) -> bytes:
    """Return the figure as a PNG file's bytes, the same for the same figure."""
    file = io.BytesIO()
    figure.savefig(file, format="png", metadata={"Software": None})
    return file.getvalue()


@cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = [findfont(FontProperties(family=[face])) for face in installed_faces()]
    return frozenset(code for file in files for code in get_font(file).get_charmap())
