"""Right: what a teacher says on a device, at each precision and compiled."""

from collections.abc import Iterator

import numpy as np
import torch

from fkd import Engine, LabelConfig, Scheme, TeacherChoice, label_images
from fkd.config import Amp, Size, ViewPolicy
from fkd.images import ImageList, decode
from fkd.labels import quantize
from fkd.sources import dataset_root, list_images
from fkd.teachers import load_teachers
from fkd.views import empty_views, render, sample_views

from .findings import Finding, Setting


def labels_by_precision(setting: Setting) -> Iterator[Finding]:
    """Compare a teacher's labels on the device with float32 on the CPU, at each precision.

    KL is in nats. A teacher that was given is better than one with random weights, whose head is
    stretched here until it is about as sure of itself as a trained one.
    """
    choice = setting.teacher or TeacherChoice("resnet18", "none", size=64)
    folder = setting.images or setting.pictures()
    images = list_images(dataset_root(folder))
    views = some_views(images, 24 if setting.tiny else 384, choice.size or 224)
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
            "same top-1, %": percent(probs.argmax(1) == expected.argmax(1)),
            "same stored top-5, %": percent((labels["index"] == stored["index"]).all(1)),
            "not finite": int((~torch.isfinite(probs)).sum()),
        }
        yield Finding(f"--amp {name}", figures, not figures["not finite"])


def percent(same: torch.Tensor) -> float:
    """Return the share of what is the same, in percent."""
    return round(100 * float(same.double().mean()), 2)


def some_views(images: ImageList, count: int, size: Size) -> torch.Tensor:
    """Return one view of each of `count` images, uint8 [n, 3, H, W], on the CPU."""
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
