"""Stop at a good moment: a signal is remembered until the work is safe on disk."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from fkd.progress import note_at_once


class StopRequest:
    """Whether SIGTERM or Ctrl-C has come: `number` is the signal, 0 for none.

    `doing` says in words what is at work, for the answer to a signal.
    """

    def __init__(self) -> None:
        """Begin with no request."""
        self.number = 0
        self.doing = "what is at work"
        self._at_once = False
        self._before: dict[int, Any] = {}

    @contextmanager
    def at_once(self, allowed: bool = True) -> Iterator[None]:
        """Let a signal interrupt what happens inside, because all is safe; so does one that has come."""
        if allowed and self.number:
            raise KeyboardInterrupt
        self._at_once = allowed
        try:
            yield
        finally:
            self._at_once = False

    def _remember(self, number: int, frame: FrameType | None) -> None:
        asked_before, self.number = self.number, number
        if asked_before:
            # Whoever listened before knows how to end at once.
            if callable(before := self._before.get(number)):
                before(number, frame)
            raise KeyboardInterrupt
        if self._at_once:
            note_at_once(f"fkd: leaving {self.doing}: all before it is saved")
            raise KeyboardInterrupt
        again = "Ctrl-C again stops" if number == signal.SIGINT else "a second SIGTERM stops"
        note_at_once(f"fkd: finishing {self.doing}, then saving; {again} at once")


@contextmanager
def remembered_signals() -> Iterator[StopRequest]:
    """Remember SIGTERM and SIGINT instead of dying of them, and say so at once.

    A second one interrupts: it goes to the handler that was there before, or is a `KeyboardInterrupt`.
    Only the main thread of a process can do so; in others nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    request._before = {int(number): signal.getsignal(number) for number in numbers}
    try:
        for number in numbers:
            signal.signal(number, request._remember)
        yield request
    finally:
        for before, handler in request._before.items():
            signal.signal(before, handler)
