"""A pool of threads that decodes images and renders their views straight into batch buffers.

Decoding and resizing run outside Python's lock, so threads scale like processes here, without
pickling, copies through shared memory or a start-up per worker.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import torch
from torch import Tensor

from fkd.config import Render, Size, sides_of, size_text
from fkd.errors import FkdError
from fkd.views.render_cpu import empty_views

# Batches that wait, rendered or being rendered, behind the one in use.
_AHEAD = 2


Batch = TypeVar("Batch")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Pending(Generic[Batch]):
    """A batch that threads are at work on: `finish` makes it once all `futures` are done."""

    futures: Sequence["Future[None]"]
    finish: Callable[[], Batch]

    def wait(self) -> Batch:
        """Return the batch as soon as the threads are done; raises the first error of theirs."""
        # Waiting for one after another would wake this thread, and stop a worker, once an image.
        wait(self.futures, return_when=FIRST_EXCEPTION)
        for future in self.futures:
            future.result()
        return self.finish()


def ahead(submitted: Iterator[Pending[Batch]]) -> Iterator[Batch]:
    """Yield finished batches, while threads are at work on the next ones.

    Taking a batch from `submitted` starts its work, so the length of the queue bounds the memory.
    """
    queue = deque(islice(submitted, _AHEAD))
    while queue:
        queue.extend(islice(submitted, 1))
        yield queue.popleft().wait()


def device_renders(device: torch.device, render: Render) -> bool:
    """Return whether the device renders crops, and not the threads: a CUDA GPU unless they are asked to.

    Beside an H100 no number of threads that rendered kept up with two whose crops the GPU rendered.
    """
    return render == "device" or (render == "auto" and device.type == "cuda")


class RenderPool:
    """The threads of one run, and where views are rendered; use it in a `with` block."""

    def __init__(
        self, workers: int, device: torch.device | None = None, render: Render = "cpu"
    ) -> None:
        """Start `workers` threads that fill batches for `device`.

        With `render` "cpu" they decode and render, with "device" they decode and the device renders.
        """
        self.workers = workers
        self.threads = ThreadPoolExecutor(workers, thread_name_prefix="fkd-render")
        self.device = device or torch.device("cpu")
        self.on_device = device_renders(self.device, render)
        self._pin = self.device.type == "cuda"

    def __enter__(self) -> "RenderPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.threads.shutdown(wait=True, cancel_futures=True)

    def submit(self, work: Callable[..., Result], *args: object) -> "Future[Result]":
        """Let a thread call `work` with these arguments."""
        return self.threads.submit(work, *args)

    def share_out(self, count: int) -> list[range]:
        """Cut a batch's images into a few runs per worker: handing over each image would cost more."""
        parts = min(count, 4 * self.workers)
        return [range(count * n // parts, count * (n + 1) // parts) for n in range(parts)]

    def empty_views(self, count: int, size: Size, *, on_device: bool = False) -> Tensor:
        """Return an uninitialised uint8 [count, 3, h, w] for threads, or the device, to fill."""
        device = self.device if on_device else None
        try:
            with _for_threads():
                return empty_views(count, size, device, pin=self._pin)
        except torch.OutOfMemoryError:
            raise  # of the device: whoever asked for the batch says what to do
        except (RuntimeError, MemoryError) as error:
            raise FkdError(
                f"no memory for batches of {count} views of {size_text(size)} px; choose a smaller "
                "--batch-size"
            ) from error

    def empty_masks(self, count: int, size: Size) -> Tensor:
        """Return an uninitialised uint8 [count, h, w] for threads to fill."""
        with _for_threads():
            return torch.empty((count, *sides_of(size)), dtype=torch.uint8, pin_memory=self._pin)

    def empty_pixels(self, count: int) -> Tensor:
        """Return an uninitialised uint8 [count, 3] for threads to decode into."""
        with _for_threads():
            return torch.empty((count, 3), dtype=torch.uint8, pin_memory=self._pin)


def _for_threads() -> torch.inference_mode:
    """Let threads write to what is made inside: of inference mode's tensors only that mode may."""
    return torch.inference_mode(False)
