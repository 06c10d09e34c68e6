"""Checks in two lanes: one that times nothing may run beside others, in a process of its own."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import SimpleQueue

from .findings import Check, Setting
from .runner import Child, Outcome, one_after_another

Said = (
    tuple[int, Outcome] | BaseException | None
)  # of a check, of a lane that failed, or at its end


def carried_out(
    script: Path, checks: Sequence[Check], chosen: Sequence[int], setting: Setting
) -> Iterator[tuple[Check, Outcome]]:
    """Yield every chosen check with its outcome, as it ends.

    Those that may run beside others begin when it is their turn, and have ended before anything is timed.
    `script` is started with `--checks`, and calls `run_checks`.
    """
    for part in parts(checks, chosen):
        for number, outcome in _together(script, checks, part, setting):
            yield checks[number], outcome


def parts(checks: Sequence[Check], chosen: Sequence[int]) -> list[list[int]]:
    """Cut what is chosen where something is timed after checks that run beside others."""
    found: list[list[int]] = [[]]
    for number in chosen:
        if checks[number].timed and any(checks[before].beside for before in found[-1]):
            found.append([])
        found[-1].append(number)
    return found


def _together(
    script: Path, checks: Sequence[Check], part: Sequence[int], setting: Setting
) -> Iterator[tuple[int, Outcome]]:
    """Carry out checks in the lanes that they need; the second begins when all before its first ended."""
    numbers = [[n for n in part if checks[n].beside is beside] for beside in (False, True)]
    if not all(numbers):
        yield from one_after_another(script, checks, part, setting)
        return
    said: SimpleQueue[Said] = SimpleQueue()
    first, second = (_Lane(script, checks, each, setting, said) for each in numbers)
    before = set(part[: part.index(numbers[1][0])])
    waiting, running = [first, second], 0
    try:
        while waiting or running:
            while waiting and (waiting[0] is first or not before):
                waiting.pop(0).start()
                running += 1
            ended = said.get()
            if isinstance(ended, BaseException):
                raise ended
            if ended is None:
                running -= 1
                continue
            before.discard(ended[0])
            yield ended
    finally:
        first.end()
        second.end()


class _Lane:
    """Checks one after another, in a thread that puts into `said` how each of them ended."""

    def __init__(
        self,
        script: Path,
        checks: Sequence[Check],
        numbers: Sequence[int],
        setting: Setting,
        said: "SimpleQueue[Said]",
    ) -> None:
        self._asked = script, checks, numbers, setting
        self._said, self._over = said, False
        self._children: set[Child] = set()

    def start(self) -> None:
        """Begin."""
        threading.Thread(target=self._run, daemon=True).start()

    def end(self) -> None:
        """End what is at work, and begin with nothing more."""
        self._over = True
        for child in list(self._children):
            child.end()

    def _run(self) -> None:
        try:
            for ended in one_after_another(*self._asked, self._children):
                if self._over:
                    return
                self._said.put(ended)
            self._said.put(None)
        except BaseException as error:
            self._said.put(error)
