"""The student's input: our views/s beside torchvision's pipeline and the sum of the bare kernels.

    python benchmarks/input_speed.py
    python benchmarks/input_speed.py --images imagenet

All contestants take turns in one process, round after round, on the same files, warm in the page cache:
- torchvision, PIL: ImageFolder, RandomResizedCrop, flip, ToTensor, Normalize, through a DataLoader;
- torchvision, v2: the same with tensors (decode_jpeg, v2 transforms, antialias), normalised in float;
- fkd at m = 1, 2, 4, 8: `student_batches` from a label store, as `fkd train` reads it (uint8 views; they
  are normalised on the device); at m = 4 for a student of another size too, and from a store whose views
  are mixed with a partner's, all by mixup or cutmix;
- kernels at each m: decoding plus m resizes straight into one buffer, in a plain loop, nothing else;
  with two workers, two such loops in two threads.
"""

import csv
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import torch
import torchvision
from speed_inputs import CROPS, label, rendered, some_of
from torch.utils.data import DataLoader, Subset
from torchvision.transforms import v2

from fkd import LabelStore, TrainConfig
from fkd.config import IMAGENET_MEAN, IMAGENET_STD, MixPolicy
from fkd.errors import ConfigError
from fkd.figures import PAGE, figure_style, new_figure
from fkd.images import ImageList, decode
from fkd.loader import Schedule, SizePlan, pairs_of, student_batches
from fkd.progress import progress
from fkd.sources import list_images
from fkd.views import RenderPool, empty_views, render

BATCH = 256
READY = 5  # batches that pass before the clock starts: the queue is then as it stays
VISITS = (1, 2, 4, 8)

# What is to be reached, at m = 4: one pipeline's speed over another's, round by round.
SMALL, MIXED = "fkd, m = 4, small", "fkd, m = 4, mixed"
FIGURES = (
    (MIXED, "fkd, m = 4"),
    (SMALL, "fkd, m = 4"),
    ("fkd, m = 4", "torchvision, PIL"),
    ("fkd, m = 4", "kernels, m = 4"),
)

Contest = dict[str, Callable[[], float]]  # name → one round, which returns views/s


@click.command()
@click.option("--images", type=click.Path(path_type=Path), help="An image folder instead of ours.")
@click.option("--limit", default=400, show_default=True, help="Different images, at most.")
@click.option("--visits", default=1600, show_default=True, help="Images decoded in a round.")
@click.option("--size", default=224, show_default=True)
@click.option("--small", default=128, show_default=True, help="The other student's size.")
@click.option("--rounds", default=5, show_default=True)
@click.option(
    "--out", default="benchmarks/results", type=click.Path(path_type=Path), show_default=True
)
def main(
    images: Path | None, limit: int, visits: int, size: int, small: int, rounds: int, out: Path
) -> None:
    """Print a table of views/s for one and for two workers; write it as CSV and as a plot."""
    torch.set_num_threads(1)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        root = rendered(folder, limit) if images is None else some_of(images, folder, limit)
        store = label(root, folder, size)
        mixed = label(root, folder, size, MixPolicy(mixup=1, cutmix=1))
        for workers in (1, 2):
            contest = contestants(store, root, size, visits, workers)
            contest[SMALL] = fkd_round(store, visits, 4, workers, small)
            contest[MIXED] = fkd_round(mixed, visits, 4, workers)
            rows += run(contest, rounds, workers)
    report(rows, out)


def contestants(store: LabelStore, root: Path, size: int, visits: int, workers: int) -> Contest:
    """Return one round of every contestant; all visit the same images as often."""
    order = np.resize(np.random.default_rng(0).permutation(store.spec.num_images), visits).tolist()
    contest: Contest = {
        "torchvision, PIL": loader_round(pil_dataset(root, size), order, workers),
        "torchvision, v2": loader_round(tensor_dataset(root, size), order, workers),
    }
    for m in VISITS:
        contest[f"fkd, m = {m}"] = fkd_round(store, visits, m, workers)
    for m in VISITS:
        contest[f"kernels, m = {m}"] = kernel_round(store, order, m, size, workers)
    return contest


