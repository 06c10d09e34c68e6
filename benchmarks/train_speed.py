"""Seconds of training for 10,000 crops: plain, with the teacher in the loop, and from a store.

    python benchmarks/train_speed.py
    python benchmarks/train_speed.py --images imagenet --student resnet50 --batch-size 256 --device cuda

All contestants take turns in one process on the same photos, with the same student, optimizer and batch:
- plain: ImageFolder, RandomResizedCrop, flip, ToTensor, Normalize through a DataLoader; cross-entropy;
- online: the same pipeline, and the teacher labels each batch (random weights cost what others do);
- fkd at m = 1, 4, 8: `StudentLoader` on a label store, as `fkd train` reads it;
- student alone: the same step on one batch that lies in memory, the limit of all.
"""

import csv
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import click
import torch
import torchvision
from speed_inputs import label, rendered, some_of
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision.transforms import v2

from fkd import LabelStore, StudentLoader, soft_cross_entropy
from fkd.config import IMAGENET_MEAN, IMAGENET_STD
from fkd.labels import SoftLabels
from fkd.machine import place, resolve_device
from fkd.models import build
from fkd.progress import progress

TEACHERS = ("resnet50", "resnet152")
VISITS = (1, 4, 8)
FOREVER = 1e6

Batch = tuple[Tensor, SoftLabels | Tensor]


@dataclass
class Contestant:
    """Where batches come from, who labels them, and how many make a round."""

    batches: Iterator[Batch]
    steps: int
    teacher: nn.Module | None = None


@click.command()
@click.option("--images", type=click.Path(path_type=Path), help="An image folder instead of ours.")
@click.option("--limit", default=400, show_default=True, help="Different images, at most.")
@click.option("--student", default="mobilenet_v3_small", show_default=True)
@click.option("--size", default=224, show_default=True)
@click.option("--batch-size", default=64, show_default=True)
@click.option("--steps", default=12, show_default=True, help="Steps a round.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option(
    "--out", default="benchmarks/results", type=click.Path(path_type=Path), show_default=True
)
def main(  # noqa: PLR0913  one argument an option
    images: Path | None,
    limit: int,
    student: str,
    size: int,
    batch_size: int,
    steps: int,
    rounds: int,
    workers: int,
    device: str,
    out: Path,
) -> None:
    """Print seconds for 10,000 crops of every way of training, and write them as CSV."""
    target = resolve_device(device)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = rendered(folder, limit) if images is None else some_of(images, folder, limit)
        store = label(root, folder, size)
        field = contestants(store, root, size, batch_size, steps, workers, target)
        model = place(build(student, store.spec.num_classes, size), target).train()
        seconds = race(field, model, target, batch_size, rounds)
    report(
        seconds, out, f"{student}, {size} px, batches of {batch_size}, {workers} workers, {target}"
    )


