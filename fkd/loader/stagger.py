"""An image's m crops go to m batches, some steps apart: what is decoded once need not be learned at once.

Crops of one image are alike. A batch of B views in which m of each image stand together holds B / m
different images: its gradient is noisier, and batch norm sees less. Here what is decoded for a step,
B views, is dealt in turn to m shares, and share c is trained on c · apart steps later. A batch so holds
B different images, decoding stays what it was, and each view comes once.

The last steps leave shares for which no step is left. The first steps take them: a run begins with the
images of its last steps, so every batch is whole. Which views a step takes is a function of the schedule
alone, and a run may be continued from any step.
"""

from collections import deque
from collections.abc import Callable, Iterator
from typing import TypeVar

from fkd.loader.schedule import Schedule

T = TypeVar("T")
U = TypeVar("U")


def decoded_steps(
    schedule: Schedule, first_step: int, steps_from: Callable[[int], Iterator[T]]
) -> Iterator[T]:
    """Yield what is decoded for the steps from `first_step` on, beginning with what earlier steps left.

    `steps_from` yields the steps of the schedule from a step to the last.
    """
    begin = first_step - schedule.reach
    if begin < 0:
        yield from steps_from(schedule.total_steps + begin)
    yield from steps_from(max(0, begin))


def dealt(decoded: Iterator[T], schedule: Schedule, join: Callable[[list[T]], U]) -> Iterator[U]:
    """Deal what is decoded, step by step, and yield the batches to train on.

    `join` is given m decoded batches. It makes a batch of share 0 of the first, share 1 of the second, ….
    """
    waiting: deque[T] = deque(maxlen=schedule.reach + 1)
    for batch in decoded:
        waiting.append(batch)
        if len(waiting) == schedule.reach + 1:
            yield join([waiting[-1 - c * schedule.apart] for c in range(schedule.crops_per_image)])