def pil_dataset(root: Path, size: int) -> torchvision.datasets.ImageFolder:
    """What most training scripts do."""
    transforms = torchvision.transforms
    steps = [
        transforms.RandomResizedCrop(size),
        transforms.RandomHorizontalFlip(),
        transforms.ToTensor(),
        transforms.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    return torchvision.datasets.ImageFolder(str(root), transforms.Compose(steps))


def tensor_dataset(root: Path, size: int) -> torchvision.datasets.ImageFolder:
    """What torchvision recommends: tensors from the decoder on."""
    steps = [
        v2.RandomResizedCrop(size, antialias=True),
        v2.RandomHorizontalFlip(),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize(IMAGENET_MEAN, IMAGENET_STD),
    ]
    return torchvision.datasets.ImageFolder(str(root), v2.Compose(steps), loader=decode)


def loader_round(
    dataset: torchvision.datasets.ImageFolder, order: list[int], workers: int
) -> Callable[[], float]:
    """One view per image through a DataLoader; one worker means this process, as for us."""
    loader = DataLoader(
        Subset(dataset, order),
        BATCH,
        num_workers=0 if workers == 1 else workers,
        persistent_workers=workers > 1,
    )

    def one_round() -> float:
        began = time.perf_counter()
        return sum(len(views) for views, _ in loader) / (time.perf_counter() - began)

    return one_round


def fkd_round(
    store: LabelStore,
    visits: int,
    m: int,
    workers: int,
    size: int | None = None,
    images: ImageList | None = None,
) -> Callable[[], float]:
    """As many images as the others decode, m views of each, from the middle of a long training run.

    The images are those that the store names, or the same ones kept in another way.
    """
    sizes = SizePlan(((0, size or store.spec.size),), store.spec.interpolation)
    images = images or list_images(Path(store.spec.images_root))
    apart = TrainConfig(crops_per_image=m).steps_apart
    pairs = pairs_of(store, store.labelled_images())
    schedule = Schedule(
        len(images), CROPS, m, BATCH, epochs=1e6, seed=0, stagger=apart, pairs=pairs
    )
    steps = max(1, visits * m // BATCH)

    def one_round() -> float:
        with RenderPool(workers) as pool:
            batches = student_batches(pool, store, images, schedule, sizes=sizes)
            for _ in range(READY):
                next(batches)
            began = time.perf_counter()
            views = sum(len(next(batches).views) for _ in range(steps))
            return views / (time.perf_counter() - began)

    return one_round


def kernel_round(
    store: LabelStore, order: list[int], m: int, size: int, workers: int
) -> Callable[[], float]:
    """Decode, and render m views into one buffer: the limit that nothing can pass on these kernels."""
    images, slab = list_images(Path(store.spec.images_root)), store.read_crops(range(m))

    def loop(share: list[int]) -> None:
        buffer = empty_views(m, size)
        for index in share:
            pixels = decode(images.name(index))
            for crop in range(m):
                render(pixels, slab.box[index, crop], False, buffer[crop], "bilinear")

    def one_round() -> float:
        began = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            list(pool.map(loop, [order[n::workers] for n in range(workers)]))
        return len(order) * m / (time.perf_counter() - began)

    return one_round


def run(contest: Contest, rounds: int, workers: int) -> list[dict[str, object]]:
    """Let all take turns; the first round warms up and does not count."""
    rates: dict[str, list[float]] = {name: [] for name in contest}
    for number in progress(range(rounds + 1), f"{workers} worker(s)", unit="round"):
        for name, one_round in contest.items():
            rate = one_round()
            if number:
                rates[name].append(rate)
    for one, other in FIGURES:
        ratios = [a / b for a, b in zip(rates[one], rates[other], strict=True)]
        print(f"{one} / {other}, {workers} worker(s): {statistics.median(ratios):.2f}")
    base = statistics.median(rates["torchvision, PIL"])
    return [
        {
            "pipeline": name,
            "workers": workers,
            "views/s": round(statistics.median(values)),
            "against PIL": round(statistics.median(values) / base, 2),
            "lowest": round(min(values)),
            "highest": round(max(values)),
        }
        for name, values in rates.items()
    ]


def report(rows: list[dict[str, object]], out: Path) -> None:
    """Print Markdown; write the CSV and, where matplotlib is installed, the plot."""
    header = list(rows[0])
    print(
        f"\ntorch {torch.__version__}, torchvision {torchvision.__version__}, one core a worker\n"
    )
    print("| " + " | ".join(header) + " |\n|---" + "|--:" * (len(header) - 1) + "|")
    for row in rows:
        print("| " + " | ".join(str(value) for value in row.values()) + " |")
    out.mkdir(parents=True, exist_ok=True)
    with (out / "input_speed.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)
    try:
        plot(rows, out / "input_speed.png")
    except ConfigError as error:
        print(f"no plot: {error}")


@figure_style()
def plot(rows: list[dict[str, object]], path: Path) -> None:
    """Draw views/s of every pipeline as bars, one worker beside two."""
    names = list(dict.fromkeys(str(row["pipeline"]) for row in rows))
    figure = new_figure(PAGE, 3.5)
    axes = figure.subplots()
    for shift, workers in ((0.2, 1), (-0.2, 2)):
        of = {str(r["pipeline"]): float(str(r["views/s"])) for r in rows if r["workers"] == workers}
        places = [place + shift for place, name in enumerate(names) if name in of]
        axes.barh(places, list(of.values()), 0.38, label=f"{workers} worker{'s'[: workers - 1]}")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("views per second")
    axes.legend()
    figure.savefig(path)


if __name__ == "__main__":
    main()
