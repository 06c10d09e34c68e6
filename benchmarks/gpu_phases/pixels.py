"""Right: what a device renders, and what a teacher says of it at each precision."""

import os
from collections.abc import Iterator

import numpy as np
import torch

from fkd import Engine, LabelConfig, Scheme, TeacherChoice, label_images
from fkd.config import Amp, Interpolation, Render, Size, ViewPolicy
from fkd.images import ImageList, decode
from fkd.labels import quantize
from fkd.loader import Schedule, student_batches
from fkd.sources import dataset_root, list_images
from fkd.store import LabelStore
from fkd.teachers import load_teachers
from fkd.views import CropTable, RenderPool, empty_views, render, render_table, sample_views
from fkd.views.taps import taps_of

from .findings import Finding, Setting

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


def labelled(setting: Setting) -> LabelStore:
    """Return a store of the pictures, of a teacher with random weights; labelled once."""
    out = setting.folder / "pictures.zarr"
    teacher = TeacherChoice("resnet18", "none", size=32 if setting.tiny else 96)
    crops = 6 if setting.tiny else 16
    aside = out.with_name(f"pictures.{os.getpid()}.zarr")
    config = LabelConfig(
        setting.pictures(),
        teacher,
        aside,
        crops,
        scheme=Scheme("topk", 3),
        device=setting.device_name,
    )
    if not out.exists():
        label_images(config)
        aside.rename(out)
    return LabelStore.open(out)


def labels_by_precision(setting: Setting) -> Iterator[Finding]:
    """Compare a teacher's labels on the device with float32 on the CPU, at each precision.

    KL is in nats. A teacher that was given is better than one with random weights, whose head is
    stretched here until it is about as sure of itself as a trained one.
    """
    choice = setting.teacher or TeacherChoice("resnet18", "none", size=64)
    folder = setting.images or setting.pictures()
    images = list_images(dataset_root(folder))
    views = _views(images, 24 if setting.tiny else 384, choice.size or 224)
    expected = _probs(choice, images.classes, torch.device("cpu"), "off", views)
    stored = quantize(expected, Scheme("topk", 5))
    kinds: list[tuple[str, Amp]] = [("off", "off"), ("bf16", "bf16"), ("fp16", "fp16")]
    if setting.on_cuda:
        kinds.insert(1, ("off, without TF32", "off"))
    for name, amp in kinds:
        torch.backends.cudnn.allow_tf32 = "without" not in name
        probs = _probs(choice, images.classes, setting.device, amp, views)
        torch.backends.cudnn.allow_tf32 = True
        kl = (expected * (expected.clamp(min=1e-12).log() - probs.clamp(min=1e-12).log())).sum(1)
        labels = quantize(probs, Scheme("topk", 5))
        figures = {
            "KL, mean": f"{kl.mean():.2e}",
            "KL, worst": f"{kl.max():.2e}",
            "same top-1, %": _percent(probs.argmax(1) == expected.argmax(1)),
            "same stored top-5, %": _percent((labels["index"] == stored["index"]).all(1)),
            "not finite": int((~torch.isfinite(probs)).sum()),
        }
        yield Finding(f"--amp {name}", figures, not figures["not finite"])


def _percent(same: torch.Tensor) -> float:
    return round(100 * float(same.double().mean()), 2)


def _views(images: ImageList, count: int, size: Size) -> torch.Tensor:
    views = empty_views(count, size)
    for n in range(count):
        pixels = decode(images.name(n % len(images)))
        boxes, flips = sample_views(ViewPolicy(), n, 1, *pixels.shape[-2:])
        render(pixels, boxes[0], bool(flips[0]), views[n], "bilinear")
    return views


def _probs(
    choice: TeacherChoice,
    classes: tuple[str, ...],
    device: torch.device,
    amp: Amp,
    views: torch.Tensor,
) -> torch.Tensor:
    teacher = load_teachers([choice], classes, device, Engine(amp)).teachers[0]
    if choice.weights == "none":
        with torch.no_grad():
            for parameter in teacher._model.fc.parameters():
                parameter.mul_(30)
    parts = [teacher.probs(part, len(part), 1.0).cpu() for part in torch.split(views, 128)]
    return torch.cat(parts)


def a_compiled_teacher(setting: Setting) -> Iterator[Finding]:
    """Label with a compiled teacher: the last batch is of another size, and one graph must do."""
    if setting.tiny:
        yield Finding("too slow for a rehearsal; the tests compile a teacher")
        return
    from torch._dynamo.utils import counters

    folder = setting.folder / "compiled"
    stores = {}
    counters.clear()
    torch.compiler.reset()
    for name, engine in (("plain", Engine()), ("compiled", Engine(compile=True))):
        teacher = TeacherChoice("gpu_phases.small_models:teacher", size=32)
        config = LabelConfig(
            setting.pictures(), teacher, folder / f"{name}.zarr", 5, scheme=Scheme("full"),
            batch_size=64, device=setting.device_name, engine=engine,
        )  # fmt: skip
        stores[name] = label_images(config)
    graphs = counters["stats"]["unique_graphs"]
    here, there = (store.read_crops(range(5)).kept["log_prob"] for store in stores.values())
    here, there = here.astype(np.float32), there.astype(np.float32)
    worst = float((np.abs(here - there) / np.abs(here).clip(1)).max())
    figures = {"largest relative difference of log-probabilities": f"{worst:.1e}", "graphs": graphs}
    yield Finding("compiled against plain", figures, worst < 0.02 and graphs == 1)
