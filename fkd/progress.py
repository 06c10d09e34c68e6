"""What long work says on stderr: a bar in a terminal, whole and sparse lines in a log file, and notes."""

import os
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NoReturn, TextIO, TypeVar, cast

from tqdm import tqdm

from fkd.amounts import as_duration, as_rate, plural

T = TypeVar("T")

_REDRAWN = 0.5  # seconds between two states of a bar
# A log file gets a line every half minute. From an hour on it gets one whenever a hundredth more time
# has passed, and one every ten minutes at least.
_LOGGED, _SHARE_LOGGED, _LOGGED_AT_LEAST = 30.0, 0.01, 600.0

_BAR = "{desc}: {percentage:3.0f}%|{bar}| {count} [{elapsed}<{remaining}, {speed}{postfix}]"


def progress(items: Iterable[T], what: str, *, unit: str, delay: float = 0) -> Iterable[T]:
    """Return `items` in a progress bar, which appears after `delay` seconds.

    Of the processes that torchrun started, the first shows it.
    """
    hidden = sys.stderr is None or not _leads()
    bar: Iterable[T] = _kind()(items, delay=delay, disable=hidden, **_appearance(what, unit))
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
    return _kind()(
        total=total,
        initial=initial,
        delay=delay,
        disable=disable or sys.stderr is None or (nested and not in_terminal()),
        leave=not nested,
        **_appearance(what, unit),
    )


def in_terminal() -> bool:
    """Say whether a person watches stderr, not a log file."""
    return sys.stderr is not None and sys.stderr.isatty()


class _Forgiving:
    """A text stream that drops what it cannot write."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __eq__(self, other: object) -> bool:
        return self._stream == getattr(other, "_stream", other)

    def __hash__(self) -> int:
        return hash(self._stream)

    def write(self, text: str) -> int:
        with suppress(OSError, ValueError):  # ValueError is of a stream that was closed
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError, ValueError):
            self._stream.flush()


def forgiving(stream: TextIO) -> TextIO:
    """Return a stream that drops what it cannot write: a log must not end the work of a week."""
    return stream if isinstance(stream, _Forgiving) else cast("TextIO", _Forgiving(stream))


def _leads() -> bool:
    """Say whether this process is alone, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _kind() -> "type[tqdm[Any]]":
    return _Bar if in_terminal() else _Lines


def _appearance(what: str, unit: str) -> dict[str, Any]:
    return {
        "file": None if sys.stderr is None else forgiving(sys.stderr),
        "desc": what,
        "unit": unit,
        "mininterval": _REDRAWN if in_terminal() else _LOGGED,
        "miniters": 0,  # look at the clock at every update: steps may be as long as an interval
        "dynamic_ncols": True,
        "smoothing": 0.1,
        "bar_format": _BAR,
    }


class _Bar(tqdm):  # type: ignore[misc]  # tqdm ships no types
    """A bar in a terminal, with numbers as all messages have them."""

    @property
    def format_dict(self) -> Any:
        state = super().format_dict
        done = max(self.n - self.initial, 0)
        rate = state["rate"] or (done / state["elapsed"] if state["elapsed"] else 0.0)
        total = "" if self.total is None else f"/{self.total:,.0f}"
        state["count"] = f"{self.n:,.0f}{total} {plural(self.unit)}"
        state["speed"] = as_rate(rate, self.unit) if rate else "…"
        return state


class _Lines(_Bar):
    """The same for a log file: a whole line now and then, and one at the end."""

    disable: bool

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Write a line, once there is something to tell."""
        if self.n > self.initial:
            state = self.format_dict
            spent = state["elapsed"]
            self.mininterval = min(max(_LOGGED, _SHARE_LOGGED * spent), _LOGGED_AT_LEAST)
            share = f" ({self.n / self.total:.0%})" if self.total else ""
            rate = (self.n - self.initial) / spent if spent else 0.0
            left = (self.total - self.n) / rate if self.total and rate else 0.0
            time = f"{as_duration(left)} left" if left else as_duration(spent)
            beside = f", {self.postfix}" if self.postfix else ""
            print(
                f"{self.desc}: {state['count']}{share}, {state['speed']}, {time}{beside}",
                file=self.fp,
                flush=True,
            )
        return True

    def clear(self, *args: Any, **kwargs: Any) -> None:
        """Leave a log file as it is."""

    def close(self) -> None:
        """Write the last line."""
        if self.disable:
            return
        shown = self.last_print_t > self.start_t or self.delay <= 0
        if self.leave and shown and self.n != self.last_print_n:
            self.display()
        self.disable = True
        self._decr_instances(self)


def note(message: str) -> None:
    """Say something on stderr, above the bar if there is one. What cannot be written is dropped."""
    if sys.stderr is None:
        return
    stream = forgiving(sys.stderr)
    if in_terminal():
        tqdm.write(printable(message), file=stream)
    else:
        stream.write(printable(message) + "\n")
        stream.flush()


def note_once(message: str) -> None:
    """Say what every process of a run would say alike: the first of those that torchrun started does."""
    if _leads():
        note(message)


def note_lines(lines: Sequence[tuple[str, str]]) -> None:
    """Say several things on stderr, each with its name in a column of its own.

    Of the processes that torchrun started, the first says it.
    """
    width = max((len(name) for name, _ in lines), default=0)
    for name, text in lines:
        note_once(f"{name:<{width}}  {text}")


def note_at_once(message: str) -> None:
    """Say something from a signal handler, which may have come in the middle of a line.

    It goes past Python's buffers, which are not to be entered twice, and below the bar.
    """
    if sys.stderr is None or not _leads():
        return
    line = ("\n" if in_terminal() else "") + printable(message) + "\n"
    with suppress(OSError, ValueError):
        os.write(sys.stderr.fileno(), line.encode(errors="backslashreplace"))


def printable(text: str) -> str:
    """Return text in one line, control characters escaped: file names may hold any."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
