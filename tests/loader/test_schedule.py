"""Epochs, passes and steps add up, and every crop is used once before any is used twice."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkd.loader import Schedule
from fkd.training import learning_rate


def views(schedule):
    return [
        (int(image), int(crop))
        for parts in schedule.batches()
        for pass_index, positions in parts
        for image in positions
        for crop in schedule.crop_slots(pass_index)
    ]


@given(st.integers(1, 40), st.integers(1, 9), st.data(), st.integers(1, 30), st.floats(0.1, 12))
def test_the_budget_is_exact_and_no_crop_comes_early(n, num_crops, data, images, epochs):
    m = data.draw(st.integers(1, num_crops))
    schedule = Schedule(n, num_crops, m, images * m, epochs, seed=1)
    seen = views(schedule)
    assert schedule.total_steps == max(1, round(epochs * n / (images * m)))
    assert len(seen) == schedule.total_steps * images * m
    counts = Counter(seen)
    per_image = [[counts[i, c] for c in range(num_crops)] for i in range(n)]
    assert all(max(row) - min(row) <= 1 for row in per_image)
    visits = [sum(row) // m for row in per_image]
    assert max(visits) - min(visits) <= 1


def test_each_batch_takes_its_images_across_passes():
    schedule = Schedule(5, 4, 2, 16, epochs=8, seed=0)
    for parts in schedule.batches():
        assert sum(len(positions) for _, positions in parts) == 8
        for _, positions in parts:
            assert len(set(positions.tolist())) == len(positions)


@given(st.integers(1, 20), st.integers(1, 3), st.integers(1, 30), st.integers(1, 4), st.data())
def test_a_step_takes_the_same_images_from_any_start_on_any_number_of_ranks(
    n, m, images, num_ranks, data
):
    schedule = Schedule(n, 4, m, images * m, epochs=9, seed=2)
    whole = [taken(parts) for parts in schedule.batches()]
    first_step = data.draw(st.integers(0, schedule.total_steps))
    assert [taken(parts) for parts in schedule.batches(first_step)] == whole[first_step:]
    ranks = [
        [taken(parts) for parts in schedule.batches(first_step, rank, num_ranks)]
        for rank in range(num_ranks)
    ]
    for step, shares in enumerate(zip(*ranks, strict=True), first_step):
        sizes = [len(share) for share in shares]
        assert max(sizes) - min(sizes) <= 1
        dealt = [share[row] for row in range(max(sizes)) for share in shares if row < len(share)]
        assert dealt == whole[step]


def taken(parts):
    """One step's visits, (pass, image) in order."""
    return [(pass_index, int(image)) for pass_index, positions in parts for image in positions]


def test_crop_slots_wrap_when_m_does_not_divide_the_stored_crops():
    schedule = Schedule(1, 5, 2, 2, epochs=10, seed=0)
    slots = [schedule.crop_slots(p).tolist() for p in range(5)]
    assert slots == [[0, 1], [2, 3], [4, 0], [1, 2], [3, 4]]


def test_order_depends_on_seed_and_pass_alone():
    one, other = (Schedule(100, 8, 4, b, e, seed=3) for b, e in ((40, 1), (8, 90)))
    assert np.array_equal(one.visit_order(7), other.visit_order(7))
    assert not np.array_equal(one.visit_order(7), one.visit_order(8))
    moved = Schedule(100, 8, 4, 40, 1, seed=4)
    assert not np.array_equal(one.visit_order(7), moved.visit_order(7))
    assert sorted(one.visit_order(7).tolist()) == list(range(100))


@pytest.mark.parametrize("epochs", [1, 4, 300])
def test_epochs_count_views(epochs):
    schedule = Schedule(1000, 200, 4, 100, epochs, seed=0)
    assert schedule.epoch_at(schedule.total_steps) == epochs
    assert schedule.step_at(epochs) == schedule.total_steps


def test_learning_rate_rises_then_falls_to_nearly_zero():
    rates = [learning_rate(s, peak=0.4, total_steps=100, warmup_steps=10) for s in range(100)]
    assert rates[0] == pytest.approx(0.04)
    assert rates[9] == pytest.approx(0.4)
    assert max(rates) == rates[9] == rates[10]
    assert all(a > b for a, b in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.4 * 1e-3
