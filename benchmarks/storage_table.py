"""Label size against fidelity, for every scheme: what a store costs, and what it still says.

    python benchmarks/storage_table.py
    python benchmarks/storage_table.py --store labels.zarr

Each row is a store that is really written, measured on disk and read back. By default the labels are
synthetic (see synthetic_labels.py). With --store they are a store's own: of a full store all rows are
made; of a top-K store those that it can give, and its own labels, not the teacher's, are the truth.

Columns. KL: of the stored numbers (kept classes, and the residual as one outcome) from the truth, nats.
CE: cross-entropy of the label as a student reads it with the full labels, -Σ label · log full; the
entropy of the full labels is its value where nothing is lost. Top-1: share of crops whose best class is
the truth's. Kept: true probability of the kept classes. Read: crops/s on one core, whole blocks.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import click
import numpy as np
import torch
from storage_report import Row, write_report
from synthetic_labels import CLASSES, create_store, make_labels
from torch import Tensor

from fkd import FkdError, LabelStore, Scheme
from fkd.labels import SoftLabels, quantize, restore
from fkd.progress import progress
from fkd.statistics import bytes_per_crop
from fkd.store import Block, Slab
from fkd.views import SAMPLERS

AT_ONCE = 4096  # crops whose dense labels are in memory at a time
SCHEMES = ("full", "hard", "smooth", "topk5", "topk10", "topk20")


@dataclass(frozen=True)
class Labels:
    """The labels that the rows are made of: a slab of views, and how to get their probabilities."""

    views: Slab
    probs: Tensor  # f32 [N · M, C]
    names: tuple[str, ...]
    schemes: tuple[str, ...]
    note: str


@click.command()
@click.option("--store", type=click.Path(path_type=Path), help="Measure this store's labels.")
@click.option("--images", default=200, show_default=True, help="Images of the default, or at most.")
@click.option("--crops", default=200, show_default=True, help="Crops of the default.")
@click.option("--out", default="benchmarks/results", type=click.Path(path_type=Path))
def main(store: Path | None, images: int, crops: int, out: Path) -> None:
    """Print the table; write it as Markdown, CSV and a plot into a folder."""
    torch.set_num_threads(1)
    try:
        labels = synthetic(images, crops) if store is None else stored(store, images)
    except FkdError as error:
        raise SystemExit(refuse(str(error))) from error
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder:
        for name in progress(labels.schemes, "schemes", unit="scheme"):
            rows += measure(labels, Scheme.parse(name), Path(folder) / f"{name}.zarr")
    write_report(rows, labels.note, entropy(labels.probs), out)


def refuse(message: str) -> int:
    """Say what is wrong in one line, as `fkd` does."""
    click.echo(f"fkd: error: {message}", err=True)
    return 2


def synthetic(images: int, crops: int) -> Labels:
    """Make the embedded default."""
    made = make_labels(images, crops)
    kept: dict[str, np.ndarray] = {}
    views = Slab(made.box, made.flip, made.size, made.target, kept)
    names = tuple(f"n{number:08d}" for number in range(CLASSES))
    note = f"{images} images × {crops} crops, {CLASSES} classes, synthetic labels"
    return Labels(views, made.probs.flatten(0, 1), names, SCHEMES, note)


def stored(path: Path, images: int) -> Labels:
    """Take the labels of a store, of its first block at most."""
    store = LabelStore.open(path)
    store.require_complete()
    slab = store.read_block(0)
    status = store.status()[: len(slab.flip)]
    views = slab.take(np.flatnonzero(status == 0)[:images], np.arange(slab.flip.shape[1]))
    spec = store.spec
    kept = {name: flat(values) for name, values in views.kept.items()}
    whole = (
        spec.scheme if spec.scheme.kind in ("full", "hard") else replace(spec.scheme, tail="smooth")
    )
    probs = restore(kept, spec.scheme, whole, spec.num_classes).dense(spec.num_classes)
    schemes = tuple(name for name in SCHEMES if spec.scheme.can_be_read_as(Scheme.parse(name)))
    truth = (
        "the teacher's labels in float16"
        if spec.scheme.kind == "full"
        else "the store's own labels"
    )
    note = (
        f"{path}: {len(views.flip)} images × {spec.num_crops} crops, {spec.num_classes} classes, "
        f"stored as {spec.scheme}; the truth is {truth}"
    )
    return Labels(views, probs, store.class_names(), schemes, note)


def flat(values: np.ndarray) -> Tensor:
    """Turn an array of a slab, [N, M, …], into a tensor [N · M, …]."""
    return torch.from_numpy(
        values.reshape(-1, values.shape[-1]).astype(values.dtype.newbyteorder("="))
    )


def measure(labels: Labels, scheme: Scheme, path: Path) -> Iterator[Row]:
    """Write one store and yield a row for each way in which a student may read it."""
    write(labels, scheme, path)
    store = LabelStore.open(path)
    size = bytes_per_crop(store)
    speed = read_speed(store)
    for name, reading in readings(scheme):
        kl, cross_entropy, top1, mass = fidelity(labels, store, reading)
        yield Row(name, size, kl, cross_entropy, top1, mass, speed)


def readings(scheme: Scheme) -> list[tuple[str, Scheme]]:
    """Return how a student may read a stored scheme, as the paper calls it."""
    if scheme.kind != "topk":
        return [(scheme.kind, scheme)]
    smooth = Scheme("topk", scheme.k, "smooth")
    return [(f"MS, K = {scheme.k}", smooth), (f"MR, K = {scheme.k}", scheme)]


def write(labels: Labels, scheme: Scheme, path: Path) -> None:
    """Write the labels as a store of their own, in blocks of the default size.

    Its boxes are drawn by the first policy, whatever those of the labels were: they take no bytes.
    """
    num_crops = labels.views.flip.shape[1]
    store = create_store(path, labels.views.target, num_crops, labels.names, scheme)
    spec = store.spec
    for number in range(spec.num_blocks):
        block, rows = Block.empty(spec, number), np.array(spec.block_range(number))
        crops, size = np.arange(num_crops), labels.views.size[rows]
        block.box[:], block.flip[:] = SAMPLERS[spec.sampler].draw(spec.views, rows, crops, size)
        block.size[:] = size
        for row, image in enumerate(rows):
            probs = labels.probs[image * num_crops : (image + 1) * num_crops]
            for name, values in quantize(probs, scheme).items():
                block.kept[name][row] = values.numpy()
        store.commit_block(number, block)


def read_speed(store: LabelStore) -> float:
    """Read every block a few times; return crops/s of the fastest round."""
    crops, best = store.spec.num_images * store.spec.num_crops, float("inf")
    for _ in range(5):
        began = time.perf_counter()
        for number in range(store.spec.num_blocks):
            store.read_block(number)
        best = min(best, time.perf_counter() - began)
    return crops / best


def fidelity(
    labels: Labels, store: LabelStore, reading: Scheme
) -> tuple[float | None, float, float, float]:
    """Return KL, cross-entropy, top-1 agreement and kept mass, averaged over all crops."""
    spec, sums, first = store.spec, np.zeros(4), 0
    for number in range(spec.num_blocks):
        slab = store.read_block(number)
        kept = {name: flat(values) for name, values in slab.kept.items()}
        count = slab.flip.size
        for start in range(0, count, AT_ONCE):
            part = {name: values[start : start + AT_ONCE] for name, values in kept.items()}
            truth = labels.probs[first + start : first + min(start + AT_ONCE, count)]
            read = restore(part, spec.scheme, reading, spec.num_classes)
            index = part.get("index")
            numbers = (
                read
                if reading.kind == "full"
                else kept_numbers(part, spec.scheme, spec.num_classes)
            )
            sums += compare(truth.double(), read, numbers, None if index is None else index.long())
        first += count
    kl, cross_entropy, top1, mass = sums / len(labels.probs)
    return (None if spec.scheme.kind == "hard" else kl), cross_entropy, top1, mass


def kept_numbers(part: dict[str, Tensor], scheme: Scheme, num_classes: int) -> SoftLabels:
    """Return what is stored before a reader's tail rule: kept values, and the residual in the tail."""
    whole = scheme if scheme.kind == "hard" else Scheme("topk", scheme.kept(num_classes), "smooth")
    return restore(part, scheme, whole, num_classes)


