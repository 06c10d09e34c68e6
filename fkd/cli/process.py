"""What a command asks of its process: an answer to each signal, and streams that cannot fail it."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TextIO, cast

import click

from fkd.errors import FkdError
from fkd.progress import forgiving, note_at_once

_BLOCKS = " Finished blocks are kept; the same command, without --overwrite, goes on where it was."
_GO_ON = {
    **dict.fromkeys(("copy", "merge", "average"), _BLOCKS),
    "label": " Finished blocks, of --block images each, are kept; the same command goes on behind them.",
    "pack": " Finished images are kept; the same command, without --overwrite, goes on where it was.",
    "train": " A run folder keeps its checkpoints so far; --resume goes on from the last.",
}

# Where a context keeps that its command is asked for a dry run.
_DRY_RUN = "fkd.dry_run"


def note_dry_run(ctx: click.Context, _: click.Parameter, asked: bool) -> bool:
    """Remember of `--dry-run`, as the callback of the option, that what is stopped keeps nothing."""
    ctx.meta[_DRY_RUN] = asked
    return asked


class Stopping:
    """Answers Ctrl-C and SIGTERM at once: the first interrupts the command, the second ends the process.

    `asked` says whether one has come. The second leaves no time to Python: a library in the middle of a
    file, or a thread that is waited for, would answer with a traceback. What counts is on disk by then.
    """

    def __init__(self, ctx: click.Context) -> None:
        """Answer from now on, for the command of a group's context."""
        self.asked = False
        self._ctx = ctx
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self)

    def __call__(self, number: int, _: FrameType | None) -> None:
        """Handle a signal."""
        # Training takes the first signal itself, and passes on the second.
        passed_on = signal.getsignal(number) is not self
        if self.asked or passed_on:
            note_at_once(self.words("was stopped at once"))
            os._exit(130)
        self.asked = True
        sys.unraisablehook = lambda _: None  # an interrupt inside a finalizer is no news
        note_at_once(f"fkd: stopping {self._ctx.invoked_subcommand}; again to stop at once")
        raise KeyboardInterrupt

    def words(self, what: str = "was stopped") -> str:
        """Say how the command ended, and how it goes on."""
        command = self._ctx.invoked_subcommand or ""
        dry = self._ctx.meta.get(_DRY_RUN, False)
        kept = " A dry run keeps nothing." if dry else _GO_ON.get(command, "")
        return f"fkd: {command} {what}.{kept}"


def guard_streams() -> None:
    """Keep the numbers of streams that are closed, and let none fail but with an error of one line.

    The next file to be opened would get such a number, and whatever a library says be written into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    if sys.stderr is not None:
        sys.stderr = forgiving(sys.stderr)
    if sys.stdout is not None and not isinstance(sys.stdout, _Results):
        sys.stdout = cast("TextIO", _Results(sys.stdout))


class _Results:
    """Stdout: what cannot be written is an error that its user can mend, once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._lost = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        if self._lost or text == "":  # click asks with nothing what may be written
            return len(text)
        with self._failing():
            return self._stream.write(text)

    def flush(self) -> None:
        if not self._lost:
            with self._failing():
                self._stream.flush()

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except BrokenPipeError:  # `| head` has read enough, which click ends silently
            raise
        except OSError as error:
            self._lost = True
            raise FkdError(
                f"stdout cannot be written ({error.strerror}); send it to a place with room"
            ) from error
