"""Decoders of JPEG side by side: torchvision's operator, torchcodec, Pillow, and fkd around its choice.

    python benchmarks/decode_speed.py --images imagenet

Files are in memory before the clock starts. Decoders take turns file by file, in one process and in a new
order each time: what slows the machine, or is left by the one before, slows all. A first look compares
all pixels with torchvision's. The same photos at three times their sides say what larger files change.
With two threads, each decodes half of the files by one decoder: who holds Python's lock is no faster than
with one.
"""

import io
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import click
import numpy as np
import torch
import torchvision
from PIL import Image, features
from torch import Tensor

from fkd.images import decode, read_file
from fkd.images.jpeg import SIGNATURE, find_operator
from fkd.progress import progress
from fkd.sources import dataset_root, list_images
from fkd.version import version_of

Decoders = dict[str, Callable[[bytearray], Tensor]]


@click.command()
@click.option(
    "--images", required=True, type=click.Path(path_type=Path), help="A folder of photos."
)
@click.option("--limit", default=200, show_default=True, help="Photos at most.")
@click.option("--rounds", default=5, show_default=True)
def main(images: Path, limit: int, rounds: int) -> None:
    """Print a table of milliseconds a photo for each decoder, and of ratios to torchvision's."""
    torch.set_num_threads(1)
    found = decoders()
    photos = jpegs_of(images, limit)
    print(", ".join(f"{name} {version_of(name)}" for name in ("torch", *found) if name != "fkd"))
    print(f"libjpeg of Pillow: {features.version('libjpeg_turbo')}\n")
    print(
        "| photos | threads | decoder | ms | of torchvision | pixels |\n|---|--:|---|--:|--:|---|"
    )
    for title, files in (
        ("as they are", photos),
        ("sides × 3", [enlarged(f) for f in photos[::8]]),
    ):
        pixels = {name: compared(files, found["torchvision"], found[name]) for name in found}
        print_rows(title, 1, in_turns(files, found, rounds), pixels)
        print_rows(title, 2, in_two_threads(files, found, rounds), pixels)


def decoders() -> Decoders:
    """Return the decoders that this machine has, each from bytes to RGB."""
    torchvisions, torchcodecs = find_operator(), find_operator(torchvisions=object())
    if torchvisions is None or torchvisions.package != "torchvision":
        raise click.ClickException(f"torchvision {torchvision.__version__} decodes no images")
    found: Decoders = {"torchvision": torchvisions.decode}
    if torchcodecs is not None:
        found["torchcodec"] = torchcodecs.decode
    return found | {"pillow": by_pillow, "fkd": lambda encoded: decode("a photo", encoded)}


def by_pillow(encoded: bytearray) -> Tensor:
    """Decode as fkd does where there is no operator."""
    with Image.open(io.BytesIO(encoded), formats=["JPEG"]) as file:
        return torch.from_numpy(np.array(file.convert("RGB"))).permute(2, 0, 1)


def jpegs_of(images: Path, limit: int) -> list[bytearray]:
    """Read JPEG files of a folder, spread over all of its list."""
    listed = list_images(dataset_root(images))
    places = np.linspace(0, len(listed) - 1, min(limit, len(listed))).astype(int)
    files = [read_file(listed.name(int(place))) for place in places]
    return [encoded for encoded in files if encoded.startswith(SIGNATURE)]


def enlarged(encoded: bytearray) -> bytearray:
    """Return a photo of three times the sides, encoded as cameras do."""
    with Image.open(io.BytesIO(encoded)) as photo:
        larger, file = (
            photo.convert("RGB").resize((photo.width * 3, photo.height * 3)),
            io.BytesIO(),
        )
    larger.save(file, "JPEG", quality=92)
    return bytearray(file.getvalue())


def compared(
    files: list[bytearray],
    one: Callable[[bytearray], Tensor],
    other: Callable[[bytearray], Tensor],
) -> str:
    """Say whether two decoders make the same pixels."""
    gaps = [int((one(f).short() - other(f).short()).abs().max()) for f in files]
    return (
        "the same" if not any(gaps) else f"{max(gaps)} levels off in {np.count_nonzero(gaps)} files"
    )


def in_turns(files: list[bytearray], found: Decoders, rounds: int) -> dict[str, list[float]]:
    """Return by decoder the milliseconds a file of each round; the first round warms up."""
    spent: dict[str, list[float]] = {name: [] for name in found}
    rng = np.random.default_rng(0)
    for _ in progress(range(rounds + 1), "1 thread", unit="round"):
        of_round = dict.fromkeys(found, 0.0)
        for encoded in files:
            for name in rng.permutation(list(found)).tolist():
                decoder, began = found[name], time.perf_counter()
                decoder(encoded)
                of_round[name] += time.perf_counter() - began
        for name, seconds in of_round.items():
            spent[name].append(1000 * seconds / len(files))
    return {name: values[1:] for name, values in spent.items()}


def in_two_threads(files: list[bytearray], found: Decoders, rounds: int) -> dict[str, list[float]]:
    """Return the same for two threads, which share the files; decoders take turns round by round."""
    spent: dict[str, list[float]] = {name: [] for name in found}
    with ThreadPoolExecutor(2) as pool:
        for _ in progress(range(rounds + 1), "2 threads", unit="round"):
            for name, decoder in found.items():
                began = time.perf_counter()
                list(
                    pool.map(
                        lambda share, d=decoder: [d(f) for f in share], (files[::2], files[1::2])
                    )
                )
                spent[name].append(1000 * (time.perf_counter() - began) / len(files))
    return {name: values[1:] for name, values in spent.items()}


def print_rows(
    title: str, threads: int, spent: dict[str, list[float]], pixels: dict[str, str]
) -> None:
    """Print a row for each decoder: its median, and the median of its ratios round by round."""
    for name, values in spent.items():
        ratio = statistics.median(a / b for a, b in zip(values, spent["torchvision"], strict=True))
        ms = statistics.median(values)
        print(f"| {title} | {threads} | {name} | {ms:.2f} | {ratio:.2f} | {pixels[name]} |")


if __name__ == "__main__":
    main()
