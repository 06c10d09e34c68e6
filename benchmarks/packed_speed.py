"""Images with their masks, or without, read from where they are and from smaller copies of `fkd pack`.

    python benchmarks/packed_speed.py camvid/train --shortest 256
    python benchmarks/packed_speed.py camvid/train --limit 40 --enlarged 1024x2048 --shortest 512
    python benchmarks/packed_speed.py lines/train --shortest 48 --size 48x320 --fit pad --crops 1

An image and its mask are read and decoded, and crops of both are rendered, as training does it. All
folders take turns in one process and one thread, round after round, on the same images, warm in the page
cache. A line for each folder: kilobytes an image, images/s, and the median of its ratios to the source,
round by round. `--enlarged` first writes images and masks of another size, as PNG: these take as long to
decode as those of a larger camera, and have no more details than before.
"""

import os
import statistics
import tempfile
import time
from pathlib import Path

import click
import torch
from PIL import Image

from fkd import PackConfig, ViewPolicy, pack_images
from fkd.config import FITS, Fit, Size, size_text
from fkd.images import decode
from fkd.packing import PackReport
from fkd.progress import progress
from fkd.sources import list_images
from fkd.truth import find_masks
from fkd.views import empty_views, render_mask, render_views, sample_views


def as_sides(text: str) -> tuple[int, int]:
    """Return height and width of "224" or "160x224"."""
    first, _, second = text.partition("x")
    return int(first), int(second or first)


@click.command()
@click.argument("images", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--shortest", type=int, multiple=True, required=True, help="As `fkd pack` has it.")
@click.option("--limit", default=200, show_default=True, help="Images, at most.")
@click.option("--enlarged", type=as_sides, help="HEIGHTxWIDTH of the images, made larger.")
@click.option("--size", type=as_sides, default="256", show_default=True, help="Of views.")
@click.option("--fit", type=click.Choice(FITS), default="fill", show_default=True)
@click.option("--crops", default=4, show_default=True, help="Of an image that is decoded once.")
@click.option("--rounds", default=7, show_default=True)
def main(
    images: Path,
    shortest: tuple[int, ...],
    limit: int,
    enlarged: tuple[int, int] | None,
    size: Size,
    fit: Fit,
    crops: int,
    rounds: int,
) -> None:
    """Print what the images of a folder weigh and how fast they are read, before and after packing."""
    torch.set_num_threads(1)
    policy = ViewPolicy(scale=(0.25, 1), fit=fit, flip=fit == "fill")
    with tempfile.TemporaryDirectory() as name:
        source = some_of(images, Path(name), limit, enlarged)
        folders, kilobytes = {"source": source}, {}
        for pixels in shortest:
            title = f"--shortest {pixels}"
            folders[title] = Path(name) / title
            report = pack(source, folders[title], pixels)
            kilobytes["source"] = report.bytes_before / 1e3
            kilobytes[title] = report.bytes_after / 1e3
        rates: dict[str, list[float]] = {title: [] for title in folders}
        for number in progress(range(rounds + 1), "read", unit="round"):
            for title, folder in folders.items():
                rate = read(folder, policy, size, crops)
                if number:  # the first round warms up
                    rates[title].append(rate)
        count = len(list_images(source / "images", unlabelled=True))
    print(f"{count} images, {crops} crops of {size_text(size)} px; torch {torch.__version__}\n")
    print("| folder | kB an image | images/s | against the source |\n|---|--:|--:|--:|")
    for title, of in rates.items():
        ratio = statistics.median(a / b for a, b in zip(of, rates["source"], strict=True))
        weight = kilobytes[title] / count
        print(f"| {title} | {weight:.1f} | {statistics.median(of):.1f} | {ratio:.2f} |")


def some_of(root: Path, out: Path, limit: int, size: tuple[int, int] | None) -> Path:
    """Gather images spread over a folder, and their masks, as links or in another size (H, W)."""
    images = list_images(root.absolute(), unlabelled=True)
    masks = find_masks(images)
    for row in range(0, len(images), -(-len(images) // limit)):
        place, ending = out / "source" / "images", os.path.splitext(images.paths[row])[1]
        bring(images.name(row), place / f"{row:06}{ending}", size, Image.Resampling.LANCZOS)
        if masks is not None:
            place = out / "source" / "masks"
            bring(masks.name(row), place / f"{row:06}.png", size, Image.Resampling.NEAREST)
    return out / "source"


def bring(name: str, to: Path, size: tuple[int, int] | None, how: Image.Resampling) -> None:
    """Link to a file, or write the image in it as a PNG of another size (H, W)."""
    to.parent.mkdir(parents=True, exist_ok=True)
    if size is None:
        to.symlink_to(name)
        return
    with Image.open(name) as image:
        image.resize(size[::-1], how).save(to.with_suffix(".png"))


def pack(source: Path, out: Path, pixels: int) -> PackReport:
    """Pack images with their masks, or without where they have none."""
    if (source / "masks").is_dir():
        return pack_images(PackConfig(source, out, pixels=pixels))
    return pack_images(
        PackConfig(source / "images", out / "images", pixels=pixels, unlabelled=True)
    )


def read(folder: Path, policy: ViewPolicy, size: Size, crops: int) -> float:
    """Return how many images are decoded and rendered a second, with their masks."""
    images = list_images(folder / "images", unlabelled=True)
    masks = find_masks(images)
    views = empty_views(crops, size)
    began = time.perf_counter()
    for row in range(len(images)):
        pixels = decode(images.name(row), images.read(row))
        height, width = pixels.shape[1:]
        boxes, flips = sample_views(policy, row, crops, height, width)
        render_views(pixels, boxes, flips, views, "bilinear", policy.fit)
        if masks is not None:
            mask = masks.decode(row, masks.encoded(row), (height, width))
            render_mask(mask, boxes, flips, size, policy.fit)
    return len(images) / (time.perf_counter() - began)


if __name__ == "__main__":
    main()
