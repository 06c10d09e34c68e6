"""The student's input from archives and tables, beside the same images in a folder.

    python benchmarks/source_speed.py --images imagenet

All sources take turns in one process, round after round, on the same images, warm in the page cache, from
the middle of a long run. A line for each source and m: views/s, and the median of its ratios to the
folder, round by round. Parquet and Arrow are written where pyarrow is installed.
"""

import importlib.util
import io
import statistics
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import click
import torch
from input_speed import fkd_round
from speed_inputs import label, rendered, some_of

from fkd import PackConfig, pack_images
from fkd.images import ImageList
from fkd.originals import find_images
from fkd.progress import progress
from fkd.sources import list_images

VISITS = (1, 4)


@click.command()
@click.option("--images", type=click.Path(path_type=Path), help="An image folder instead of ours.")
@click.option("--limit", default=400, show_default=True, help="Different images, at most.")
@click.option("--visits", default=1600, show_default=True, help="Images decoded in a round.")
@click.option("--size", default=224, show_default=True)
@click.option("--workers", default=1, show_default=True)
@click.option("--rounds", default=7, show_default=True)
def main(
    images: Path | None, limit: int, visits: int, size: int, workers: int, rounds: int
) -> None:
    """Print views/s from every source, and its ratio to the folder."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = rendered(folder, limit) if images is None else some_of(images, folder, limit)
        store = label(root, folder, size)
        lists = {name: find_images(store, place) for name, place in sources(root, folder).items()}
        print("| source | m | views/s | against the folder |\n|---|--:|--:|--:|")
        for m in VISITS:
            rounds_of = {
                name: fkd_round(store, visits, m, workers, images=listed)
                for name, listed in lists.items()
            }
            for name, rate, ratio in run(rounds_of, rounds):
                print(f"| {name} | {m} | {rate:,.0f} | {ratio:.3f} |")


def sources(root: Path, folder: Path) -> dict[str, Path]:
    """Write the images of a folder in every kind of container."""
    made = {"folder": root, "tar shards": folder / "shards"}
    pack_images(PackConfig(root, made["tar shards"], pixels=None, to="tar", shard_bytes=10_000_000))
    images = list_images(root)
    made["a tar"] = folder / "x.tar"
    with tarfile.open(made["a tar"], "w") as archive:
        for row, key in enumerate(images.paths):
            archive.addfile(*member(key, bytes(images.read(row))))
    for kind, how in (("stored", zipfile.ZIP_STORED), ("deflated", zipfile.ZIP_DEFLATED)):
        made[f"zip, {kind}"] = folder / f"{kind}.zip"
        with zipfile.ZipFile(made[f"zip, {kind}"], "w", how) as archive_of:
            for row, key in enumerate(images.paths):
                archive_of.writestr(key, bytes(images.read(row)))
    if importlib.util.find_spec("pyarrow"):
        made |= tables(images, folder)
    return made


def member(name: str, content: bytes) -> tuple[tarfile.TarInfo, io.BytesIO]:
    """Return a file for a tar archive."""
    info = tarfile.TarInfo(name)
    info.size = len(content)
    return info, io.BytesIO(content)


def tables(images: ImageList, folder: Path) -> dict[str, Path]:
    """Write the images as Hugging Face keeps them: parquet of several codecs, and Arrow."""
    import pyarrow
    from pyarrow import ipc, parquet

    rows = [{"bytes": bytes(images.read(n)), "path": key} for n, key in enumerate(images.paths)]
    table = pyarrow.table(
        {"image": rows, "label": [images.classes[n] for n in images.targets.tolist()]}
    )
    made = {}
    for codec in ("none", "snappy", "zstd"):
        made[f"parquet, {codec}"] = folder / f"{codec}.parquet"
        parquet.write_table(table, made[f"parquet, {codec}"], compression=codec, row_group_size=100)
    made["arrow"] = folder / "x.arrow"
    with ipc.new_stream(str(made["arrow"]), table.schema) as stream:
        stream.write_table(table, max_chunksize=100)
    return made


def run(contest: dict[str, Callable[[], float]], rounds: int) -> list[tuple[str, float, float]]:
    """Let all take turns, the first round apart; return the name, the rate and the ratio of each."""
    rates: dict[str, list[float]] = {name: [] for name in contest}
    for number in progress(range(rounds + 1), "rounds", unit="round"):
        for name, read in contest.items():
            rate = read()
            if number:
                rates[name].append(rate)
    return [
        (
            name,
            statistics.median(values),
            statistics.median(a / b for a, b in zip(values, rates["folder"], strict=True)),
        )
        for name, values in rates.items()
    ]


if __name__ == "__main__":
    main()
