"""Right: the kernels that render on a GPU, beside the tensor operations that do elsewhere."""

import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from fkd.config import Fit, Interpolation, ViewPolicy
from fkd.views import CropTable, render_table, sample_views
from fkd.views.render_device import kernels_render

from .findings import Finding, Setting

ROUNDS = 5  # fewer operations than a device has room for in its queue
ASLEEP = 10**8  # cycles, about 50 ms
# How many images a batch of views is of, and how they are rendered: first what a teacher sees.
BATCHES: tuple[tuple[str, int, Interpolation, Fit], ...] = (
    ("6 images, bilinear", 6, "bilinear", "fill"),
    ("6 images, bicubic", 6, "bicubic", "fill"),
    ("6 images, bilinear, padded", 6, "bilinear", "pad"),
    ("64 images, bilinear", 64, "bilinear", "fill"),
)


def kernels(setting: Setting) -> Iterator[Finding]:
    """Render 256 crops of photos of 500 × 375 pixels at 224 by kernels, and by tensor operations.

    Milliseconds of the device are of work that it was asked for before it began. "asked in" is what the
    CPU takes to ask for it.
    """
    count, size = (16, 32) if setting.tiny else (256, 224)
    for what, num_images, interpolation, fit in BATCHES:
        pixels, table = _batch(setting, count, min(num_images, count))
        began = time.perf_counter()
        fused = render_table(pixels, table, size, interpolation, fit=fit)
        setting.finish()
        ready = time.perf_counter() - began
        plain = render_table(pixels, table, size, interpolation, fit=fit, fused=False)
        differ = int((fused != plain).sum())

        def ask(*, fused: bool) -> Tensor:
            return render_table(pixels, table, size, interpolation, fit=fit, fused=fused)  # noqa: B023

        ours, asked = _milliseconds(setting, lambda: ask(fused=True))
        theirs, theirs_asked = _milliseconds(setting, lambda: ask(fused=False))
        there = kernels_render(setting.device, interpolation, fit)
        figures = {
            "ms": round(ours, 3), "asked in, ms": round(asked, 3),
            "views/s": round(1e3 * count / ours), "operations, ms": round(theirs, 3),
            "asked in, ms, operations": round(theirs_asked, 3),
            "ready after, s": round(ready, 2), "kernels": "yes" if there else "no",
            "samples that differ": differ,
        }  # fmt: skip
        yield Finding(what, figures, not differ and (there or not setting.on_cuda))


def _batch(setting: Setting, count: int, num_images: int) -> tuple[Tensor, CropTable]:
    """Draw as many views of each image, which is noise: their pixels on the device, and their table."""
    height, width = (60, 80) if setting.tiny else (375, 500)
    shape = (num_images * height * width, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    image = np.sort(np.arange(count) % num_images)
    each = np.bincount(image)
    views = [
        sample_views(ViewPolicy(), n, few, height, width) for n, few in enumerate(each.tolist())
    ]
    boxes, flips = (np.concatenate(part) for part in zip(*views, strict=True))
    sides = np.tile(np.array([[height, width]]), (num_images, 1))
    table = CropTable.of_images(sides, image, boxes, flips)
    return torch.from_numpy(pixels).to(setting.device), table


def _milliseconds(setting: Setting, ask: Callable[[], Tensor]) -> tuple[float, float]:
    """Return how long the device takes for what is asked, and how long the CPU takes to ask."""
    rounds = 1 if setting.tiny else ROUNDS
    ask()
    setting.finish()
    if not setting.on_cuda:
        began = time.perf_counter()
        for _ in range(rounds):
            ask()
        milliseconds = 1e3 * (time.perf_counter() - began) / rounds
        return milliseconds, milliseconds
    begun, ended = _event(), _event()
    torch.cuda._sleep(ASLEEP)  # type: ignore[no-untyped-call]
    begun.record()
    began = time.perf_counter()
    for _ in range(rounds):
        ask()
    asked = 1e3 * (time.perf_counter() - began) / rounds
    ended.record()
    ended.synchronize()
    return begun.elapsed_time(ended) / rounds, asked


def _event() -> torch.Event:
    event: torch.Event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    return event
