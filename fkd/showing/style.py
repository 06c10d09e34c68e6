"""How figures look, and text in them: sizes of a paper's column, few lines, colours that all can tell.

Every string may come from a stranger's store. matplotlib is an extra, so it is loaded by the functions.
"""

import io
from functools import cache
from typing import Any

from fkd.errors import ConfigError
from fkd.progress import printable

# Okabe and Ito's colours that stand out on white and on photos, and two more that stay apart from them.
COLOURS = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7A5195", "#6B4F2A",
)  # fmt: skip
MAIN, SECOND = COLOURS[0], COLOURS[1]
INK, GREY, PALE = "#222222", "#6B6B6B", "#E4E7EB"

DPI = 200
COLUMN = 3.4  # inches: one column of a paper, and both with the gap between them
PAGE = 7.0
TEXT, SMALL = 8.0, 7.0  # points

# The sans-serif faces that papers use where a machine has them, then what matplotlib brings along.
_FACES = (
    "Arial", "Helvetica", "Liberation Sans", "DejaVu Sans", "Noto Sans CJK SC", "Noto Sans CJK JP",
    "Hiragino Sans", "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei",
)  # fmt: skip
_MISSING = "\N{WHITE SQUARE}"


def new_figure(width: float, height: float) -> Any:
    """Return an empty figure of so many inches; raises `ConfigError` where matplotlib is missing."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("figures need matplotlib: `pip install matplotlib`") from error
    return Figure(figsize=(width, height), facecolor="white")


def place_axes(figure: Any, left: float, top: float, width: float, height: float) -> Any:
    """Add axes at a place in inches from the figure's upper left corner."""
    across, down = figure.get_size_inches()
    place = (left / across, 1 - (top + height) / down, width / across, height / down)
    return figure.add_axes(place)


def plain(axes: Any, xlabel: str = "", ylabel: str = "") -> None:
    """Leave of axes what a reader needs: two thin lines, ticks and what they measure."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set(color=GREY, linewidth=0.6)
    axes.tick_params(
        labelsize=SMALL, labelcolor=INK, color=GREY, width=0.6, length=2.5,
        labelfontfamily=_faces()[0],
    )  # fmt: skip
    axes.set_xlabel(xlabel, fontsize=TEXT, color=INK, family=_faces())
    axes.set_ylabel(ylabel, fontsize=TEXT, color=INK, family=_faces())


def bare(axes: Any) -> None:
    """Leave nothing of axes but what is drawn in them."""
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def write(axes: Any, x: float, y: float, text: str, **look: Any) -> Any:
    """Write at (x, y) of the axes, letter by letter: `$` is a dollar, and no letter is missing."""
    look = {"fontsize": SMALL, "color": INK, "family": _faces(), "parse_math": False} | look
    return axes.text(x, y, drawable(text), **look)


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
    figure.savefig(file, format="png", dpi=DPI, metadata={"Software": None})
    return file.getvalue()


@cache
def _faces() -> list[str]:
    from matplotlib.font_manager import fontManager

    found = set(fontManager.get_font_names())
    return [face for face in _FACES if face in found]


@cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = [findfont(FontProperties(family=[face])) for face in _faces()]
    return frozenset(code for file in files for code in get_font(file).get_charmap())
