"""Progress of long work, on stderr: a bar with rate and ETA."""

import sys
from collections.abc import Iterable
from typing import Any, NoReturn, TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(items: Iterable[T], what: str, *, unit: str, delay: float = 0) -> Iterable[T]:
    """Return `items` in a progress bar, which appears after `delay` seconds."""
    bar: Iterable[T] = tqdm(items, delay=delay, **_appearance(what, unit))
    return bar


def progress_bar(
    what: str,
    *,
    unit: str,
    total: float,
    initial: float = 0,
    delay: float = 0,
    disable: bool = False,
    nested: bool = False,
) -> "tqdm[NoReturn]":
    """Return a progress bar that the caller moves with `update`.

    `initial` is the work that an earlier run has done. The bar appears after `delay` seconds. A bar that
    is `nested` in another one vanishes at its end, and is left out of a log file.
    """
    return tqdm(
        total=total,
        initial=initial,
        delay=delay,
        disable=disable or (nested and not sys.stderr.isatty()),
        leave=not nested,
        **_appearance(what, unit),
    )


def _appearance(what: str, unit: str) -> dict[str, Any]:
    """Return what all bars share: they are redrawn twice a second, in a log file every half minute."""
    interval = 0.5 if sys.stderr.isatty() else 30.0
    return {
        "desc": what,
        "unit": unit,
        "mininterval": interval,
        "maxinterval": interval,
        "dynamic_ncols": True,
        "smoothing": 0.1,
        "unit_scale": unit in ("view", "crop"),
    }


def note(message: str) -> None:
    """Say something on stderr, above the bar if there is one."""
    tqdm.write(printable(message), file=sys.stderr)


def printable(text: str) -> str:
    """Return text in one line, control characters escaped: file names may hold any."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
