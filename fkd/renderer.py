"""A pool of threads that decodes images and renders their views straight into batch buffers.

Decoding and resizing run outside Python's lock, so threads scale like processes here, without
pickling, copies through shared memory or a start-up per worker.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from fkd.config import Interpolation
from fkd.crops import Boxes, Flips, empty_views, render

# Batches that wait, rendered or being rendered, behind the one in use.
_AHEAD = 2


@dataclass
class RenderedBatch:
    """A batch of views, uint8 [B, 3, S, S], and the work that still fills it."""

    views: Tensor
    pending: list["Future[None]"] = field(default_factory=list, kw_only=True)


Batch = TypeVar("Batch", bound=RenderedBatch)


def ahead(batches: Iterator[Batch]) -> Iterator[Batch]:
    """Yield batches once they are filled, while the next ones are being rendered.

    Taking a batch from `batches` submits its work, so the length of the queue bounds the memory.
    """
    queue: deque[Batch] = deque()
    for batch in batches:
        queue.append(batch)
        if len(queue) > _AHEAD:
            yield _filled(queue.popleft())
    while queue:
        yield _filled(queue.popleft())


def _filled(batch: Batch) -> Batch:
    for future in batch.pending:
        future.result()
    batch.pending.clear()
    return batch


class Renderer:
    """The threads, the size and the resampling of one run; use it in a `with` block."""

    def __init__(self, size: int, interpolation: Interpolation, workers: int, *, pin: bool) -> None:
        """Render square views of side `size`; `pin` puts batches in page-locked memory for CUDA."""
        self.size = size
        self.interpolation = interpolation
        self.workers = workers
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="fkd-render")
        self._pin = pin

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def buffer(self, count: int) -> Tensor:
        """Return an uninitialised uint8 [count, 3, S, S] in channels-last memory."""
        views = empty_views(count, self.size)
        return views.pin_memory() if self._pin else views

    def render_views(self, pixels: Tensor, boxes: Boxes, flips: Flips, out: Tensor) -> None:
        """Render views of a decoded image, boxes [n, 4] and flips [n], into `out` [n, 3, S, S]."""
        for box, flip, row in zip(boxes, flips, out, strict=True):
            render(pixels, box, bool(flip), row, self.interpolation)
