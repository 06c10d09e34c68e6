"""Damaged JPEG files through every decoder: who refuses what, who makes other pixels, and who leaks.

    python benchmarks/decode_damage.py --images imagenet --files 100000 2> /dev/null

Half of the files are cut at a random place, of the others up to eight random bytes are changed. What
claims more than 4 megapixels after that is passed over: fkd asks no decoder for what is too large.
libjpeg writes a line to stderr for each file that it decodes in spite of a fault.
"""

from collections import Counter
from io import BytesIO
from pathlib import Path

import click
import numpy as np
import torch
from decode_speed import Decoders, by_pillow, decoders, jpegs_of
from PIL import ExifTags, Image
from torch import Tensor

from fkd.images.jpeg import jpeg_size

_PIXELS = 4_000_000
_SIDE = 112
_STATUS = Path("/proc/self/status")


@click.command()
@click.option(
    "--images", required=True, type=click.Path(path_type=Path), help="A folder of photos."
)
@click.option("--files", default=100_000, show_default=True, help="Damaged files to decode.")
@click.option("--report", default=10_000, show_default=True, help="Files between two lines.")
def main(images: Path, files: int, report: int) -> None:
    """Print how much memory the process has, and at the end a table of what decoders did."""
    torch.set_num_threads(1)
    found, whole = decoders(), [smaller(f) for f in jpegs_of(images, 40)]
    rng, counts = np.random.default_rng(0), {name: Counter[str]() for name in found}
    for number in range(1, files + 1):
        encoded = damaged(whole[number % len(whole)], rng)
        width, height = jpeg_size(encoded)
        if width * height <= _PIXELS:
            judge(encoded, found, counts)
        if number % report == 0 or number == 1000:
            print(f"{number:,} files, {resident_mib():.1f} MiB resident", flush=True)
    print("\n| decoder | decoded | refused | other verdict than torchvision's | other pixels |")
    print("|---|--:|--:|--:|--:|")
    for name, count in counts.items():
        print(f"| {name} | {count['decoded']:,} | {count['refused']:,} | {count['unlike']:,} | "
              f"{count['other pixels']:,} |")  # fmt: skip


def smaller(encoded: bytearray) -> bytearray:
    """Return a photo of fewer pixels, so that a run is of many files, with an EXIF orientation."""
    photo = Image.fromarray(by_pillow(encoded).permute(1, 2, 0).numpy())
    exif, file = Image.Exif(), BytesIO()
    exif[ExifTags.Base.Orientation] = 6
    photo.resize((_SIDE, _SIDE)).save(file, "JPEG", exif=exif)
    return bytearray(file.getvalue())


def damaged(encoded: bytearray, rng: np.random.Generator) -> bytearray:
    """Cut a file, or change some of its bytes; its first three say that it is JPEG, and stay."""
    if rng.random() < 0.5:
        return encoded[: rng.integers(4, len(encoded))]
    copy = bytearray(encoded)
    # A fault in the header does other things than one in the data, and is as likely here.
    end = len(copy) if rng.random() < 0.5 else 620
    for place in rng.integers(3, end, rng.integers(1, 9)):
        copy[place] = rng.integers(256)
    return copy


def judge(encoded: bytearray, found: Decoders, counts: dict[str, Counter[str]]) -> None:
    """Count what each decoder does with a file, beside what torchvision's does."""
    made: dict[str, Tensor | None] = {}
    for name, decoder in found.items():
        try:
            made[name] = decoder(encoded)
        except Exception:  # each has its own
            made[name] = None
    like = made["torchvision"]
    for name, pixels in made.items():
        counts[name]["refused" if pixels is None else "decoded"] += 1
        counts[name]["unlike"] += (pixels is None) != (like is None)
        both = pixels is not None and like is not None
        counts[name]["other pixels"] += both and not same(pixels, like)


def same(one: Tensor | None, other: Tensor | None) -> bool:
    """Return whether two images are equal."""
    return one is not None and other is not None and torch.equal(one, other)


def resident_mib() -> float:
    """Return how much of this process is in memory now, in MiB (Linux)."""
    line = next(x for x in _STATUS.read_text().splitlines() if x.startswith("VmRSS"))
    return int(line.split()[1]) / 2**10


if __name__ == "__main__":
    main()