def compare(
    truth: Tensor, read: SoftLabels, numbers: SoftLabels, index: Tensor | None
) -> np.ndarray:
    """Return the sums over a batch, truth f64 [B, C]: KL, cross-entropy, top-1 hits, kept mass."""
    dense = read.dense(truth.shape[1]).double()
    log_truth = truth.clamp(min=1e-30).log()
    cross_entropy = -(dense * log_truth).sum()
    best = dense.argmax(1) if read.index is None else read.index[:, 0]  # ranks break ties
    hits = (best == truth.argmax(1)).sum()
    if index is None:
        outcomes, said, mass = truth, numbers.dense(truth.shape[1]).double(), truth.sum()
    else:
        top = truth.gather(1, index)
        rest = (1 - top.sum(1, keepdim=True)).clamp(min=0)
        outcomes = torch.cat([top, rest], dim=1)
        value = numbers.value.double()
        said = torch.cat([value, (1 - value.sum(1, keepdim=True)).clamp(min=1e-300)], dim=1)
        mass = top.sum()
    kl = torch.special.xlogy(outcomes, outcomes / said.clamp(min=1e-300)).sum()
    return np.array([float(kl), float(cross_entropy), float(hits), float(mass)])


def entropy(probs: Tensor) -> float:
    """Return the mean entropy of the true labels, in nats."""
    starts = range(0, len(probs), AT_ONCE)
    parts = (probs[start : start + AT_ONCE].double() for start in starts)
    return sum(float(-torch.special.xlogy(part, part).sum()) for part in parts) / len(probs)


if __name__ == "__main__":
    main()
