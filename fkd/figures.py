"""How every figure of the project looks: one style sheet, `figures.mplstyle`, and its sizes and colours.

matplotlib is an extra, so it is loaded by the functions.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from fkd.errors import ConfigError

COLUMN = 3.4  # inches: one column of a paper, and both with the gap between them
PAGE = 7.0

COLOURS = tuple(f"C{n}" for n in range(8))  # matplotlib's names for the colours of the style sheet
MAIN, SECOND = COLOURS[:2]
INK, GREY, PALE = "#222222", "#6B6B6B", "#E4E7EB"


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


def installed_faces() -> list[str]:
    """Return those fonts of the style sheet that are installed; call it inside `figure_style`.

    Each letter is drawn in the first of them that has it. For a font that is not installed matplotlib
    would warn at every text.
    """
    import matplotlib as mpl
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return [face for face in mpl.rcParams["font.sans-serif"] if face in installed]


def new_figure(width: float, height: float, *, constrained: bool = True) -> Any:
    """Return an empty figure of so many inches; `constrained` layout makes room for all its text."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained" if constrained else None)
