"""The whole path on images that the project renders itself: teacher, labels, two students, a table.

Both students see the same number of crops with the same optimizer and schedule. One learns from the
folder's class (fresh random crops, decoded images held in memory), the other from the label store.
Objects are small, so many crops miss theirs: the class is then wrong, the teacher's label is not.
"""

import json
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
import torchvision
from PIL import Image, ImageDraw
from torch import Tensor, nn
from torch.nn import functional
from torchvision.transforms import RandomResizedCrop

from fkd import (
    LabelConfig,
    LabelStore,
    Scheme,
    TeacherChoice,
    TrainConfig,
    ViewPolicy,
    label_images,
    train_student,
)
from fkd.config import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from fkd.evaluation import evaluate
from fkd.examples.scenes import Scenes, render_dataset
from fkd.images import ImageList, decode
from fkd.info import bytes_per_crop
from fkd.labels import restore
from fkd.machine import place, resolve_device
from fkd.progress import progress_bar
from fkd.sources import list_images
from fkd.students import StudentCard, build_student
from fkd.training import learning_rate
from fkd.views import empty_views, normalize, render


@dataclass(frozen=True)
class Demo:
    """The settings of the demonstration; rates are at 1024 views and linear in the batch."""

    size: int = 48
    network: str = "fkd.models:thin_resnet"
    teacher_epochs: float = 24
    teacher_lr: float = 0.8
    teacher_scale: tuple[float, float] = (0.25, 1.0)
    student_epochs: float = 8
    student_lr: float = 0.6
    batch_size: int = 64
    weight_decay: float = 2e-4
    num_crops: int = 8
    # As for the plain student, whose every crop is of another visit.
    crops_per_image: int = 1
    train_per_class: int = 300
    val_per_class: int = 200
    short_side: tuple[int, int] = (96, 136)


@click.command()
@click.option("--out", default="quickstart", type=click.Path(path_type=Path), show_default=True)
@click.option("--seed", default=0, show_default=True, help="Of images, weights and crops.")
@click.option("--quick", is_flag=True, help="A few steps of everything, to see that it runs.")
def main(out: Path, seed: int, quick: bool) -> None:
    """Render images, train a teacher, label, train two students, print one table."""
    torch.set_num_threads(free_cores())
    demo = Demo()
    if quick:
        demo = Demo(teacher_epochs=0.2, student_epochs=1, num_crops=4)
        demo = replace(demo, train_per_class=20, val_per_class=5)
    print(
        "render images; train a teacher and a plain student; label; train a student from the store"
    )
    seconds: dict[str, float] = {}
    clock = time.perf_counter()

    def lap(name: str) -> None:
        nonlocal clock
        seconds[name], clock = time.perf_counter() - clock, time.perf_counter()

    data = out / "images"
    scenes = Scenes(
        seed,
        train_per_class=demo.train_per_class,
        val_per_class=demo.val_per_class,
        short_side=demo.short_side,
    )
    shutil.rmtree(data, ignore_errors=True)
    render_dataset(data, scenes, workers=2)
    images, val = list_images(data / "train"), list_images(data / "val")
    lap("render")
    pixels = [decode(images.name(i)) for i in range(len(images))]
    teacher, teacher_top1 = supervised(
        images, pixels, val, demo, seed, demo.teacher_epochs, demo.teacher_lr,
        demo.teacher_scale, "teacher",
    )  # fmt: skip
    save_program(teacher, demo.size, out / "teacher.pt2")
    lap("train the teacher")
    _, plain_top1 = supervised(
        images, pixels, val, demo, seed + 1, demo.student_epochs, demo.student_lr,
        (0.08, 1.0), "student, plain",
    )  # fmt: skip
    del pixels
    lap("train the plain student")
    store = label_images(label_config(demo, data, out, seed))
    lap("label")
    run = train_student(train_config(demo, data, out, seed))
    lap("train the student from the store")
    draw_picture(store, images, out / "picture.png")
    report(out, demo, store, seconds, teacher_top1, plain_top1, last_top1(run))


def free_cores(seconds: float = 0.5) -> int:
    """Return how many cores nobody uses just now, one at least.

    A thread of torch on a core that is taken keeps all others waiting, at every layer.
    """
    cores = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    if not Path("/proc/stat").exists():
        return cores
    before = _busy_and_idle()
    time.sleep(seconds)
    busy, idle = (now - then for now, then in zip(_busy_and_idle(), before, strict=True))
    return max(1, min(cores, round(cores * idle / max(1, busy + idle))))


