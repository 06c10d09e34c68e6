"""Stop at a good moment: a signal is remembered until the work is safe on disk."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether SIGTERM or Ctrl-C has come: `number` is the signal, 0 for none."""

    def __init__(self) -> None:
        """Begin with no request."""
        self.number = 0
        self._at_once = False

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

    def _remember(self, number: int, _: FrameType | None) -> None:
        asked_before, self.number = self.number, number
        if asked_before or self._at_once:
            raise KeyboardInterrupt


@contextmanager
def remembered_signals() -> Iterator[StopRequest]:
    """Remember SIGTERM and SIGINT instead of dying of them; a second one interrupts at once.

    Only the main thread of a process can do so; in others nothing changes.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, request._remember) for number in numbers}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
