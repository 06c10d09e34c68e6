"""What a run on a GPU says of its time: who waited for whom, and what held it back."""

import time
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(autouse=True)
def phases(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))


@pytest.mark.parametrize(
    ("changes", "ratio", "who"),
    [
        ({}, 0.97, "nothing"),
        ({"main": 0.6}, 0.5, "the main thread's work"),
        ({"no_batch": 0.5}, 0.5, "the threads that decode"),
        ({}, 0.5, "the main thread, held up"),
        ({"device_behind": 0.8, "rendering": 0.4, "network": 0.55}, 0.5, "the device: rendering"),
        ({"device_behind": 0.8, "network": 0.9}, 0.5, "the device: a slower network"),
        ({"device_behind": 0.8, "network": 0.55}, 0.5, "the device: all else"),
    ],
)
def test_what_held_a_run_back_is_where_most_of_its_time_went(changes, ratio, who):
    from gpu_phases.spent import Spent

    spent = replace(Spent(1000, 1.0, 0.1, 0.5, 0.0, 0.05, 0.05, 0.5, 0.1), **changes)
    assert spent.held_back_by(ratio) == who
    assert (spent + spent).held_back_by(ratio) == who
    shares = ("main thread works", "waits for a batch", "waits for the device", "is held up")
    assert sum(int(spent.figures()[name][:-1]) for name in shares) == 100
    assert spent.figures()["µs of decoders"] == 500


def test_clocks_tell_waiting_from_working():
    """A batch that is slept for, and a device that is waited for, is no work of the main thread."""
    from gpu_phases.clocks import Clocks

    from fkd.machine import Download

    def batches(pool):
        for _ in range(3):
            pool.submit(time.sleep, 0.03).result()
            yield torch.ones(4)

    clocks = Clocks(torch.device("cpu"))
    with ThreadPoolExecutor(1) as pool, clocks.running():
        first = clocks.read(0)
        seen = [Download(ones=batch).wait()["ones"] for batch in clocks.batches(batches(pool))]
        clocks.spanned("network", time.sleep)(0.03)
        pool.submit(time.sleep, 0.03).result()  # for no batch
        spent = clocks.between(first, clocks.read(12))
    assert len(seen) == 3
    assert (spent.views, spent.rendering) == (12, 0.0)
    assert 0.085 <= spent.no_batch <= spent.seconds - 0.055
    assert spent.held_up >= 0.05
    assert 0.03 <= spent.network <= spent.seconds - spent.no_batch
    assert spent.main < 0.5 * spent.seconds


class Event:
    """An event of a device that does all at once when it is asked."""

    def __init__(self, enable_timing=False):
        assert enable_timing

    def record(self, stream=None):
        self.at = time.perf_counter()

    def synchronize(self):
        pass

    def elapsed_time(self, other):
        return 1e3 * (other.at - self.at)


@pytest.fixture
def gpu(monkeypatch):
    """As much of a GPU as clocks ask for."""
    monkeypatch.setattr(torch.cuda, "Event", Event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device=None: None)
    for name in ("synchronize", "_sleep"):
        monkeypatch.setattr(torch.cuda, name, lambda *_: None)
    return torch.device("cuda")


def test_a_device_is_timed_by_its_own_events(gpu):
    from gpu_phases.clocks import Clocks

    clocks = Clocks(gpu)
    render = clocks.spanned("rendering", time.sleep)
    render(0.02)
    first = clocks.read(0)
    render(0.02)
    clocks.spanned("network", time.sleep)(0.04)
    spent = clocks.between(first, clocks.read(1))
    assert 0.02 <= spent.rendering <= spent.seconds - 0.04
    assert 0.04 <= spent.network <= spent.seconds - 0.02


def test_what_renders_is_timed_behind_what_the_device_has(gpu, tmp_path):
    from gpu_phases.findings import Setting
    from gpu_phases.kernels import ROUNDS, _milliseconds

    asked = []

    def ask():
        asked.append(time.sleep(0.01))

    setting = Setting(tmp_path, "cuda", False, time.time() + 10)
    setting.__dict__["device"] = gpu
    ours, in_milliseconds = _milliseconds(setting, ask)
    assert len(asked) == 1 + ROUNDS
    assert ours >= 10
    assert 10 <= in_milliseconds <= ours


def test_waits_are_noted_by_the_line_that_waits(gpu, tmp_path, monkeypatch):
    """Warnings of another kind are none."""
    from gpu_phases.findings import Setting
    from gpu_phases.waiting import in_words, noted_waits

    modes = []
    monkeypatch.setattr(torch.cuda, "set_sync_debug_mode", modes.append)
    setting = Setting(tmp_path, "cuda", False, time.time() + 10)
    setting.__dict__["device"] = gpu
    with noted_waits(setting) as places:
        for _ in range(2):
            warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
        warnings.warn("some other word", stacklevel=1)
    assert modes == ["warn", "default"]
    assert list(places.values()) == [2]
    assert in_words(places).startswith("benchmarks/test_gpu_clocks.py:")
    assert in_words(places - places) == "none"
