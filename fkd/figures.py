"""How every figure of the project looks: one style sheet, `figures.mplstyle`, and its sizes and colours.

matplotlib is an extra, so it is loaded by the functions.
"""

from collections.abc import Iterator
from contextlib import contextmanager
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

    Serves as a decorator too: `@figure_style()`. Raises `ConfigError` where matplotlib is missing.
    """
    try:
        import matplotlib as mpl
        import matplotlib.style
    except ImportError as error:
        raise ConfigError("figures need matplotlib: `pip install matplotlib`") from error
    with mpl.style.context("fkd.figures", after_reset=True):
        mpl.rcParams["font.family"] = installed_faces()
        yield


def installed_faces() -> list[str]:
    """Return the style sheet's faces that this machine has: a letter is of the first that has it.

    matplotlib would warn of the others at each text. Call it inside `figure_style`.
    """
    import matplotlib as mpl
    from matplotlib.font_manager import fontManager

    installed = set(fontManager.get_font_names())
    return [face for face in mpl.rcParams["font.sans-serif"] if face in installed]


def new_figure(width: float, height: float, *, constrained: bool = True) -> Any:
    """Return an empty figure of so many inches; `constrained` layout makes room for all its text."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained" if constrained else None)