def _busy_and_idle() -> tuple[int, int]:
    """Return what all cores have spent at work and without, in ticks."""
    user, nice, system, idle, wait, *rest = map(
        int, Path("/proc/stat").read_text().split("\n")[0].split()[1:]
    )
    return user + nice + system + sum(rest[:3]), idle + wait


def save_program(model: nn.Module, size: int, path: Path) -> None:
    """Export a network as a program that takes any number of views: what `--teacher FILE.pt2` reads."""
    model = model.cpu().to(memory_format=torch.contiguous_format).eval()
    views, batch = torch.zeros(2, 3, size, size), {0: torch.export.Dim("batch")}
    torch.export.save(torch.export.export(model, (views,), dynamic_shapes=[batch]), path)


def label_config(demo: Demo, data: Path, out: Path, seed: int) -> LabelConfig:
    """Build what `fkd label --teacher quickstart/teacher.pt2 --size 48 --crops 8 …` builds."""
    teacher = TeacherChoice(str(out / "teacher.pt2"), size=demo.size)
    return LabelConfig(
        images=data,
        teacher=teacher,
        out=out / "labels.zarr",
        num_crops=demo.num_crops,
        views=ViewPolicy(seed),
        overwrite=True,
    )


def train_config(demo: Demo, data: Path, out: Path, seed: int) -> TrainConfig:
    """Build what `fkd train --crops-per-image 1 --compress topk5 …` builds."""
    run = out / "run"
    if (run / "config.json").exists():
        shutil.rmtree(run)
    return TrainConfig.from_recipe(
        "fkd",
        store=out / "labels.zarr",
        out=run,
        student=demo.network,
        crops_per_image=demo.crops_per_image,
        scheme=Scheme("topk", 5),
        epochs=demo.student_epochs,
        eval_every=demo.student_epochs,
        batch_size=demo.batch_size,
        lr=demo.student_lr,
        weight_decay=demo.weight_decay,
        seed=seed + 1,
    )


def last_top1(run: Path) -> float:
    """Return the top-1 after the last step of a run."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float([line for line in lines if line["kind"] == "eval"][-1]["top1"])


def supervised(  # noqa: PLR0913  the two calls differ in each of them
    images: ImageList,
    pixels: list[Tensor],
    val: ImageList,
    demo: Demo,
    seed: int,
    epochs: float,
    lr: float,
    scale: tuple[float, float],
    what: str,
) -> tuple[nn.Module, float]:
    """Train on the folder's classes with fresh random crops; return the model and its top-1."""
    device = resolve_device("auto")
    torch.manual_seed(seed)
    seen = Preprocessing(demo.size)
    card = StudentCard(demo.network, images.classes, seen, seen.center_view)
    model = place(build_student(card), device)
    rate = lr * demo.batch_size / 1024
    optimizer = torch.optim.SGD(
        model.parameters(), lr=rate, momentum=0.9, weight_decay=demo.weight_decay
    )
    steps = round(epochs * len(images) / demo.batch_size)
    batches = fresh_crops(images, pixels, demo, seed, scale)
    with progress_bar(f"train {what}", unit="view", total=steps * demo.batch_size) as bar:
        for step in range(steps):
            views, targets = next(batches)
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(step, peak=rate, total_steps=steps)
            inputs = normalize(views.to(device), IMAGENET_MEAN, IMAGENET_STD)
            logits = model(inputs.contiguous(memory_format=torch.channels_last))
            loss = functional.cross_entropy(logits, targets.to(device))
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            bar.update(demo.batch_size)
            bar.set_postfix(loss=f"{float(loss.detach()):.3f}", refresh=False)
    accuracy = evaluate(model, card, val, 100, 2)
    return model, accuracy.top1


