"""Work that threads do ahead, and whose results come in order."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_threads(
    work: Callable[[Item], Result], items: Iterable[Item], workers: int
) -> Iterator[Result]:
    """Yield the result for each item, in order, with a few items a thread under way."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="fkd-pack")
    try:
        todo = iter(items)
        under_way: deque[Future[Result]] = deque(
            pool.submit(work, item) for item in islice(todo, 4 * workers)
        )
        while under_way:
            result = under_way.popleft().result()
            under_way.extend(pool.submit(work, item) for item in islice(todo, 1))
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
