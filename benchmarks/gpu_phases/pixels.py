"""Right: what a device renders."""

from collections.abc import Iterator

import numpy as np
import torch

from fkd.config import Interpolation, Render
from fkd.loader import Schedule, student_batches
from fkd.sources import dataset_root, list_images
from fkd.views import CropTable, RenderPool, empty_views, render, render_table
from fkd.views.taps import taps_of

from .findings import Finding, Setting
from .stores import labelled

HOW: tuple[Interpolation, ...] = ("bilinear", "bicubic")


def weights_of_the_kernel(setting: Setting) -> Iterator[Finding]:
    """Compare the renderer's integer weights on the device with the CPU's, both kernels.

    They are of sides of every length up to 700 pixels, and of every seventh up to 3,000.
    """
    sizes = (32,) if setting.tiny else (96, 224, 384)
    lengths = torch.cat([torch.arange(1, 700), torch.arange(700, 3000, 7)])
    lengths = lengths[:200] if setting.tiny else lengths
    for interpolation in HOW:
        for size in sizes:
            differ = torch.zeros((), dtype=torch.int64, device=setting.device)
            for part in torch.split(lengths, 100):
                most = int(part.max())
                here = taps_of(part, most, size, interpolation)
                there = taps_of(part.to(setting.device), most, size, interpolation)
                same = there.weight == here.weight.to(setting.device)
                same &= there.position == here.position.to(setting.device)
                same &= (there.bits == here.bits.to(setting.device))[:, None, None]
                differ += (~same).flatten(1).any(1).sum()
            figures = {"sides": len(lengths), "that differ": int(differ)}
            yield Finding(f"{interpolation}, {size} px", figures, not differ)


def crops_of_all_sizes(setting: Setting) -> Iterator[Finding]:
    """Compare crops that the device renders with those that a CPU thread renders, bit for bit."""
    rng = np.random.default_rng(0)
    kinds = {"tiny": (1, 40), "usual": (200, 500), "large": (1500, 2600)}
    for kind, (low, high) in kinds.items():
        count = {"tiny": 40, "usual": 20, "large": 1 if setting.tiny else 8}[kind]
        for interpolation in HOW:
            differ = 0
            for size in (24,) if setting.tiny else (96, 224, 384):
                images, table = _some_crops(rng, count, low, high)
                expected = empty_views(count, size)
                for n, image in enumerate(images):
                    pixels, box = torch.from_numpy(image).permute(2, 0, 1), table.box[n]
                    flip = bool(table.flip[n])
                    render(pixels, box.astype(np.uint16), flip, expected[n], interpolation)
                packed = torch.from_numpy(np.concatenate([i.reshape(-1, 3) for i in images]))
                found = render_table(packed.to(setting.device), table, size, interpolation)
                differ += int((found.cpu() != expected).sum())
            yield Finding(
                f"{kind} boxes, {interpolation}", {"samples that differ": differ}, not differ
            )


def _some_crops(
    rng: np.random.Generator, count: int, low: int, high: int
) -> tuple[list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]], CropTable]:
    sides = rng.integers(low, high + 1, (count, 2))
    images = [rng.integers(0, 256, (*side, 3), dtype=np.uint8) for side in sides.tolist()]
    extent = rng.integers(1, sides + 1)
    corner = rng.integers(0, sides - extent + 1)
    area = sides.prod(axis=1)
    box = np.concatenate([corner, extent], axis=1)
    return images, CropTable(area.cumsum() - area, sides[:, 1], box, rng.random(count) < 0.5)


def batches_of_a_student(setting: Setting) -> Iterator[Finding]:
    """Compare whole batches, rendered by threads and by the device, with photos too large to send too."""
    from fkd.loader import batches as views

    store = labelled(setting)
    images = list_images(dataset_root(setting.pictures()))
    schedule = Schedule(len(images), store.spec.num_crops, 2, 16, epochs=2, seed=0, stagger=2)
    seen = {}
    packed = views._PACKED_BYTES
    kinds: dict[str, tuple[Render, int]] = {
        "threads": ("cpu", packed),
        "device": ("device", packed),
        "large": ("device", 0),
    }
    for name, (by, most) in kinds.items():
        views._PACKED_BYTES = most
        try:
            with RenderPool(2, setting.device, by) as pool:
                batches = list(student_batches(pool, store, images, schedule))
        finally:
            views._PACKED_BYTES = packed
        seen[name] = [(b.views.cpu(), b.targets.cpu()) for b in batches]
    for name in ("device", "large"):
        pairs = zip(seen["threads"], seen[name], strict=True)
        differ = sum(not (torch.equal(a, c) and torch.equal(b, d)) for (a, b), (c, d) in pairs)
        figures = {"batches": len(seen[name]), "that differ": differ}
        yield Finding(f"threads and {name}", figures, not differ)