def fresh_crops(
    images: ImageList, pixels: list[Tensor], demo: Demo, seed: int, scale: tuple[float, float]
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield batches of one RandomResizedCrop per image, flipped half of the time, for ever."""
    rng = np.random.default_rng(seed)
    queue: list[int] = []
    while True:
        while len(queue) < demo.batch_size:
            queue += rng.permutation(len(images)).tolist()
        chosen, queue = queue[: demo.batch_size], queue[demo.batch_size :]
        views = empty_views(len(chosen), demo.size)
        for image_index, out in zip(chosen, views, strict=True):
            image = pixels[image_index]
            box = RandomResizedCrop.get_params(image, list(scale), [3 / 4, 4 / 3])
            render(image, np.array(box, np.uint16), bool(rng.random() < 0.5), out, "bilinear")
        yield views, torch.from_numpy(images.targets[chosen])


def draw_picture(store: LabelStore, images: ImageList, path: Path) -> None:
    """Draw six images with four of their boxes, and each crop with its two top labels."""
    rows, crops, tile, gap = 6, 4, 128, 8
    names, slab = store.class_names(), store.read_crops(range(crops))
    sheet = Image.new("RGB", ((crops + 2) * (tile + gap) + gap, rows * (tile + 34)), "white")
    pen = ImageDraw.Draw(sheet)
    colours = ("#d62728", "#1f77b4", "#2ca02c", "#ff7f0e")
    for row in range(rows):
        image_index = row * len(images) // rows + 3
        pixels = decode(images.name(image_index))
        one = slab.take(np.array([image_index]), np.arange(crops))
        kept = {name: torch.from_numpy(v[0].astype(np.int64)) for name, v in one.kept.items()}
        labels = restore(kept, store.spec.scheme, Scheme("topk", 2, "smooth"), len(names))
        photo = Image.fromarray(pixels.permute(1, 2, 0).numpy())
        ink = ImageDraw.Draw(photo)
        top = row * (tile + 34) + gap
        for crop in range(crops):
            y, x, h, w = (int(edge) for edge in one.box[0, crop])
            ink.rectangle((x, y, x + w - 1, y + h - 1), outline=colours[crop], width=2)
            view = empty_views(1, tile)[0]
            render(pixels, one.box[0, crop], bool(one.flip[0, crop]), view, "bilinear")
            left = (crop + 2) * (tile + gap) + gap
            sheet.paste(Image.fromarray(view.permute(1, 2, 0).numpy()), (left, top))
            pen.rectangle((left, top, left + tile, top + tile), outline=colours[crop], width=3)
            assert labels.index is not None
            said = zip(labels.index[crop].tolist(), labels.value[crop].tolist(), strict=True)
            text = "  ".join(f"{names[i]} {p:.2f}" for i, p in said)
            pen.text((left, top + tile + 4), text, fill="black")
        photo.thumbnail((2 * tile + gap, tile))
        sheet.paste(photo, (gap, top))
        pen.text((gap, top + tile + 4), images.classes[images.targets[image_index]], fill="black")
    sheet.save(path)


def report(
    out: Path, demo: Demo, store: LabelStore, seconds: dict[str, float], *top1: float
) -> None:
    """Print the table, and write the same figures to results.json."""
    spec = store.spec
    size = sum(store.stored_bytes().values())
    crops = round(demo.student_epochs * spec.num_images)
    rows = [
        ("teacher", top1[0], seconds["train the teacher"]),
        (
            "student, plain supervised",
            top1[1],
            seconds["train the plain student"],
        ),
        (
            "student, from the store",
            top1[2],
            seconds["train the student from the store"],
        ),
    ]
    print(f"\n{spec.num_images:,} images; each student saw {crops:,} crops of {demo.size} px\n")
    print(f"| {'':<36} | top-1 | training, s |\n|{'-' * 38}|------:|------------:|")
    for name, accuracy, spent in rows:
        print(f"| {name:<36} | {accuracy:5.1%} | {spent:11.0f} |")
    print("one seed of few images: another (--seed) may turn it around")
    per_crop = bytes_per_crop(store)["total"]
    print(
        f"\nlabel: {seconds['label']:.0f} s for {spec.num_images * spec.num_crops:,} crops; "
        f"store: {size:,} bytes, {per_crop:.1f} a crop\n"
        f"in all {sum(seconds.values()):.0f} s on torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}; picture: {out / 'picture.png'}"
    )
    content = {
        "top1": dict(zip(("teacher", "plain", "fkd"), top1, strict=True)),
        "seconds": seconds,
        "store_bytes": size,
        "bytes_per_crop": per_crop,
        "crops_seen": crops,
    }
    (out / "results.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
