"""Kill `fkd label` at random moments, go on each time, and compare with a run that nobody killed.

    python benchmarks/kill_label.py --rounds 10

The images are rendered, the teacher is a resnet18 with random weights at 32 px. It prints what each
kill left, and ends with exit code 1 if a box, flip or class id differs from the uninterrupted run, or
a code by more than one step (the order of sums inside the network may differ between runs).
"""

import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import click
import numpy as np

from fkd import LabelStore
from fkd.errors import StoreError
from fkd.scenes import Scenes, render_dataset

CROPS, BLOCK = 40, 16


@click.command()
@click.option("--rounds", default=10, show_default=True, help="SIGKILLs.")
@click.option("--images", default=400, show_default=True)
@click.option("--seed", default=0, show_default=True)
def main(rounds: int, images: int, seed: int) -> None:
    """Kill and resume, then compare."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scenes = Scenes(train_per_class=-(-images // 10), val_per_class=0)
        render_dataset(folder / "images", scenes, workers=2)
        begin, work = time_whole(folder)
        print(f"uninterrupted: {work:.1f} s of labelling after {begin:.1f} s of start-up")
        kill_and_resume(folder, rounds, begin, work, np.random.default_rng(seed))
        differences = compare(folder / "whole.zarr", folder / "killed.zarr")
    print(f"{rounds} kills survived" if not differences else f"differences: {differences}")
    sys.exit(bool(differences))


def start(folder: Path, out: str) -> "subprocess.Popen[bytes]":
    """Start `fkd label` in a process of its own."""
    words = f"label --teacher resnet18 --teacher-weights none --size 32 --crops {CROPS} --out {out}"
    words += f" --block {BLOCK} --workers 1 --device cpu"
    return subprocess.Popen(
        [sys.executable, "-m", "fkd", *words.split(), str(folder / "images")],
        cwd=folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def time_whole(folder: Path) -> tuple[float, float]:
    """Label without a kill; return the seconds until the store was there, and those after."""
    began = time.perf_counter()
    process = start(folder, "whole.zarr")
    while process.poll() is None and not (folder / "whole.zarr").exists():
        time.sleep(0.01)
    begin = time.perf_counter() - began
    process.wait()
    return begin, time.perf_counter() - began - begin


def kill_and_resume(
    folder: Path, rounds: int, begin: float, work: float, rng: np.random.Generator
) -> None:
    """Kill the same command again and again, anywhere from its start-up on; then let it finish."""
    for number in range(rounds):
        process = start(folder, "killed.zarr")
        seconds = float(begin * rng.uniform(0.8, 1.2) + work * rng.uniform(0, 3) / rounds)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        print(f"kill {number + 1} after {seconds:.1f} s: {state(folder / 'killed.zarr')}")
    start(folder, "killed.zarr").wait()


def state(path: Path) -> str:
    """Say how much of a store is finished."""
    try:
        store = LabelStore.open(path)
    except StoreError as error:
        return str(error).split(";")[0].replace(str(path), path.name)
    done = store.spec.num_blocks - len(store.pending_blocks())
    return f"{done} of {store.spec.num_blocks} blocks"


def compare(whole: Path, killed: Path) -> int:
    """Count the blocks in which two stores differ."""
    one, other = LabelStore.open(whole), LabelStore.open(killed)
    differences = 0
    for number in range(one.spec.num_blocks):
        a, b = one.read_block(number), other.read_block(number)
        same = np.array_equal(a.box, b.box) and np.array_equal(a.flip, b.flip)
        same = same and np.array_equal(a.kept["index"], b.kept["index"])
        gap = np.abs(a.kept["code"].astype(int) - b.kept["code"].astype(int)).max()
        differences += not (same and gap <= 1)
    return differences


if __name__ == "__main__":
    main()
