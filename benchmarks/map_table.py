"""Bytes of stored maps against what they give up of the teacher's, and how fast they are read.

    fkd label --teacher deeplab.pt2 --crops 4 --compress full --out full.zarr camvid/
    python benchmarks/map_table.py full.zarr
    python benchmarks/map_table.py full.zarr --enlarge 65 65

A row is what `fkd copy` makes of a store that keeps all classes: what ids and codes take on disk, bytes
a cell and KB a view. Beside it stands what the same ids and codes take as planes, rank by rank, the
codes as steps from rank to rank: one block of zstd at its highest level a plane and chunk. KL: nats from
the teacher's whole label, mean of all cells. Read: cells/s of one core, everything counted.

With --enlarge the maps are first enlarged to that many rows and columns, as a teacher with a finer last
layer has them.
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import torch
from numcodecs import Blosc
from torch.nn import functional

from fkd import CopyConfig, FkdError, LabelStore, Scheme, copy_store
from fkd.arrays import pack_codes
from fkd.config import Grid, grid_text
from fkd.format import plan_layout
from fkd.images import ImageList
from fkd.labels import StoredArray, laid_out, quantize, row_fidelity, rows_of
from fkd.progress import progress

SCHEMES = (
    *("hard", "smooth", "topk2", "topk3", "topk5"),
    *("topk2-coarse", "topk3-coarse", "topk4-coarse", "topk5-coarse"),
)
ROUNDS = 3

HEAD = """| kept | ids | codes | together | KB a view | as planes | KL | read, M cells/s |
|---|--:|--:|--:|--:|--:|--:|--:|"""


@click.command()
@click.argument("store", type=click.Path(path_type=Path))
@click.option("--enlarge", nargs=2, type=int, metavar="ROWS COLUMNS", help="Of the maps.")
def main(store: Path, enlarge: Grid | None) -> None:
    """Print the table of STORE, which keeps all classes of maps."""
    torch.set_num_threads(1)
    try:
        source = LabelStore.open(store)
        if not source.spec.grid or source.spec.scheme != Scheme("full"):
            raise FkdError(f"{store}: give a store of maps that were labelled with --compress full")
        with tempfile.TemporaryDirectory() as folder:
            if enlarge:
                source = enlarged(source, Path(folder) / "enlarged.zarr", enlarge)
            spec = source.spec
            cells = f"{grid_text(spec.grid)} cells, {spec.num_classes} classes"
            print(f"{spec.num_images:,} images × {spec.num_crops} views, {cells}\n\n{HEAD}")
            for scheme in SCHEMES:
                print(row(source, scheme, Path(folder) / f"{scheme}.zarr"), flush=True)
    except FkdError as error:
        click.echo(f"fkd: error: {error}", err=True)
        raise SystemExit(2) from error


def row(source: LabelStore, scheme: str, path: Path) -> str:
    """Return a row of the table: the store in a scheme, made at a path."""
    store = copy_store(CopyConfig(source.path, path, scheme=Scheme.parse(scheme)))
    spec, fidelity, on_disk = store.spec, store.fidelity(), store.stored_bytes()
    views = spec.num_images * spec.num_crops
    cells = views * spec.labels.num_positions
    ids, codes = (on_disk.get(name, 0) / cells for name in ("index", "code"))
    seconds, planes = [], 0
    for _ in range(ROUNDS):
        opened, start = LabelStore.open(path), time.process_time()
        kept = opened.read(range(spec.num_images), range(spec.num_crops)).kept
        seconds.append(time.process_time() - start)
    for first in range(0, spec.num_images, spec.block_images):
        block = slice(first, first + spec.block_images)
        planes += sum(
            map(
                compressed,
                as_planes({n: values[block] for n, values in kept.items()}, spec.labels.num_ranks),
            )
        )
    kl = "–" if fidelity is None or fidelity.kl is None else f"{fidelity.kl:.4f}"
    return (
        f"| {scheme} | {ids:.3f} | {codes:.3f} | {ids + codes:.3f} "
        f"| {(ids + codes) * cells / views / 1000:.2f} | {planes / cells:.3f} "
        f"| {kl} "
        f"| {cells / min(seconds) / 1e6:.1f} |"
    )


def as_planes(kept: dict[str, StoredArray], num_ranks: int) -> Iterator[StoredArray]:
    """Yield the planes of ids and of the steps of codes, [n, m, G · K] each, of four crops each."""
    for first in range(0, kept["index"].shape[1], 4):
        for name, values in kept.items():
            by_cell = np.ascontiguousarray(values[:, first : first + 4]).reshape(1, -1, num_ranks)
            numbers = pack_codes(by_cell) if name == "code" else by_cell
            yield from np.ascontiguousarray(np.moveaxis(numbers[0], 1, 0))


def compressed(plane: StoredArray) -> int:
    """Return how many bytes a plane takes."""
    return len(Blosc("zstd", 9, Blosc.NOSHUFFLE, plane.nbytes).encode(plane))


def enlarged(source: LabelStore, path: Path, grid: Grid) -> LabelStore:
    """Write a store whose maps are another one's, enlarged: probabilities, between centres of cells."""
    old, crops = source.spec, range(source.spec.num_crops)
    spec = plan_layout(replace(old, grid=grid, masks=False))
    keys, num_bytes = source.image_paths(), source.num_bytes()
    targets = source.targets()
    images = ImageList(Path(spec.images_root), keys, np.zeros(len(keys), np.int64), num_bytes, ())
    store = LabelStore.create(path, spec, images, targets, source.class_names())
    for number in progress(range(store.num_blocks), "enlarge", unit="block"):
        block, rows = store.empty_block(number), store.block(number).images
        slab = source.read(rows, crops)
        block.size[:], block.box[:], block.flip[:] = slab.size, slab.box, slab.flip
        block.status[:] = source.status()[rows.start : rows.stop]
        measures = []
        for image in range(len(rows)):
            kept = {name: torch.from_numpy(values[image]) for name, values in slab.kept.items()}
            maps = laid_out(old.labels.restore(kept).dense(spec.num_classes), old.grid)
            probs = rows_of(functional.interpolate(maps, grid, mode="bilinear", align_corners=True))
            new = quantize(probs, spec.scheme)
            measures.append(row_fidelity(probs, new, spec.scheme).double().mean(0))
            for name, values in new.items():
                block.kept[name][image] = values.reshape(len(crops), -1).numpy()
        block.fidelity[:] = torch.stack(measures).mean(0).numpy()
        store.commit_block(number, block)
    return LabelStore.open(path)


if __name__ == "__main__":
    main()
