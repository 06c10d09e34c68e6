"""Progress of long work, on stderr: a bar with rate and ETA."""

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")


def progress(
    items: Iterable[T] | None,
    what: str,
    *,
    unit: str,
    total: float | None = None,
    initial: float = 0,
    delay: float = 0,
    disable: bool = False,
    nested: bool = False,
) -> "tqdm[T]":
    """Wrap `items` in a progress bar; with None, the caller reports through `update`.

    `initial` is work done by an earlier run, `delay` seconds pass before the bar appears.
    A terminal is redrawn twice a second. A log file gets a line every half minute instead. A bar that is
    `nested` in another one goes away at its end, and is not there in a log file.
    """
    terminal = sys.stderr.isatty()
    interval = 0.5 if terminal else 30.0
    return tqdm(
        items,
        desc=what,
        unit=unit,
        total=total,
        initial=initial,
        delay=delay,
        disable=disable or (nested and not terminal),
        leave=not nested,
        mininterval=interval,
        maxinterval=interval,
        dynamic_ncols=True,
        smoothing=0.1,
        unit_scale=unit in ("view", "crop"),
    )


def note(message: str) -> None:
    """Say something on stderr, above the bar if there is one."""
    tqdm.write(printable(message), file=sys.stderr)


def printable(text: str) -> str:
    """Return text in one line, control characters escaped: file names may hold any."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
