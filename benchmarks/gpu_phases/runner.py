"""Checks in a process of their own, one after another, and what becomes of one that hangs or crashes."""

import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch

from fkd import TeacherChoice

from .findings import Check, Setting
from .record import NO_TIME, TOO_LONG

GRACE = 5.0  # seconds that a check may take beyond its bound, to end by itself

Outcome = tuple[list[dict[str, Any]], float, str]  # rows, seconds, what went wrong


def one_after_another(
    script: Path,
    checks: Sequence[Check],
    chosen: Sequence[int],
    setting: Setting,
    children: "set[Child] | None" = None,
) -> Iterator[tuple[int, Outcome]]:
    """Yield the number of every chosen check with its outcome.

    Where one hangs or dies, a new process goes on. `script` is started with `--checks`, and calls
    `run_checks`. The process at work is among `children`.
    """
    children = set() if children is None else children
    left = list(chosen)
    while left and setting.left > 5:
        child = Child(script, left, setting)
        children.add(child)
        try:
            for number in list(left):
                outcome = child.wait_for(number, _bound(checks[number], setting))
                left.remove(number)
                yield number, outcome
                if child.ended or setting.left < 5:
                    break
        finally:
            child.end()
            children.discard(child)
    for number in left:
        yield number, ([], 0.0, NO_TIME)


class Child:
    """A process that runs checks in turn; `events` is the file that it writes what it finds into."""

    def __init__(self, script: Path, numbers: Sequence[int], setting: Setting) -> None:
        """Start it."""
        self.events = setting.folder / f"events-{numbers[0]}.jsonl"
        self.log = setting.folder / f"log-{numbers[0]}.txt"
        self.setting = setting
        asked = setting.folder / f"asked-{numbers[0]}.json"
        content = {**asdict(setting), "numbers": list(numbers)}
        asked.write_text(json.dumps(content, default=str), "utf-8")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [sys.executable, script, "--checks", asked, self.events],
                stdout=log,
                stderr=log,
                start_new_session=True,  # what it starts ends with it
                env=os.environ | ({"OMP_NUM_THREADS": "1"} if setting.tiny else {}),
            )

    @property
    def ended(self) -> bool:
        """Whether it is no longer there."""
        return self.process.poll() is not None

    def end(self) -> None:
        """End it and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def wait_for(self, number: int, bound: float) -> Outcome:
        """Return the outcome of a check once it has ended, or has taken far more than its `bound`."""
        began = time.time()
        while True:
            over = self.ended
            events = self._events(number)
            begun = next((e["begin"] for e in events if "begin" in e), None)
            ended = next((e for e in events if "end" in e), None)
            rows = [e["row"] for e in events if "row" in e]
            if ended is not None:
                return rows, ended["end"], ended["trouble"]
            spent = time.time() - (begun or began)
            if over or (begun is not None and spent > bound + GRACE) or self.setting.left < 0:
                self.end()
                lines = self.log.read_text(errors="replace").strip().splitlines() or ["no word"]
                why = f"the process ended by itself ({lines[-1][-300:]})" if over else TOO_LONG
                return rows, spent, why
            time.sleep(0.1)

    def _events(self, number: int) -> list[dict[str, Any]]:
        if not self.events.exists():
            return []
        lines = self.events.read_text("utf-8").split("\n")[:-1]
        return [event for event in map(json.loads, lines) if event["check"] == number]


def run_checks(checks: Sequence[Check], asked: Path, events: Path) -> None:
    """Run checks in turn: the process that `carried_out` starts."""
    content = json.loads(asked.read_text("utf-8"))
    numbers = content.pop("numbers")
    known = content.pop("teacher")
    choice = None if known is None else TeacherChoice(**_typed(known))
    setting = Setting(**_typed(content), teacher=choice)

    def say(number: int, **event: Any) -> None:
        with events.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"check": number, **event}) + "\n")

    for number in numbers:
        check, began, trouble = checks[number], time.time(), ""
        say(number, begin=began)
        ends = min(setting.ends, began + _bound(check, setting))
        try:
            for finding in check.run(replace(setting, ends=ends)):
                say(number, row=asdict(finding))
        except BaseException as error:
            traceback.print_exc()
            trouble = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0][:400]}"
        gc.collect()
        if setting.on_cuda:
            torch.cuda.empty_cache()
        say(number, end=time.time() - began, trouble=trouble)


def _typed(content: dict[str, Any]) -> dict[str, Any]:
    """Give paths and tuples back what JSON took from them."""
    paths = {
        name: Path(content[name])
        for name in ("folder", "images", "classes_file")
        if content.get(name)
    }
    tuples = {name: tuple(content[name]) for name in ("mean", "std") if content.get(name)}
    return content | paths | tuples


def _bound(check: Check, setting: Setting) -> float:
    """Return the seconds that a check may take; a rehearsal measures nothing, and may share its cores."""
    return 3 * check.bound if setting.tiny else check.bound
