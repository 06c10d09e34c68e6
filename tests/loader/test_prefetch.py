"""What a pass reads, whole slabs ahead of time, is what the store holds for its crops."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fkd.loader import Schedule, prefetch


class CountingPool(ThreadPoolExecutor):
    """Threads that remember which crops were asked of the store."""

    def __init__(self):
        super().__init__(1)
        self.asked = []

    def submit(self, function, slots):
        self.asked.append(slots)
        return super().submit(function, slots)


@pytest.mark.parametrize("m", [1, 2, 4, 5, 6])
@pytest.mark.parametrize("crops_at_once", [1, 80, 200, 2**18])
def test_rows_are_those_of_the_store(shared_store, monkeypatch, m, crops_at_once):
    """The store has 18 images of 6 crops; slabs hold one pass, two, five, or everything."""
    monkeypatch.setattr(prefetch, "_CROPS_AT_ONCE", crops_at_once)
    schedule = Schedule(18, 6, m, m, epochs=40, seed=0)
    rng = np.random.default_rng(0)
    with CountingPool() as pool:
        slabs = prefetch.SlabPrefetcher(pool, shared_store, schedule)
        for pass_index in range(20):
            images = rng.permutation(18)[: rng.integers(1, 19)]
            rows = slabs.rows(pass_index, images)
            expected = shared_store.read_crops(schedule.crop_slots(pass_index).tolist())
            assert np.array_equal(rows.box, expected.box[images])
            assert np.array_equal(rows.flip, expected.flip[images])
            assert np.array_equal(rows.size, expected.size[images])
            assert np.array_equal(rows.target, expected.target[images])
            for name, values in rows.kept.items():
                assert np.array_equal(values, expected.kept[name][images])
    if crops_at_once == 2**18:
        assert pool.asked == [tuple(range(6))]
    if crops_at_once == 1:
        assert len(pool.asked) == (1 if m == 6 else 21)


def test_a_run_may_start_in_any_pass(shared_store, monkeypatch):
    monkeypatch.setattr(prefetch, "_CROPS_AT_ONCE", 1)
    schedule = Schedule(18, 6, 4, 4, epochs=90, seed=0)
    with ThreadPoolExecutor(1) as pool:
        rows = prefetch.SlabPrefetcher(pool, shared_store, schedule).rows(17, np.array([3]))
    assert np.array_equal(rows.box, shared_store.read_crops([2, 3, 4, 5]).box[[3]])
