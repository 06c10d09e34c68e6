"""What a run on a GPU says of its time: who waited for whom, and what held it back."""

import time
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

    def batches():
        for _ in range(3):
            time.sleep(0.03)
            yield torch.ones(4)

    clocks = Clocks(torch.device("cpu"))
    first = clocks.read(0)
    seen = [clocks.wait(Download(ones=batch))["ones"] for batch in clocks.batches(batches())]
    clocks.spanned("network", time.sleep)(0.03)
    spent = clocks.between(first, clocks.read(12))
    assert len(seen) == 3
    assert (spent.views, spent.rendering) == (12, 0.0)
    assert 0.09 <= spent.no_batch <= spent.seconds - 0.03
    assert 0.03 <= spent.network <= spent.seconds - spent.no_batch
    assert spent.main < 0.5 * spent.seconds
