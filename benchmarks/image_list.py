"""What the list of a very large data set takes: memory, and the seconds until it is open.

    python benchmarks/image_list.py                  # 14 million images, in shards of 10,000

The index of such shards is made, though nothing lies in them, and kept. It is opened in a process of its
own, as training opens it. The memory is what that process has more at its peak than one that only loads
the code. `--images` says how many.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from peak import peak_mib

from fkd.containers import Index, Pieces, kept_index
from fkd.images import Keys

_SHARD = 10_000
_CLASSES = 21_841  # of ImageNet-22k, which has 14 million images
_IMAGE_BYTES = 110_000


def names(count: int) -> Keys:
    """Return keys as ImageNet has them: n00000012/n00000012_0000123.JPEG."""
    one = np.frombuffer(b"n00000000/n00000000_0000000.JPEG\0", np.uint8)
    text = np.tile(one, (count, 1))
    wnid, number = np.arange(count) * _CLASSES // count, np.arange(count)
    for place in range(8):
        digit = wnid // 10 ** (7 - place) % 10
        text[:, 1 + place] += digit.astype(np.uint8)
        text[:, 11 + place] += digit.astype(np.uint8)
    for place in range(7):
        text[:, 20 + place] += (number // 10 ** (6 - place) % 10).astype(np.uint8)
    return Keys(text.ravel())


def index_of(count: int, files: list[str]) -> Index:
    """Return the index of so many images in tar shards."""
    image = np.arange(count)
    whole, nothing = np.arange(len(files)), np.zeros(len(files), np.int64)
    return Index(
        tuple(files),
        names(count),
        image * _CLASSES // count,
        tuple(f"n{number:08}" for number in range(_CLASSES)),
        np.full(count, _IMAGE_BYTES),
        (image // _SHARD).astype(np.int32),
        image % _SHARD * (_IMAGE_BYTES + 1024) + 512,
        Pieces(whole.astype(np.int32), nothing, nothing, nothing, nothing.astype(np.uint8)),
    )


def open_list(root: Path, files: list[str]) -> None:
    """Open the kept index, and print the seconds, the images and the MiB that it took."""
    loaded, began = peak_mib(), time.perf_counter()

    def make() -> Index:
        raise SystemExit("the index was not kept")

    index = kept_index(root, files, ["benchmark"], make)
    print(time.perf_counter() - began, len(index), peak_mib() - loaded)


def main() -> None:
    """Make an index, open it, and say what that took."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=14_000_000)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    files = [f"train-{number:05}.tar" for number in range(-(-options.images // _SHARD))]
    if options.open:
        open_list(options.open, files)
        return
    with tempfile.TemporaryDirectory() as folder:
        os.environ["FKD_CACHE"] = str(Path(folder) / "cache")
        for file in files:
            (Path(folder) / file).touch()
        kept_index(Path(folder), files, ["benchmark"], lambda: index_of(options.images, files))
        kept = sum(file.stat().st_size for file in Path(folder).rglob("*.npz"))
        again = [sys.executable, __file__, "--images", str(options.images), "--open", folder]
        done = subprocess.run(again, capture_output=True, text=True, check=True)
    seconds, count, taken = done.stdout.split()
    print(f"images         {int(count):,}")
    print(f"index          {kept / 2**20:,.0f} MiB on disk")
    print(f"opened in      {float(seconds):.2f} s")
    print(f"memory         {float(taken):,.0f} MiB more at the peak")


if __name__ == "__main__":
    main()