def contestants(
    store: LabelStore,
    root: Path,
    size: int,
    batch_size: int,
    steps: int,
    workers: int,
    device: torch.device,
) -> dict[str, Contestant]:
    """Return every way of training; the slow ones take fewer steps a round."""
    field = {
        "student alone": Contestant(in_memory(store, size, batch_size, device), steps),
        "plain": Contestant(pipeline(root, size, batch_size, workers), steps),
    }
    for name in TEACHERS:
        teacher = place(build(name, store.spec.num_classes), device).eval().requires_grad_(False)
        batches = pipeline(root, size, batch_size, workers)
        field[f"online, {name}"] = Contestant(batches, max(1, steps // 6), teacher)
    for m in VISITS:
        loader = StudentLoader(
            store.path, images=root, crops_per_image=m, batch_size=batch_size, epochs=FOREVER,
            workers=workers, device=str(device),
        )  # fmt: skip
        batches = ((images, labels) for images, labels in loader.batches())
        field[f"fkd, m = {m}"] = Contestant(batches, steps)
    return field


def in_memory(
    store: LabelStore, size: int, batch_size: int, device: torch.device
) -> Iterator[Batch]:
    """Yield one batch for ever."""
    pixels = torch.randn(batch_size, 3, size, size, device=device)
    pixels = pixels.contiguous(memory_format=torch.channels_last)
    targets = torch.randint(store.spec.num_classes, (batch_size,), device=device)
    while True:
        yield pixels, targets


def photos(root: Path, size: int) -> torchvision.datasets.ImageFolder:
    """Return a folder's images as torchvision's usual training steps give them, and their classes."""
    steps = [
        v2.RandomResizedCrop(size), v2.RandomHorizontalFlip(), v2.PILToTensor(),
        v2.ToDtype(torch.float32, scale=True), v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]  # fmt: skip
    return torchvision.datasets.ImageFolder(root, v2.Compose(steps))


def pipeline(root: Path, size: int, batch_size: int, workers: int) -> Iterator[Batch]:
    """Yield batches of torchvision's usual pipeline, epoch after epoch."""
    data = photos(root, size)
    loader = DataLoader(
        data, batch_size, shuffle=True, drop_last=True, num_workers=workers, persistent_workers=True,
        pin_memory=torch.cuda.is_available(),
    )  # fmt: skip
    while True:
        yield from loader


def race(
    field: dict[str, Contestant], student: nn.Module, device: torch.device, batch_size: int, rounds: int
) -> dict[str, list[float]]:  # fmt: skip
    """Return, for each contestant, seconds for 10,000 crops by round; the first round warms up."""
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-4, momentum=0.9)
    seconds: dict[str, list[float]] = {name: [] for name in field}
    for number in progress(range(rounds + 1), "train", unit="round"):
        for name, one in field.items():
            for _ in range(8):  # what was made ready while others had the machine
                next(one.batches)
            began = time.perf_counter()
            for _ in range(one.steps):
                step(student, optimizer, one, device)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            spent = time.perf_counter() - began
            if number:
                seconds[name].append(spent / (one.steps * batch_size) * 10_000)
    return seconds


def step(
    student: nn.Module, optimizer: torch.optim.Optimizer, one: Contestant, device: torch.device
) -> None:
    """Take one training step on the contestant's next batch."""
    pixels, labels = next(one.batches)
    pixels = pixels.to(device, non_blocking=True).contiguous(memory_format=torch.channels_last)
    optimizer.zero_grad(set_to_none=True)
    loss = loss_of(one, pixels, labels, device)(student(pixels))
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def loss_of(
    one: Contestant, pixels: Tensor, labels: SoftLabels | Tensor, device: torch.device
) -> Callable[[Tensor], Tensor]:
    """Return the loss of logits; a teacher labels the batch first."""
    if isinstance(labels, SoftLabels):
        return lambda logits: soft_cross_entropy(logits, labels).mean()
    targets = labels.to(device, non_blocking=True)
    if one.teacher is None:
        return lambda logits: functional.cross_entropy(logits, targets)
    with torch.inference_mode():
        probs = one.teacher(pixels).softmax(1)
    return lambda logits: functional.cross_entropy(logits, probs.clone())


def report(seconds: dict[str, list[float]], out: Path, what: str) -> None:
    """Print the table and write it as CSV."""
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    print(f"\ntorch {torch.__version__}, {what}; seconds for 10,000 crops, medians\n")
    print("| training | seconds | against plain | of the student alone |\n|---|--:|--:|--:|")
    rows = []
    for name, value in middle.items():
        faster, share = middle["plain"] / value, middle["student alone"] / value
        print(f"| {name} | {value:.1f} | {faster:.2f} × | {share:.2f} |")
        rows.append([name, round(value, 2), round(faster, 3), round(share, 3)])
    out.mkdir(parents=True, exist_ok=True)
    with (out / "train_speed.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["training", "seconds", "against_plain", "of_alone"], *rows])


if __name__ == "__main__":
    main()
