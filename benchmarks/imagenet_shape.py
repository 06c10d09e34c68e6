"""A store of ImageNet's shape: time to open it, memory and speed of reading a pass, time to check it.

    python benchmarks/imagenet_shape.py                    # 1,281,167 × 200, top-5: 3 GB on disk
    python benchmarks/imagenet_shape.py --images 200000

Two blocks are made of synthetic labels (synthetic_labels.py), each image with crops and classes shuffled
in its own way, and copied until there are enough; the last, shorter one is made on its own. The boxes of
every block are hashed, and its seal is written anew. Opening and reading are measured in a fresh process
each.
"""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np
import torch
import zarr
from peak import peak_mib
from synthetic_labels import CLASSES, create_store, make_labels

from fkd import CheckConfig, LabelStore, Scheme, check_store
from fkd.arrays.block_files import BlockFiles
from fkd.files import Folder
from fkd.format import (
    StoreSpec,
)
from fkd.format.layout import array_layouts
from fkd.labels import quantize
from fkd.progress import progress
from fkd.store import (
    Block,
)
from fkd.views import SAMPLERS, Boxes, Flips, Sizes, hash_views, label_draws

SOURCE_IMAGES = 100
DISTINCT = 2
TINY = "tiny.zarr"


@click.command()
@click.option("--images", default=1_281_167, show_default=True)
@click.option("--crops", default=200, show_default=True)
@click.option("--scheme", default="topk5", show_default=True)
@click.option("--passes", default=3, show_default=True, help="Passes of m = 4 that are read.")
@click.option(
    "--folder", type=click.Path(path_type=Path), help="Where to build  [default: temporary]"
)
def main(images: int, crops: int, scheme: str, passes: int, folder: Path | None) -> None:
    """Build the store, measure it, remove it."""
    with tempfile.TemporaryDirectory(dir=folder) as name:
        path = Path(name) / "labels.zarr"
        build(path, images, crops, Scheme.parse(scheme))
        build(path.with_name(TINY), 2, 4, Scheme("topk", 5))
        command = [sys.executable, __file__, "--measure", str(path), str(passes)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    said = json.loads(done.stdout)
    print(
        f"\n{images:,} images × {crops} crops, {scheme}, {said['blocks']} blocks: "
        f"{said['bytes'] / 2**30:.2f} GiB on disk, {said['bytes'] / images / crops:.2f} bytes a crop\n"
    )
    print("| m = 4 | measured | wanted |\n|---|--:|--:|")
    print(f"| open | {said['open']:.2f} s | < 1 s |")
    print(
        f"| peak memory of {passes} passes above the start | {said['grown']:.0f} MiB | < 1024 MiB |"
    )
    for number, rate in enumerate(said["rates"]):
        print(f"| read pass {number + 1}, one core | {rate / 1e6:.2f} M crops/s | > 3 M |")
    per_million = said["checked"] / (images * crops) * 1e6
    print(f"| `fkd check`, one core | {said['checked']:.0f} s, {per_million:.2f} s per M crops | |")


def build(path: Path, num_images: int, num_crops: int, scheme: Scheme) -> None:
    """Write a store of this many images, most of it by copying blocks."""
    target = np.sort(np.random.default_rng(0).integers(0, CLASSES, num_images))
    names = [f"n{number:08d}" for number in range(CLASSES)]
    store = create_store(path, target, num_crops, names, scheme)
    last = store.spec.num_blocks - 1
    for number in progress(range(last + 1), "build", unit="block"):
        if number < DISTINCT or number == last:
            store.commit_block(number, shuffled_block(store.spec, number))
        else:
            copy_block(store, number % DISTINCT, number)


def shuffled_block(spec: StoreSpec, number: int) -> Block:
    """Fill block `number` with synthetic labels, shuffled image by image."""
    made = make_labels(SOURCE_IMAGES, spec.num_crops)
    images, crops = np.arange(SOURCE_IMAGES)[:, None], np.arange(spec.num_crops)
    draws = torch.from_numpy(label_draws(spec.views.seed, images, crops).reshape(-1))
    kept = {
        name: values.numpy().reshape(SOURCE_IMAGES, spec.num_crops, -1)
        for name, values in quantize(made.probs.flatten(0, 1), spec.scheme, draws).items()
    }
    block, rng = Block.empty(spec, number), np.random.default_rng(number)
    for row in range(len(block.size)):
        image, order = rng.integers(SOURCE_IMAGES), rng.permutation(spec.num_crops)
        block.size[row] = made.size[image]
        block.content_hash[row] = rng.integers(1, 2**63)
        for name, values in kept.items():
            chosen = values[image, order]
            block.kept[name][row] = rng.permutation(CLASSES)[chosen] if name == "index" else chosen
    block.box[:], block.flip[:] = draw(spec, number, block.size)
    return block


def draw(spec: StoreSpec, number: int, size: Sizes) -> tuple[Boxes, Flips]:
    """Draw all boxes and flips of a block."""
    images, crops = np.array(spec.block_range(number)), np.arange(spec.num_crops)
    return SAMPLERS[spec.sampler].draw(spec.views, images, crops, size)


def copy_block(store: LabelStore, source: int, number: int) -> None:
    """Copy the files of one block to another of the same length, and hash the boxes that it has."""
    path, spec = Path(store.path), store.spec
    for array in path.iterdir():
        files = array / "c" / str(source)
        if files.is_dir():
            shutil.copytree(files, array / "c" / str(number))
        elif files.is_file() and array.name in ("status", "content_hash"):
            shutil.copy(files, array / "c" / str(number))
    first = spec.block_range(source).start
    rows = zarr.open_array(path / "size", mode="r")[first : first + spec.block_images]
    hashes = hash_views(*draw(spec, number, np.asarray(rows, np.uint16)), spec.chunk_crops)
    zarr.open_array(path / "view_hash", mode="r+")[number] = hashes
    seal = BlockFiles(Folder(path), array_layouts(spec)).seal(number)
    zarr.open_array(path / "done", mode="r+")[number] = np.frombuffer(seal, np.uint8)


def measure(path: Path, passes: int) -> None:
    """Open and read in this process, on one core; print what it took as JSON."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    LabelStore.open(path.with_name(TINY)).read_block(0)  # imports and zarr's start are not counted
    before = peak_mib()
    began = time.perf_counter()
    store = LabelStore.open(path)
    opened = time.perf_counter() - began
    rates = []
    for number in range(passes):
        began = time.perf_counter()
        slab = store.read_crops(range(4 * number, 4 * number + 4))
        rates.append(slab.flip.size / (time.perf_counter() - began))
        del slab
    began = time.perf_counter()
    report = check_store(CheckConfig(path, workers=1))
    checked = time.perf_counter() - began
    assert not report.damaged, report
    print(
        json.dumps(
            {
                "open": opened,
                "grown": peak_mib() - before,
                "rates": rates,
                "checked": checked,
                "bytes": sum(store.stored_bytes().values()),
                "blocks": store.spec.num_blocks,
            }
        )
    )


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        measure(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
