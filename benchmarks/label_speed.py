"""Labelling against the teacher's pure forward pass, and the memory that labelling needs beside it.

    python benchmarks/label_speed.py
    python benchmarks/label_speed.py --teacher mobilenet_v2 --mixup 1 --cutmix 1
    python benchmarks/label_speed.py --teacher resnet50 --device cuda --amp bf16 --batch-size 512

Speed: rounds of both kinds take turns in one process, on the same views. "forward" is the model alone on
batches that lie in memory as uint8; "fkd label" is everything: decode, draw, render, forward,
quantize, write, sync. With --mixup or --cutmix there are rounds of mixed views too, whose pixels cost the
model as much. Memory: peak resident memory of a process that labels at M = 500 with a teacher of
no weight, above what it held before.
"""

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click
import torch
from peak import peak_mib
from weightless import class_names

from fkd import Engine, LabelConfig, LabelStore, TeacherChoice
from fkd.config import AMPS, Amp, MixPolicy, ViewPolicy
from fkd.examples.scenes import Scenes, render_dataset
from fkd.images import ImageList
from fkd.labelling import (
    Ranks,
    WantedViews,
    label_blocks,
    new_spec,
    teacher_batches,
    views_at_a_time,
)
from fkd.machine import resolve_device
from fkd.progress import progress
from fkd.sources import list_images
from fkd.teachers import Ensemble, load_teachers
from fkd.views import RenderPool

CROPS = 8


@click.command()
@click.option("--teacher", multiple=True, default=["resnet50", "resnet152"], show_default=True)
@click.option("--views", default=256, show_default=True, help="Views a round.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--amp", type=click.Choice(AMPS), default="off", show_default=True)
@click.option("--compile", "compiled", is_flag=True)
@click.option("--mixup", default=0.0, show_default=True, help="Label views that are mixed, too.")
@click.option("--cutmix", default=0.0, show_default=True)
@click.option("--memory-images", default=4096, show_default=True, help="0 leaves memory out.")
def main(  # noqa: PLR0913  one argument an option
    teacher: tuple[str, ...],
    views: int,
    rounds: int,
    batch_size: int,
    workers: int,
    device: str,
    amp: Amp,
    compiled: bool,
    mixup: float,
    cutmix: float,
    memory_images: int,
) -> None:
    """Print, for each teacher, views/s of the model alone and of `fkd label`, and their ratio."""
    print(
        f"torch {torch.__version__}, {torch.get_num_threads()} threads, device {device}, amp {amp}"
    )
    policies = [MixPolicy(), MixPolicy(mixup, cutmix)][: 1 + (mixup > 0 or cutmix > 0)]
    print(f"batches of {batch_size} views, {rounds} rounds of {views} views each, medians\n")
    print("| teacher | mixed | forward, views/s | fkd label, views/s | ratio (lowest … highest) |")
    print("|---|---|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        photos = Scenes(
            classes=1,
            train_per_class=views // CROPS,
            val_per_class=0,
            short_side=(375, 375),
            aspect=(4 / 3, 4 / 3),
        )
        render_dataset(Path(folder) / "photos", photos, workers=2)
        for name in teacher:
            config = LabelConfig(
                images=Path(folder) / "photos",
                teacher=TeacherChoice(name, "none"),
                out=Path(folder) / "labels.zarr",
                num_crops=CROPS,
                batch_size=batch_size,
                workers=workers,
                device=device,
                engine=Engine(amp, compiled),
            )
            measure(config, rounds, policies)
    if memory_images:
        measure_memory(memory_images)


