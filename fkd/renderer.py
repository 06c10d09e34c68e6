"""A pool of threads that decodes images and renders their views straight into batch buffers.

Decoding and resizing run outside Python's lock, so threads scale like processes here, without
pickling, copies through shared memory or a start-up per worker.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from fkd.config import Interpolation
from fkd.crops import Boxes, Flips, empty_views, render

# Batches that wait, rendered or being rendered, behind the one in use.
_AHEAD = 2


@dataclass
class RenderedBatch:
    """The work that still fills a batch of views."""

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
    # Waiting for one after another would wake this thread, and stop a worker, once an image.
    wait(batch.pending, return_when=FIRST_EXCEPTION)
    for future in batch.pending:
        future.result()
    batch.pending.clear()
    return batch


class Renderer:
    """The threads of one run; use it in a `with` block."""

    def __init__(self, workers: int, *, pin: bool) -> None:
        """Start `workers` threads; `pin` puts batches in page-locked memory for CUDA."""
        self.workers = workers
        self.pool = ThreadPoolExecutor(workers, thread_name_prefix="fkd-render")
        self._pin = pin

    def __enter__(self) -> "Renderer":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(wait=True, cancel_futures=True)

    def share_out(self, count: int) -> list[range]:
        """Cut a batch's images into a few runs per worker: handing over each image would cost more."""
        parts = min(count, 4 * self.workers)
        return [range(count * n // parts, count * (n + 1) // parts) for n in range(parts)]

    def buffer(self, count: int, size: int) -> Tensor:
        """Return an uninitialised uint8 [count, 3, size, size] in channels-last memory."""
        return empty_views(count, size, pin=self._pin)


def render_views(
    pixels: Tensor, boxes: Boxes, flips: Flips, out: Tensor, interpolation: Interpolation
) -> None:
    """Render views of a decoded image, boxes [n, 4] and flips [n], into `out` [n, 3, S, S]."""
    for box, flip, row in zip(boxes, flips, out, strict=True):
        render(pixels, box, bool(flip), row, interpolation)
