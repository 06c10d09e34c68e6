"""Batches come finished and in order, and only a few are under way behind the one in use."""

import pytest

from fkd.views import Pending, RenderPool, ahead


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
