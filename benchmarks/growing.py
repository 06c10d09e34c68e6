"""What it costs to add 8 crops to the 8 of a store, against 8 alone and 16 at once.

    python benchmarks/growing.py
    python benchmarks/growing.py --teacher resnet50 --images 1000 --device cuda

Rounds of three kinds take turns in one process, on the same photos: a new store of 8 crops, this store
grown to 16, and a new one of 16. All of `fkd label` counts, from the list of images to the last seal.
"""

import shutil
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import click
from weightless import class_names

from fkd import LabelConfig, TeacherChoice, label_images
from fkd.examples.scenes import Scenes, render_dataset

CROPS = 8
WEIGHTLESS = "weightless:make"
KINDS = ("8", "8 more", "16 at once")


@click.command()
@click.option(
    "--teacher", multiple=True, default=[WEIGHTLESS, "mobilenet_v3_small"], show_default=True
)
@click.option("--images", default=200, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--size", default=96, show_default=True, help="Of views, in pixels.")
@click.option("--workers", default=2, show_default=True)
@click.option("--device", default="auto", show_default=True)
def main(
    teacher: tuple[str, ...], images: int, rounds: int, size: int, workers: int, device: str
) -> None:
    """Print, for each teacher, the seconds of each kind and their ratios, medians of all rounds."""
    print(f"{images:,} photos, views of {size} px, {rounds} rounds, medians\n")
    print("| teacher | 8 crops, s | 8 more, s | 16 at once, s | 8 more / 8 | both / 16 at once |")
    print("|---|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        photos = Scenes(classes=2, train_per_class=images // 2, val_per_class=0)
        render_dataset(Path(folder) / "photos", photos, workers=2)
        names = Path(folder) / "names.txt"
        names.write_text(
            class_names(sorted(f.name for f in (Path(folder) / "photos/train").iterdir()))
        )
        for name in teacher:
            choice = TeacherChoice(name, "none", size=size)
            if name == WEIGHTLESS:
                choice = TeacherChoice(name, classes_file=names, all_classes=True, size=size)
            config = LabelConfig(
                images=Path(folder) / "photos",
                teacher=choice,
                out=Path(folder) / "labels.zarr",
                workers=workers,
                device=device,
            )
            shutil.rmtree(config.out, ignore_errors=True)
            label(replace(config, num_crops=1))  # imports and caches are not counted
            found = [one_round(config) for _ in range(rounds)]
            first, more, whole = (statistics.median(each[kind] for each in found) for kind in KINDS)
            ratios = f"{more / first:.2f} | {(first + more) / whole:.2f}"
            print(f"| {name} | {first:.2f} | {more:.2f} | {whole:.2f} | {ratios} |", flush=True)


def one_round(config: LabelConfig) -> dict[str, float]:
    """Return the seconds of each kind."""
    shutil.rmtree(config.out)
    seconds = [label(replace(config, num_crops=crops)) for crops in (CROPS, 2 * CROPS)]
    shutil.rmtree(config.out)
    return dict(zip(KINDS, [*seconds, label(replace(config, num_crops=2 * CROPS))], strict=True))


def label(config: LabelConfig) -> float:
    """Label, or go on; return the seconds that it took."""
    began = time.perf_counter()
    label_images(config)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
