"""Where the time of a run goes: what its main thread does, what its threads take, what the device has."""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar
from unittest.mock import patch

import torch

from fkd.labelling import teacher_batches
from fkd.machine import Download
from fkd.teachers import Ensemble
from fkd.views import render_table

from .spent import Spent

P = ParamSpec("P")
T = TypeVar("T")

Work = Literal["network", "rendering"]
Mark = torch.Event | float  # what the device has reached or, of a CPU, when

_DECODERS = "fkd-render"  # how the threads of a `RenderPool` are named


@dataclass(frozen=True)
class Reading:
    """What all clocks say at one moment, in seconds, and how many views and spans there were."""

    views: int
    wall: float
    main: float
    decoders: float
    process: float
    no_batch: float
    device_behind: float
    num_spans: int


class Clocks:
    """Clocks of the thread that makes them, of the threads that decode, and of a device.

    On CUDA events stand before and after what the device is asked for. The time between two of them is
    the device's, in which it may have waited for the next operation.
    """

    def __init__(self, device: torch.device) -> None:
        """Start them."""
        self._device, self._thread, self._fetching = device, threading.get_ident(), False
        self._no_batch = self._device_behind = 0.0
        self._spans: list[tuple[Work, Mark, Mark]] = []

    def read(self, views: int) -> Reading:
        """Read all of them, after so many `views`."""
        return Reading(
            views, time.perf_counter(), time.thread_time(), _cpu_of_decoders(), time.process_time(),
            self._no_batch, self._device_behind, len(self._spans),
        )  # fmt: skip

    def between(self, first: Reading, last: Reading) -> Spent:
        """Return what was spent between two readings; waits for the device."""
        on_device: dict[Work, float] = {"network": 0.0, "rendering": 0.0}
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        for work, begun, ended in self._spans[first.num_spans : last.num_spans]:
            on_device[work] += _seconds(begun, ended)
        main, decoders = last.main - first.main, last.decoders - first.decoders
        return Spent(
            last.views - first.views, last.wall - first.wall, main, decoders,
            max(0.0, last.process - first.process - main - decoders),
            last.no_batch - first.no_batch, last.device_behind - first.device_behind,
            **on_device,
        )  # fmt: skip

    def batches(self, given: Iterator[T]) -> Iterator[T]:
        """Yield what is given; there is no batch while other threads are waited for here."""
        while True:
            self._fetching = True
            try:
                batch = next(given)
            except StopIteration:
                return
            finally:
                self._fetching = False
            yield batch

    def _for_threads(self, wait: Callable[P, T]) -> Callable[P, T]:
        """Return what waits for threads, timed where that is for a batch."""

        def count(seconds: float) -> None:
            if self._fetching and threading.get_ident() == self._thread:
                self._no_batch += seconds

        return _timed(wait, count)

    def _for_device(self, wait: Callable[P, T]) -> Callable[P, T]:
        """Return what waits for the device, timed."""

        def count(seconds: float) -> None:
            self._device_behind += seconds

        return _timed(wait, count)

    def spanned(self, work: Work, ask: Callable[P, T]) -> Callable[P, T]:
        """Return what asks the device for `work`, with a mark before and one behind."""

        @wraps(ask)
        def asked(*args: P.args, **kwargs: P.kwargs) -> T:
            begun = self._mark()
            done = ask(*args, **kwargs)
            self._spans.append((work, begun, self._mark()))
            return done

        return asked

    def _mark(self) -> Mark:
        if self._device.type != "cuda":
            return time.perf_counter()
        mark: torch.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        mark.record(torch.cuda.current_stream(self._device))
        return mark

    @contextmanager
    def running(self) -> Iterator[None]:
        """Let there be clocks at what the device renders, and where it and threads are waited for."""
        with (
            _instead(render_table, self.spanned("rendering", render_table)),
            _instead(futures.wait, self._for_threads(futures.wait)),
            patch.object(futures.Future, "result", self._for_threads(futures.Future.result)),
            patch.object(Download, "wait", self._for_device(Download.wait)),
        ):
            yield

    @contextmanager
    def labelling(self) -> Iterator[None]:
        """Let `fkd label` have clocks at its batches and its teachers, too."""

        def batches(*args: Any, **more: Any) -> Iterator[Any]:
            return self.batches(teacher_batches(*args, **more))

        with (
            self.running(),
            _instead(teacher_batches, batches),
            patch.object(Ensemble, "say", self.spanned("network", Ensemble.say)),
        ):
            yield


def _seconds(begun: Mark, ended: Mark) -> float:
    if isinstance(begun, float) or isinstance(ended, float):
        assert isinstance(begun, float)
        assert isinstance(ended, float)
        return ended - begun
    return begun.elapsed_time(ended) / 1e3


def _timed(wait: Callable[P, T], count: Callable[[float], None]) -> Callable[P, T]:
    """Return what waits, which tells `count` how many seconds its thread had nothing to do."""

    @wraps(wait)
    def waited(*args: P.args, **kwargs: P.kwargs) -> T:
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            return wait(*args, **kwargs)
        finally:
            count(_beside(wall, cpu))

    return waited


def _beside(wall: float, cpu: float) -> float:
    """Return the seconds since `wall` in which this thread did not run, which has run for `cpu` then."""
    return max(0.0, (time.perf_counter() - wall) - (time.thread_time() - cpu))


def _cpu_of_decoders() -> float:
    """Return the seconds for which the threads that decode have run, 0 where a system cannot say."""
    if not hasattr(time, "pthread_getcpuclockid"):
        return 0.0
    threads = [t for t in threading.enumerate() if t.name.startswith(_DECODERS)]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(t.ident)) for t in threads if t.ident)


@contextmanager
def _instead(original: Callable[..., Any], by: Callable[..., Any]) -> Iterator[None]:
    """Let all modules of fkd that have a function under its name have another one."""
    name = original.__name__
    modules = [
        module
        for path, module in sys.modules.items()
        if path.startswith("fkd.") and vars(module).get(name) is original
    ]
    with ExitStack() as kept:
        for module in modules:
            kept.enter_context(patch.object(module, name, by))
        yield
