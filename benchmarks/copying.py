"""How fast stores are copied, merged and averaged, beside reading them.

    python benchmarks/copying.py --images 2000

Stores of `synthetic_labels` are written once; then each command is run in one thread, and so is a
reader of the same store, in turns. A rate is crops of the source (of each of two) by a second of one
core's work; the ratio is the median of the rounds' own.
"""

import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click
import numpy as np
import torch
from synthetic_labels import CLASSES, create_store, draw_logits

from fkd import (
    AverageConfig,
    CopyConfig,
    LabelStore,
    MergeConfig,
    Part,
    Scheme,
    average_stores,
    copy_store,
    merge_stores,
)
from fkd.labels import quantize, row_fidelity
from fkd.views import SAMPLERS

_AT_ONCE = 64  # images whose labels are drawn together
HEADER = ("work", "M crops/s a core", "time / reading")


def make_store(path: Path, scheme: str, num_images: int, num_crops: int, seed: int) -> LabelStore:
    """Write a store of synthetic labels."""
    kept = Scheme.parse(scheme)
    target = np.sort(np.random.default_rng(0).integers(0, CLASSES, num_images))
    names = [f"n{number:08}" for number in range(CLASSES)]
    store = create_store(path, target, num_crops, names, kept)
    for number in store.pending_blocks():
        images = store.block(number).images
        block = store.empty_block(number)
        block.size[:], block.content_hash[:] = (400, 500), np.arange(images.start, images.stop) + 1
        draw = SAMPLERS[store.spec.sampler].draw
        block.box[:], block.flip[:] = draw(
            store.spec.views, np.array(images), np.arange(num_crops), block.size
        )
        sums, few = np.zeros(6), range(0, len(images), _AT_ONCE)
        for first in few:
            rows = slice(first, min(first + _AT_ONCE, len(images)))
            probs = draw_logits(
                target[images.start :][rows], num_crops, seed + images.start + first
            )
            flat = probs.softmax(2).reshape(-1, CLASSES)
            labels = quantize(flat, kept)
            sums += row_fidelity(flat, labels, kept).double().sum(0).numpy()
            for name, values in labels.items():
                block.kept[name][rows] = values.numpy().reshape(block.kept[name][rows].shape)
        block.fidelity[:] = sums / (len(images) * num_crops)
        store.commit_block(number, block)
    return LabelStore.open(path)


def halves(store: LabelStore, folder: Path) -> tuple[Path, Path]:
    """Copy every other image of a store into a store of its own, and the others into another."""
    paths, made = store.image_paths(), []
    for half in range(2):
        listed = folder / f"half-{half}.txt"
        listed.write_text("\n".join(list(paths)[half::2]))
        out = folder / f"half-{half}.zarr"
        copy_store(CopyConfig(store.path, out, Part(str(listed)), workers=1))
        made.append(out)
    return made[0], made[1]


def works(
    folder: Path, num_images: int, num_crops: int
) -> dict[str, tuple[Callable[[], object], LabelStore]]:
    """Return what is timed, with the store that is read beside it."""
    ten = make_store(folder / "ten.zarr", "topk10", num_images, num_crops, 0)
    five = [
        make_store(folder / f"five-{n}.zarr", "topk5", num_images, num_crops, 100_000 * n)
        for n in range(2)
    ]
    full = make_store(folder / "full.zarr", "full", max(1, num_images // 20), num_crops, 0)
    out, parts = folder / "out.zarr", halves(five[0], folder)
    scheme = Scheme("topk", 5)
    pair = (five[0].path, five[1].path)
    return {
        "copy, all of it": (
            lambda: copy_store(CopyConfig(pair[0], out, workers=1, overwrite=True)),
            five[0],
        ),
        "copy, all crops anew": (
            lambda: copy_store(
                CopyConfig(pair[0], out, num_crops=num_crops, workers=1, overwrite=True)
            ),
            five[0],
        ),
        "copy, topk10 to topk5": (
            lambda: copy_store(CopyConfig(ten.path, out, scheme=scheme, workers=1, overwrite=True)),
            ten,
        ),
        "copy, full to topk5": (
            lambda: copy_store(
                CopyConfig(full.path, out, scheme=scheme, workers=1, overwrite=True)
            ),
            full,
        ),
        "merge, topk5": (
            lambda: merge_stores(MergeConfig(parts, out, workers=1, overwrite=True)),
            five[0],
        ),
        "average, topk5": (
            lambda: average_stores(AverageConfig(pair, out, workers=1, overwrite=True)),
            five[0],
        ),
    }


def read(store: LabelStore) -> None:
    """Read all of a store, block by block, as it lies on disk."""
    opened = LabelStore.open(store.path)
    for number in opened.done_blocks():
        opened.read_block(number)


def seconds_of(work: Callable[[], object]) -> float:
    """Return the time that a core spends on it, whatever else the machine does."""
    began = time.process_time()
    work()
    return time.process_time() - began


@click.command()
@click.option("--images", "num_images", default=2000, show_default=True)
@click.option("--crops", "num_crops", default=200, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option(
    "--out", default="benchmarks/results", type=click.Path(path_type=Path), show_default=True
)
def main(num_images: int, num_crops: int, rounds: int, out: Path) -> None:
    """Print and write a table: crops a second of a core, and the time as a multiple of reading's."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix="fkd-") as folder:
        lines = [f"| {' | '.join(HEADER)} |", "|---|--:|--:|"]
        for name, (work, source) in works(Path(folder), num_images, num_crops).items():
            reading = partial(read, source)
            times = [(seconds_of(work), seconds_of(reading)) for _ in range(rounds)]
            crops = source.spec.num_images * source.spec.num_crops
            rate = crops / statistics.median(spent for spent, _ in times) / 1e6
            ratio = statistics.median(spent / beside for spent, beside in times)
            lines.append(f"| {name} | {rate:.2f} | {ratio:.1f} |")
    used = ", ".join(f"{library} {version(library)}" for library in ("torch", "numpy", "zarr"))
    about = f"{num_images:,} images × {num_crops} crops, {used}, {os.cpu_count()} × {platform.machine()}"
    text = "\n".join([*lines, "", about, ""])
    out.mkdir(parents=True, exist_ok=True)
    (out / "copying.md").write_text(text, "utf-8")
    print(text, end="")


if __name__ == "__main__":
    main()
