"""Batches come finished and in order, and only a few are under way behind the one in use."""

import os
import sys

import numpy as np
import pytest
import torch

from fkd.config import ViewPolicy
from fkd.views import (
    Pending,
    RenderPool,
    ahead,
    empty_views,
    render,
    render_views,
    sample_views,
    without_lock,
)


def submitted(pool, begun, count, work=lambda: None):
    for number in range(count):
        begun.append(number)
        yield Pending([pool.submit(work) for _ in range(2)], lambda number=number: number)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 6])
def test_two_batches_are_under_way_behind_the_one_in_use(count):
    begun = []
    with RenderPool(2) as pool:
        for number in ahead(submitted(pool, begun, count)):
            assert begun == list(range(min(count, number + 3)))
    assert begun == list(range(count))


def test_an_error_in_a_thread_is_raised_where_the_batch_is_taken():
    def fail():
        raise OSError("no disk")

    with RenderPool(2) as pool, pytest.raises(OSError, match="no disk"):
        next(ahead(submitted(pool, [], 3, fail)))


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_the_crops_of_an_image_are_one_call_and_the_same_pixels(interpolation):
    """A call for each crop would ask for Python's lock each time."""
    rng = np.random.default_rng(0)
    image = torch.from_numpy(rng.integers(0, 256, (70, 90, 3), dtype=np.uint8)).permute(2, 0, 1)
    boxes, flips = sample_views(ViewPolicy(), 0, 30, 70, 90)
    assert set(flips) == {True, False}
    calls: list[object] = []
    numbers = []
    for count in (3, 30):
        views, expected = (empty_views(count, (24, 40)) for _ in range(2))
        for n in range(count):
            render(image, boxes[n], bool(flips[n]), expected[n], interpolation)
        rows = list(views)
        render_views(image, boxes[:count], flips[:count], rows, interpolation)  # it is compiled
        views.zero_()
        calls.clear()
        sys.setprofile(lambda _, event, what: calls.append(what) if event == "c_call" else None)
        try:
            render_views(image, boxes[:count], flips[:count], rows, interpolation)
        finally:
            sys.setprofile(None)
        numbers.append(len(calls))
        assert torch.equal(views, expected)
    assert numbers[0] == numbers[1]


def test_a_torch_without_torchscript_renders_the_same(monkeypatch):
    def gone(_):
        raise RuntimeError("TorchScript is no more")

    image = torch.randint(0, 256, (3, 40, 50), dtype=torch.uint8)
    boxes, flips = sample_views(ViewPolicy(), 0, 6, 40, 50)
    compiled, interpreted = (empty_views(6, 16) for _ in range(2))
    render_views(image, boxes, flips, compiled, "bicubic")
    monkeypatch.setattr(torch.jit, "CompilationUnit", gone)
    without_lock._compiled.cache_clear()
    try:
        render_views(image, boxes, flips, interpreted, "bicubic")
    finally:
        without_lock._compiled.cache_clear()
    assert torch.equal(compiled, interpreted)


def test_a_forked_process_takes_none_of_torchscripts_locks(monkeypatch):
    """A thread of its parent may have held one, and is not there to give it back."""
    image, boxes = torch.zeros(3, 20, 20, dtype=torch.uint8), np.array([[0, 0, 6, 4]], np.uint16)

    def locked():
        os._exit(1)

    child = os.fork()
    if child == 0:
        monkeypatch.setattr(without_lock, "_compiled", locked)
        try:
            render_views(image, boxes, np.array([True]), empty_views(1, 8), "bilinear")
        finally:
            os._exit(0 if sys.exc_info()[0] is None else 1)
    assert os.waitpid(child, 0)[1] == 0


def test_a_box_outside_its_image_is_not_rendered():
    image, boxes = torch.zeros(3, 20, 20, dtype=torch.uint8), np.array([[15, 0, 6, 4]], np.uint16)
    with pytest.raises(RuntimeError, match="exceeds"):
        render_views(image, boxes, np.array([False]), empty_views(1, 8), "bilinear")
    with pytest.raises(ValueError, match="1 boxes and 1 flips for 2 views"):
        render_views(image, boxes, np.array([False]), empty_views(2, 8), "bilinear")