def measure(config: LabelConfig, rounds: int, policies: list[MixPolicy]) -> None:
    """Take turns between the kinds of rounds and print a line of the table for each policy."""
    device = resolve_device(config.device)
    images = list_images(config.images / "train")
    teachers = load_teachers(config.teachers, images.classes, device, config.engine)
    batches = batches_in_memory(config, images, teachers)
    forward_seconds(batches, teachers, device)  # warms up caches, kernels and compilation
    configs = [replace(config, views=ViewPolicy(mix=mix)) for mix in policies]
    pure: list[float] = []
    whole: list[list[float]] = [[] for _ in configs]
    for _ in progress(range(rounds), config.teachers[0].name, unit="round"):
        pure.append(forward_seconds(batches, teachers, device))
        for seconds, mixing in zip(whole, configs, strict=True):
            seconds.append(label_seconds(mixing, images, teachers))
    views = len(images) * config.crops
    for mix, seconds in zip(policies, whole, strict=True):
        ratios = [a / b for a, b in zip(pure, seconds, strict=True)]
        print(
            f"| {config.teachers[0].name} | {mix} | {views / statistics.median(pure):.1f} "
            f"| {views / statistics.median(seconds):.1f} "
            f"| {statistics.median(ratios):.3f} ({min(ratios):.3f} … {max(ratios):.3f}) |",
            flush=True,
        )


def batches_in_memory(
    config: LabelConfig, images: ImageList, teachers: Ensemble
) -> list[tuple[torch.Tensor, int]]:
    """Return the views that `fkd label` renders, uint8 [B, 3, S, S], with the count that is used."""
    with RenderPool(config.workers, teachers.device) as pool:
        return [
            (batch.views[0], batch.num_views)
            for batch in teacher_batches(
                pool,
                images,
                range(len(images)),
                WantedViews(config.views, range(config.crops)),
                views_at_a_time(config, teachers.device),
                teachers.view_formats,
            )
        ]


def forward_seconds(
    batches: list[tuple[torch.Tensor, int]], teachers: Ensemble, device: torch.device
) -> float:
    """Time the teacher on views in memory, results fetched at the end."""
    began = time.perf_counter()
    for views, count in batches:
        teachers.probs([views], count, 1.0)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began


def label_seconds(config: LabelConfig, images: ImageList, teachers: Ensemble) -> float:
    """Time `fkd label` from the first image read to the last block sealed."""
    with tempfile.TemporaryDirectory() as folder:
        config = replace(config, out=Path(folder) / "labels.zarr")
        spec = new_spec(config, images, teachers)
        targets = teachers.classes.target_of[images.targets]
        store = LabelStore.create(config.out, spec, images, targets, teachers.classes.names)
        began = time.perf_counter()
        label_blocks(config, images, teachers, store, Ranks.alone(), store.pending_blocks())
        return time.perf_counter() - began


def measure_memory(num_images: int) -> None:
    """Label at M = 500 in a fresh process and print its peak above the start."""
    with tempfile.TemporaryDirectory() as folder:
        scenes = Scenes(classes=1, train_per_class=num_images, val_per_class=0, short_side=(48, 64))
        render_dataset(Path(folder), scenes, workers=2)
        (Path(folder) / "names.txt").write_text(class_names(["arrow"]))
        command = [sys.executable, __file__, "--label-for-memory", folder]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    said = json.loads(done.stdout)
    print(
        f"\nmemory: {num_images:,} images × 500 crops, 1000 classes, top-10, a block of "
        f"{said['block']:,} images: {said['peak'] - said['before']:.0f} MiB at most above the "
        f"{said['before']:.0f} MiB that the process held before"
    )


def label_for_memory(folder: Path) -> None:
    """The process that `measure_memory` starts: label, and print MiB before and at the peak."""
    torch.set_num_threads(1)
    teacher = TeacherChoice(
        "weightless:make", classes_file=folder / "names.txt", all_classes=True, size=16
    )
    config = LabelConfig(
        images=folder,
        teacher=teacher,
        out=folder / "s.zarr",
        num_crops=500,
        block_images=4096,
        device="cpu",
    )
    images = list_images(folder / "train")
    teachers = load_teachers(config.teachers, images.classes, torch.device("cpu"))
    spec = new_spec(config, images, teachers)
    store = LabelStore.create(
        config.out, spec, images, teachers.classes.target_of[images.targets], teachers.classes.names
    )
    before = peak_mib()
    label_blocks(config, images, teachers, store, Ranks.alone(), store.pending_blocks())
    print(json.dumps({"before": before, "peak": peak_mib(), "block": spec.block_images}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--label-for-memory"]:
        label_for_memory(Path(sys.argv[2]))
    else:
        main()
