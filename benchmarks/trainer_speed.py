"""Time of a training step in each trainer that has a page in the docs: plain, and on stored labels.

    python benchmarks/trainer_speed.py
    python benchmarks/trainer_speed.py --images imagenet --batch-size 256 --device cuda --workers 8

Each trainer trains one model of its own on the same photos. It does so once as its users do, from an
image folder through a `DataLoader` of as many worker processes, with cross-entropy to the classes, and
once from a store through its adapter in fkd. The two take turns, round by round. Steps are timed where
the trainer says that one has ended. The first of a round are left out, for there workers start.
"""

import csv
import logging
import statistics
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path

import click
import torch
from speed_inputs import label, rendered, some_of
from trainer_rounds import ROUNDS, Setting, Watch

from fkd.machine import resolve_device
from fkd.progress import progress

SKIPPED = 7  # steps of a round


@click.command()
@click.option("--images", type=click.Path(path_type=Path), help="An image folder instead of ours.")
@click.option("--limit", default=400, show_default=True, help="Different images, at most.")
@click.option("--size", default=224, show_default=True)
@click.option("--batch-size", default=64, show_default=True)
@click.option("--crops", default=4, show_default=True, help="m, crops of an image that is decoded.")
@click.option("--steps", default=24, show_default=True, help="Steps a round, 8 of them not timed.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--trainer", "trainers", multiple=True, type=click.Choice(list(ROUNDS)))
@click.option(
    "--out", default="benchmarks/results", type=click.Path(path_type=Path), show_default=True
)
def main(images: Path | None, limit: int, trainers: tuple[str, ...], out: Path, rounds: int,
         size: int, device: str, **how: int) -> None:  # fmt: skip
    """Print seconds a step, plain and on stored labels, for each trainer, and write them as CSV."""
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as name:
        root = rendered(Path(name), limit) if images is None else some_of(images, Path(name), limit)
        store = label(root, Path(name), size)
        setting = Setting(
            root,
            Path(store.path),
            store.spec.num_classes,
            size,
            device=resolve_device(device),
            **how,
        )
        seconds = race(setting, trainers or ROUNDS, rounds)
    report(seconds, setting, out)


def race(
    setting: Setting, trainers: Iterable[str], rounds: int
) -> dict[str, dict[bool, list[float]]]:
    """Return seconds a step, by trainer and by whether labels are stored, of each round."""
    seconds: dict[str, dict[bool, list[float]]] = {name: {False: [], True: []} for name in trainers}
    for _ in progress(range(rounds), "train", unit="round"):
        for name, both in seconds.items():
            for stored, found in both.items():
                ROUNDS[name](setting, stored, watch := Watch(SKIPPED))
                found.append(watch.seconds)
    return seconds


def report(seconds: dict[str, dict[bool, list[float]]], setting: Setting, out: Path) -> None:
    """Print the table and write it as CSV."""
    print(
        f"\ntorch {torch.__version__}, {setting.size} px, batches of {setting.batch_size}, m = "
        f"{setting.crops}, {setting.workers} workers, {setting.device}; medians of rounds\n"
    )
    print(
        "| trainer | plain, s a step | stored labels, s a step | speed of that |\n|---|--:|--:|--:|"
    )
    rows = []
    for name, both in seconds.items():
        plain, stored = (statistics.median(both[kind]) for kind in (False, True))
        print(f"| {name} | {plain:.3f} | {stored:.3f} | {plain / stored:.2f} × |")
        rows.append([name, round(plain, 4), round(stored, 4), round(plain / stored, 3)])
    out.mkdir(parents=True, exist_ok=True)
    with (out / "trainer_speed.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["trainer", "plain", "stored", "speed"], *rows])


if __name__ == "__main__":
    main()
