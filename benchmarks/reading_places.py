"""The speed at which a store's labels are read from a folder, a zip and a bucket, beside one another.

    python benchmarks/reading_places.py --store labels.zarr

The bucket is on this machine (rclone, behind a small proxy that answers ranges as S3 does), so the
bandwidth of a network is not in these numbers: they say what fkd adds. Places take turns in one process,
pass after pass, on the same crops. "cold" begins with an empty cache in every round, and "warm" has all
in it. Without --store one like ImageNet's is made, of few images.
"""

import importlib.util
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from shutil import rmtree
from typing import Any

import click
import torch
from imagenet_shape import build

from fkd import LabelStore, Scheme
from fkd.config import Url
from fkd.copying import carry_store

BUCKETS = Path(__file__).parents[1] / "tests" / "helpers" / "buckets.py"


@click.command()
@click.option("--store", type=click.Path(path_type=Path), help="A label store instead of ours.")
@click.option("--images", default=4096, show_default=True, help="Images of ours.")
@click.option("--crops", default=64, show_default=True, help="Crops of each.")
@click.option(
    "--per-pass", default=4, show_default=True, help="Crops of an image that a pass takes."
)
@click.option("--rounds", default=7, show_default=True)
def main(store: Path | None, images: int, crops: int, per_pass: int, rounds: int) -> None:
    """Print crops/s from every place, and the median of its ratios to the folder."""
    torch.set_num_threads(1)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        os.environ["FKD_CACHE"] = str(folder / "cache")
        path = store or folder / "labels.zarr"
        if store is None:
            build(path, images, crops, Scheme("topk", 5, coarse=True))
        bucket = stack.enter_context(_buckets().served(folder / "buckets"))
        os.environ.update(bucket.environment())
        places: dict[str, Path | Url] = {"zip": folder / "labels.zarr.zip"}
        places |= {"bucket": Url("s3://labels/x.zarr"), "zip in a bucket": Url("s3://labels/x.zip")}
        for place in places.values():
            carry_store(path, place)
        rows = compare(path, places, folder / "cache", per_pass, rounds)
    print("| place | crops/s | against the folder |\n|---|--:|--:|")
    for name, (rate, ratio) in rows.items():
        print(f"| {name} | {rate:,.0f} | {ratio:.3f} |")


def compare(
    folder: Path, places: dict[str, Path | Url], cache: Path, per_pass: int, rounds: int
) -> dict[str, tuple[float, float]]:
    """Return crops/s by place, medians over rounds, and the median ratio to the folder's."""
    readings: dict[str, Callable[[], float]] = {"folder": lambda: crops_a_second(folder, per_pass)}
    for name, place in places.items():
        if isinstance(place, Url):
            readings[f"{name}, cold"] = lambda place=place: emptied(cache, place, per_pass)  # type: ignore[misc]
            name += ", warm"
        readings[name] = lambda place=place: crops_a_second(place, per_pass)  # type: ignore[misc]
    rates: dict[str, list[float]] = {name: [] for name in readings}
    for number in range(rounds + 1):
        for name, read in readings.items():
            rate = read()
            if number:  # the first round loads libraries and fills the page cache
                rates[name].append(rate)
    return {
        name: (
            statistics.median(of),
            statistics.median(a / b for a, b in zip(of, rates["folder"], strict=True)),
        )
        for name, of in rates.items()
    }


def emptied(cache: Path, place: Path | Url, per_pass: int) -> float:
    """Return the same with a cache that has nothing yet."""
    rmtree(cache, ignore_errors=True)
    return crops_a_second(place, per_pass)


def crops_a_second(place: Path | Url, per_pass: int) -> float:
    """Open a store and read all its crops, pass by pass; return how many that is in a second."""
    begun = time.perf_counter()
    store = LabelStore.open(place)
    for first in range(0, store.spec.num_crops, per_pass):
        store.read_crops(range(first, min(first + per_pass, store.spec.num_crops)))
    return store.spec.num_images * store.spec.num_crops / (time.perf_counter() - begun)


def _buckets() -> Any:
    """Load the server of buckets that the tests have."""
    spec = importlib.util.spec_from_file_location("buckets", BUCKETS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    main()
