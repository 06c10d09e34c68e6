"""How every figure of the project looks: one style sheet, `figures.mplstyle`, its sizes and colours.

Text in a figure may be a folder's name or come from a stranger's store, so it is written as it is, letter
by letter. matplotlib is an extra, so it is loaded by the functions.
"""

import io
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cache
from typing import Any

from fkd.errors import ConfigError
from fkd.progress import printable

COLUMN = 3.4  # inches: one column of a paper, and both with the gap between them
PAGE = 7.0

COLOURS = tuple(f"C{n}" for n in range(8))  # matplotlib's names for the colours of the style sheet
MAIN, SECOND = COLOURS[:2]
INK, GREY, PALE = "#222222", "#6B6B6B", "#E4E7EB"

_MISSING = "\N{WHITE SQUARE}"

# A file says neither when it was made nor by what, so the same figure is the same file.
_NAMELESS: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "pdf": {"Creator": None, "Producer": None, "CreationDate": None},
    "svg": {"Date": None, "Creator": None},
}


@contextmanager
def figure_style() -> Iterator[None]:
    """Draw and save by the style sheet alone, whatever the user's own matplotlibrc says.

    Serves as a decorator too: `@figure_style()`. Meanwhile the settings of matplotlib are those of the
    sheet for the whole process. Raises `ConfigError` where matplotlib, or the sheet, is missing.
    """
    try:
        import matplotlib as mpl
        import matplotlib.style
    except ImportError as error:
        raise ConfigError("figures need matplotlib: `pip install matplotlib`") from error
    style = mpl.style.context("fkd.figures", after_reset=True)
    with ExitStack() as in_style:
        try:
            in_style.enter_context(style)
        except OSError as error:  # before 3.7 matplotlib knows no style sheets of packages
            raise ConfigError(
                "figures need matplotlib 3.9 or newer: `pip install -U matplotlib`"
            ) from error
        mpl.rcParams["font.family"] = installed_faces()
        yield


def installed_faces(*, monospaced: bool = False) -> list[str]:
    """Return those fonts of the style sheet that are installed; call it inside `figure_style`.

    Each letter is drawn in the first of them that has it. For a font that is not installed matplotlib
    would warn at every text.
    """
    import matplotlib as mpl
    from matplotlib.font_manager import fontManager

    faces = mpl.rcParams["font.monospace" if monospaced else "font.sans-serif"]
    installed = set(fontManager.get_font_names())
    return [face for face in faces if face in installed]


def new_figure(width: float, height: float, *, constrained: bool = True) -> Any:
    """Return an empty figure of so many inches; `constrained` layout makes room for all its text."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained" if constrained else None)


def figure_file(figure: Any, suffix: str) -> bytes:
    """Return the bytes of a figure's "png", "pdf" or "svg" file; text of the latter two stays text.

    Call it inside `figure_style`.
    """
    file = io.BytesIO()
    figure.savefig(file, format=suffix, metadata=_NAMELESS[suffix])
    return file.getvalue()


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


def fit(text: str, inches: float, fontsize: float, weight: str = "normal") -> str:
    """Cut text to a width in a font of so many points; call it inside `figure_style`."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    font = FontProperties(size=fontsize, weight=weight)
    text = drawable(shorten(text, 120))
    for most in range(len(text), 0, -1):
        shown = shorten(text, most)
        if text_to_path.get_text_width_height_descent(shown, font, False)[0] <= 72 * inches:
            return shown
    return ""


def drawable(text: str) -> str:
    """Replace letters that no font of this machine has, of which matplotlib would warn at each."""
    return "".join(c if ord(c) in _letters() else _MISSING for c in printable(text))


@cache
def _letters() -> frozenset[int]:
    from matplotlib.font_manager import FontProperties, findfont, get_font

    files = [findfont(FontProperties(family=[face])) for face in installed_faces()]
    return frozenset(code for file in files for code in get_font(file).get_charmap())
