"""Copies between the CPU and a device that neither of the two waits for longer than it must.

A plain `.to(device)` waits until a GPU has done all that it was asked before, and then the GPU waits for
more work. A copy waits for nothing where it is asked not to and the memory on the CPU's side is
page-locked and in one piece. On CUDA uploads run in a stream of their own, beside the network of the
batch before; on other devices they are plain copies.
"""

from functools import cache

import torch
from torch import Tensor


def page_locked(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU tensor in memory that a CUDA `device` can copy from by itself; as it is for others."""
    if device.type != "cuda" or tensor.device.type != "cpu" or tensor.is_pinned():
        return tensor
    return tensor.pin_memory()


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a tensor on `device`. What the device is asked next waits for the copy; the CPU does not.

    What goes to the CPU itself is there when this returns.
    """
    if device.type in ("cpu", tensor.device.type):
        return tensor.to(device)
    if device.type != "cuda":
        return tensor.to(device, non_blocking=True)
    copies, work = _copy_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(copies):
        there = page_locked(tensor, device).to(device, non_blocking=True)
    work.wait_stream(copies)
    # Its memory belongs to the stream of copies, which must not reuse it before the work is done.
    there.record_stream(work)
    return there


@cache  # each stream has a pool of memory of its own
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)  # type: ignore[no-untyped-call]


class Download:
    """Tensors on their way to the CPU, by name.

    `wait` returns them. It waits for what the device was asked before they were sent, and for nothing
    that it was asked since: a plain `.tolist()` would wait for that too.
    """

    def __init__(self, **tensors: Tensor) -> None:
        """Send the tensors, all of one device, once it has computed them."""
        self._there = {name: t.to("cpu", non_blocking=True) for name, t in tensors.items()}
        self._sent = _mark(next((t.device for t in tensors.values()), torch.device("cpu")))

    def wait(self) -> dict[str, Tensor]:
        """Return the tensors on the CPU."""
        if self._sent is not None:
            self._sent.synchronize()
            self._sent = None
        return self._there


def _mark(device: torch.device) -> torch.Event | None:
    """Mark the place that a device has reached in its work; a CPU is always done."""
    if device.type == "cpu":
        return None
    if device.type == "cuda":
        # Of this device, which need not be the current one. Blocking: whoever waits sleeps, and leaves
        # the core to the threads that render.
        mark: torch.Event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        mark.record(torch.cuda.current_stream(device))
        return mark
    mark = torch.Event(device)
    mark.record()
    return mark
