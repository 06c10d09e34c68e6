"""Label size against fidelity, for every scheme: what a store costs, and what it still says.

    python benchmarks/storage_table.py
    python benchmarks/storage_table.py --store labels.zarr

Each row is a store that is really written, measured on disk and read back. By default the labels are
synthetic (see synthetic_labels.py). With --store they are a store's own: of a full store all rows are
made; of a top-K store those that it can give, and its own labels, not the teacher's, are the truth. A
store of samples is refused: it holds no label that rows could be made of.

Columns. Mean K: classes of a label that are not zero. Bytes a crop by part: boxes, flips, palettes
and slots (the ids), codes (the values), lists (paths, sizes, classes of images), hashes (of images and
of views), and what is there once (metadata, seals, names of classes). KL: of the whole label, as a
student can best read it, from the truth, nats; KL quant.: the part of it that rounding costs, with the
residual as one outcome. CE: cross-entropy of the whole label with the full labels,
-Σ label · log full; the entropy of the full labels is its value where nothing is lost. CE re-norm: the
same of the kept classes alone. Top-1: share of crops whose best class is the truth's. Kept: true
probability of the kept classes. Read: crops/s on one core, whole blocks. Samples are true on average over
crops alone, so of them size, mean K and speed are all that a row can say.
"""

import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import click
import numpy as np
import torch
from storage_report import Row, Sizes, write_report
from synthetic_labels import CLASSES, create_store, make_labels
from torch import Tensor

from fkd import FkdError, LabelStore, Scheme
from fkd.labels import quantize, row_fidelity
from fkd.progress import progress
from fkd.store import Block, Slab
from fkd.views import SAMPLERS, label_draws

AT_ONCE = 4096  # crops whose dense labels are in memory at a time
SCHEMES = (
    "full", "full-8bit", "hard", "smooth", "topk5-coarse", "topk5", "topk7-coarse", "topk10", "topk20",
    "samples1", "samples8",
)  # fmt: skip


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
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            measure(labels, Scheme.parse(name), Path(folder) / f"{name}.zarr")
            for name in progress(labels.schemes, "schemes", unit="scheme")
        ]
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
    if not store.spec.labels.keeps_first:
        raise FkdError(
            f"{path} holds samples ({store.spec.scheme}), of which no other labels can be made; "
            "give --store a store of full or topK labels"
        )
    slab = store.read_block(0)
    status = store.status()[: len(slab.flip)]
    views = slab.take(np.flatnonzero(status == 0)[:images], np.arange(slab.flip.shape[1]))
    spec = store.spec
    kept = {name: flat(values) for name, values in views.kept.items()}
    probs = spec.labels.restore(kept).dense()
    schemes = tuple(
        name for name in SCHEMES if spec.labels.keeps_all or spec.scheme.can_be_read_as(whole(name))
    )
    exact = spec.scheme == Scheme("full")
    truth = "the teacher's labels in float16" if exact else "the store's own labels"
    note = (
        f"{path}: {len(views.flip)} images × {spec.num_crops} crops, {spec.num_classes} classes, "
        f"stored as {spec.scheme}; the truth is {truth}"
    )
    return Labels(views, probs, store.class_names(), schemes, note)


def whole(name: str) -> Scheme:
    """Return the reading of all that a store of a scheme keeps."""
    return Scheme.parse(name).whole


def flat(values: np.ndarray) -> Tensor:
    """Turn an array of a slab, [N, M, …], into a tensor [N · M, …]."""
    return torch.from_numpy(
        values.reshape(-1, values.shape[-1]).astype(values.dtype.newbyteorder("="))
    )


def measure(labels: Labels, scheme: Scheme, path: Path) -> Row:
    """Write one store and return its row."""
    write(labels, scheme, path)
    store = LabelStore.open(path)
    size = Sizes(store.stored_bytes(), store.spec.num_images, store.spec.num_crops)
    found = compare(labels, store)
    renorm = None if scheme.kind != "topk" else found["renorm"]
    ranked = scheme.kind != "samples"
    soft = ranked and scheme.kind != "hard"
    return Row(
        str(scheme),
        found["kept"],
        size,
        found["kl"] if soft else None,
        found["quantization"] if soft else None,
        found["cross_entropy"] if ranked else None,
        renorm,
        found["top1"] if ranked else None,
        found["mass"] if ranked else None,
        read_speed(store),
    )


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
            draws = torch.from_numpy(label_draws(spec.views.seed, np.full(num_crops, image), crops))
            for name, values in quantize(probs, scheme, draws).items():
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


def compare(labels: Labels, store: LabelStore) -> dict[str, float]:
    """Return what a store's labels are beside the true ones, on average over all crops."""
    sums: Counter[str] = Counter()
    first = 0
    for number in range(store.spec.num_blocks):
        slab = store.read_block(number)
        kept = {name: flat(values) for name, values in slab.kept.items()}
        for start in range(0, slab.flip.size, AT_ONCE):
            stop = min(start + AT_ONCE, slab.flip.size)
            part = {name: values[start:stop] for name, values in kept.items()}
            sums.update(compared(labels.probs[first + start : first + stop], part, store))
        first += slab.flip.size
    return {name: total / len(labels.probs) for name, total in sums.items()}


def compared(truth: Tensor, part: dict[str, Tensor], store: LabelStore) -> dict[str, float]:
    """Return sums over a batch of stored labels beside the true ones, f32 [B, C]."""
    scheme, kept = store.spec.scheme, store.spec.labels
    whole, fidelity = kept.restore(part), row_fidelity(truth, part, scheme).double()
    log_truth = truth.double().clamp(min=1e-30).log()
    best = whole.value.argmax(1) if whole.index is None else whole.index[:, 0]  # ranks break ties
    sums = {
        "kept": (whole.value > 0).sum(),
        "kl": fidelity[:, 0].sum(),
        "quantization": fidelity[:, 1].sum(),
        "mass": fidelity[:, 2].sum(),
        "cross_entropy": -(whole.dense().double() * log_truth).sum(),
        "top1": (best == truth.argmax(1)).sum(),
    }
    if scheme.kind == "topk":
        renorm = kept.restore(part, Scheme("topk", scheme.k)).dense().double()
        sums["renorm"] = -(renorm * log_truth).sum()
    return {name: float(total) for name, total in sums.items()}


def entropy(probs: Tensor) -> float:
    """Return the mean entropy of the true labels, in nats."""
    starts = range(0, len(probs), AT_ONCE)
    parts = (probs[start : start + AT_ONCE].double() for start in starts)
    return sum(float(-torch.special.xlogy(part, part).sum()) for part in parts) / len(probs)


if __name__ == "__main__":
    main()
