"""How many of FKD's label files a second become a store, and what of that is reading alone.

    python benchmarks/importing.py                   # 2,048 files of 500 crops, top-5, and their images

The files are those of FKD's generator: NumPy's arrays in `torch.save`'s archive, f4, K = 5, labels like
those of an ImageNet teacher. Their images are JPEG files of ImageNet's size, in the page cache, since
each is read for its hash. `--workers` are threads. Beside the import stand its parts by themselves, on
one thread: files parsed, and images read, measured and hashed. Rounds are taken in turns, and the best of
each is shown.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from peak import peak_mib
from PIL import Image
from synthetic_labels import CLASSES, SyntheticLabels, make_labels

from fkd import ImportConfig, import_labels
from fkd.exchanging.fkd_files import parse_file
from fkd.images import content_hash, image_size, read_file

_DIFFERENT = 64  # images with labels of their own; files beyond repeat them
_KEPT = 5
_SIDES = (375, 500)


def write_files(root: Path, count: int, num_crops: int) -> None:
    """Write images and label files, and the names of all classes."""
    names = [f"n{number:08}" for number in range(CLASSES)]
    made = make_labels(min(_DIFFERENT, count), num_crops)
    photo = root / "photo.jpg"
    rng = np.random.default_rng(0)
    noise = rng.normal(128, 40, (*_SIDES, 3)).clip(0, 255).astype(np.uint8)
    Image.fromarray(noise).save(photo, quality=60)
    for number in range(count):
        which = number % len(made.target)
        name = names[int(made.target[which])]
        for kind in ("images", "labels"):
            (root / kind / "train" / name).mkdir(parents=True, exist_ok=True)
        os.link(photo, root / "images" / "train" / name / f"{name}_{number}.JPEG")
        file = root / "labels" / "train" / name / f"{name}_{number}.tar"
        order = rng.permutation(num_crops)
        torch.save([array[order] for array in _content(made, which)], file)
    (root / "classes.txt").write_text("\n".join(names))


def _content(made: SyntheticLabels, which: int) -> list[NDArray[np.generic]]:
    """Return the three arrays of FKD's generator for one image."""
    sides = np.tile(made.size[which], 2).astype(np.float64)
    value, index = made.probs[which].topk(_KEPT, dim=1)
    labels = np.stack([index.numpy(), value.numpy()], axis=1).astype(np.float32)
    return [(made.box[which] / sides).astype(np.float32), made.flip[which], labels]


def rates(work: Callable[[], int]) -> tuple[float, float]:
    """Return how many files some work does a second, and a second of a core's time."""
    began, used = time.perf_counter(), time.process_time()
    count = work()
    return count / (time.perf_counter() - began), count / (time.process_time() - used)


def main() -> None:
    """Make files, import them in rounds, and say how fast that was."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=2048)
    parser.add_argument("--crops", type=int, default=500)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_files(root, options.images, options.crops)
        files = sorted((root / "labels").rglob("*.tar"))
        photos = [str(path) for path in sorted((root / "images").rglob("*.JPEG"))]
        config = ImportConfig(
            root / "labels", root / "images", root / "labels.zarr", workers=options.workers,
            classes_file=root / "classes.txt", overwrite=True,
        )  # fmt: skip

        def parse() -> int:
            return len([parse_file(str(file), file.read_bytes()) for file in files])

        def measure() -> int:
            read = ((photo, read_file(photo)) for photo in photos)
            return len([(image_size(*each), content_hash(each[1])) for each in read])

        def whole() -> int:
            return import_labels(config).spec.num_images

        works = {"label files parsed": parse, "images read": measure, "imported": whole}
        best = dict.fromkeys(works, (0.0, 0.0))
        for _ in range(options.rounds):
            for name, work in works.items():
                best[name] = max(best[name], rates(work))
        size = sum(file.stat().st_size for file in files)
    print(
        f"files          {len(files):,} of {size / len(files):,.0f} bytes, {options.crops} crops each"
    )
    for name, (speed, a_core) in best.items():
        print(f"{name:<20} {speed:>8,.0f} /s {a_core:>8,.0f} for each second of a core")
    print(f"peak memory          {peak_mib():>8,.0f} MiB")


if __name__ == "__main__":
    main()
