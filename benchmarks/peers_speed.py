"""What students that learn together cost: N peers beside N trainings of one, from the same store.

    python benchmarks/peers_speed.py
    python benchmarks/peers_speed.py --peers 3 --batch-size 256 --size 224 --device cuda --amp bf16

All take turns in one process, round after round, on the same photos, with steps of `fkd train`:
- one: a student from the store, its views decoded and rendered;
- N peers: the same for N students that also learn from each other;
- each of them again on one batch that lies in memory: what is left of a step without its input;
- one, in terms: the student alone in memory with its loss as an explicit term.

A row says what a step costs, how many images are decoded for it, and its share of N steps of one: below 1
is what trainings one after another do not reach, since each of them renders its input anew.
"""

import csv
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

import click
import torch
from speed_inputs import label, rendered, some_of

from fkd import LabelStore, TrainConfig
from fkd.config import AMPS, Preprocessing
from fkd.loader import Schedule, SizePlan, StudentBatch, student_batches
from fkd.machine import resolve_device
from fkd.progress import progress
from fkd.sources import list_images
from fkd.students import StudentCard, build_student
from fkd.training import Group, Learner
from fkd.views import RenderPool

READY = 8  # batches that pass before the clock starts: others had the machine while they were made
FOREVER = 1e6


@dataclass
class Contestant:
    """Students that learn, and where their batches come from."""

    config: TrainConfig
    learner: Learner
    batches: Iterator[StudentBatch]
    seconds: list[float] = field(default_factory=list)  # a step, by round
    decoded: float = 0.0  # images a step, in the last round

    def train(self, steps: int) -> None:
        """Take a round of steps."""
        for _ in range(READY):
            next(self.batches)
        decoded, terms = 0, self.config.terms_at(0)
        began = time.perf_counter()
        for step in range(steps):
            batch = next(self.batches)
            decoded += len(batch.decoded)
            loss = self.learner.step(batch, step, lr=1e-4, terms=terms)
        float(loss)  # waits for the device
        self.seconds.append((time.perf_counter() - began) / steps)
        self.decoded = decoded / steps


@click.command()
@click.option("--images", type=click.Path(path_type=Path), help="An image folder instead of ours.")
@click.option("--limit", default=400, show_default=True, help="Different images, at most.")
@click.option("--student", default="resnet18", show_default=True)
@click.option("--peers", default=2, show_default=True, help="How many students learn together.")
@click.option("--size", default=64, show_default=True)
@click.option("--batch-size", default=32, show_default=True)
@click.option("--crops-per-image", default=1, show_default=True)
@click.option("--steps", default=8, show_default=True, help="Steps a round.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--amp", type=click.Choice(AMPS), default="off", show_default=True)
@click.option(
    "--out", default="benchmarks/results", type=click.Path(path_type=Path), show_default=True
)
def main(  # noqa: PLR0913  one argument an option
    images: Path | None, limit: int, student: str, peers: int, size: int, batch_size: int,
    crops_per_image: int, steps: int, rounds: int, workers: int, device: str, amp: str, out: Path,
) -> None:  # fmt: skip
    """Print what a step of one student and of several costs, and write it as CSV."""
    target = resolve_device(device)
    settings: dict[str, Any] = {
        "batch_size": batch_size,
        "crops_per_image": crops_per_image,
        "amp": amp,
    }
    settings |= {"epochs": FOREVER, "workers": workers}
    with tempfile.TemporaryDirectory() as name, ExitStack() as kept:
        folder = Path(name)
        root = rendered(folder, limit) if images is None else some_of(images, folder, limit)
        store = label(root, folder, size)
        ways: dict[str, dict[str, Any]] = {
            "one": {"student": student},
            f"{peers} peers": {"student": [student] * peers},
            "one, in terms": {"student": student, "loss": [{"to": "store", "by": "ce"}]},
        }
        field: dict[str, Contestant] = {}
        for way, more in ways.items():
            config = TrainConfig.from_recipe("fkd", store=store.path, **settings, **more)
            pool = kept.enter_context(RenderPool(workers, target))
            fresh = read(store, root, config, pool)
            if "terms" not in way:
                field[way] = Contestant(config, learner_of(config, store, target), fresh)
            again = repeat(next(fresh).to(target))
            field[f"{way}, in memory"] = Contestant(
                config, learner_of(config, store, target), again
            )
        for number in progress(range(rounds + 1), "train", unit="round"):
            for one in field.values():
                one.train(steps)
                if not number:  # the first round warms up
                    one.seconds.clear()
    what = (
        f"{student}, {size} px, {batch_size} views a step, {workers} workers, {target}, amp {amp}"
    )
    report(field, peers, out, what)


def read(
    store: LabelStore, root: Path, config: TrainConfig, pool: RenderPool
) -> Iterator[StudentBatch]:
    """Return the batches of a long run, as `fkd train` reads them."""
    images, spec = list_images(root), store.spec
    schedule = Schedule(
        len(images), spec.num_crops, config.crops_per_image, config.batch_size, config.epochs,
        seed=0, stagger=config.steps_apart,
    )  # fmt: skip
    sizes = SizePlan(((0, spec.size),), spec.interpolation)
    return student_batches(pool, store, images, schedule, sizes=sizes)


def learner_of(config: TrainConfig, store: LabelStore, device: torch.device) -> Learner:
    """Return the students of a configuration at work."""
    seen = Preprocessing(store.spec.size)
    cards = [StudentCard(each.model, store.class_names(), seen) for each in config.students]
    (card, student), *peers = [(card, build_student(card)) for card in cards]
    return Learner(config, card, store.spec.labels, student, device, Group(), peers)


def report(field: dict[str, Contestant], peers: int, out: Path, what: str) -> None:
    """Print medians over rounds, and ratios within a round, and write them as CSV."""
    print(f"\ntorch {torch.__version__}, {what}; medians\n")
    print(f"| training | ms a step | images decoded | of {peers} × one |\n|---|--:|--:|--:|")
    rows = []
    for name, one in field.items():
        kind = ", in memory" if "in memory" in name else ""
        pairs = zip(one.seconds, field[f"one{kind}"].seconds, strict=True)
        ratio = statistics.median(own / (peers * alone) for own, alone in pairs)
        milliseconds = 1e3 * statistics.median(one.seconds)
        print(f"| {name} | {milliseconds:.1f} | {one.decoded:.3g} | {ratio:.3f} × |")
        rows.append([name, round(milliseconds, 2), round(one.decoded, 2), round(ratio, 4)])
    out.mkdir(parents=True, exist_ok=True)
    with (out / "peers_speed.csv").open("w", newline="") as file:
        head = ["training", "ms_a_step", "images_decoded", "of_peers_times_one"]
        csv.writer(file).writerows([head, *rows])


if __name__ == "__main__":
    main()
