"""Shared fixtures: a small image folder, a labelled store, and the command line in a process."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from fkd import LabelConfig, LabelStore, Scheme, TeacherChoice, label_images

torch.set_num_threads(1)  # networks here are tiny, and pytest runs in as many processes as cores

CLASSES = ("circle", "square", "triangle")


def draw_image(kind, rng, height, width):
    """Draw one shape of its class on noise."""
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    draw = ImageDraw.Draw(image)
    side = min(height, width) // 2
    left, top = rng.integers(0, width - side + 1), rng.integers(0, height - side + 1)
    box = [int(left), int(top), int(left + side), int(top + side)]
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    if kind == "circle":
        draw.ellipse(box, fill=colour)
    elif kind == "square":
        draw.rectangle(box, fill=colour)
    else:
        draw.polygon([(box[0], box[3]), (box[2], box[3]), (box[0], box[1])], fill=colour)
    return image


def make_image_folder(root, train_per_class=6, val_per_class=2, seed=0):
    """Write root/train and root/val, a folder per class, images of varying size; return root."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train_per_class), ("val", val_per_class)):
        for kind in CLASSES:
            folder = root / split / kind
            folder.mkdir(parents=True)
            for number in range(count):
                height, width = (int(v) for v in rng.integers(24, 61, 2))
                image = draw_image(kind, rng, height, width)
                image.save(folder / f"{number:03}.jpg", quality=92)
    return root


def label_config(images, out, **changes):
    """Return a small, fast labelling configuration: a random resnet18 at 32 px, 6 crops, topk3."""
    settings = {
        "teacher": TeacherChoice("resnet18", "none", size=32),
        "num_crops": 6,
        "scheme": Scheme("topk", 3),
        "batch_size": 32,
        "workers": 2,
        "device": "cpu",
    }
    return LabelConfig(images=Path(images), out=Path(out), **(settings | changes))


@pytest.fixture
def image_folder(tmp_path):
    return make_image_folder(tmp_path / "data")


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """An image folder that no test may change."""
    return make_image_folder(tmp_path_factory.mktemp("shared") / "data")


@pytest.fixture(scope="session")
def shared_store(shared_folder) -> LabelStore:
    """A complete store of `shared_folder` (18 images, 6 crops, topk3) that no test may change."""
    return label_images(label_config(shared_folder, shared_folder.parent / "labels.zarr"))


@dataclass
class Finished:
    code: int
    out: str
    err: str

    def error_line(self):
        """Return the one line of an expected error, after checking that it is one."""
        lines = [line for line in self.err.splitlines() if line.startswith("fkd: error:")]
        assert self.code == 2, self.err
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


def fkd_environment():
    return os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TERM": "dumb"}


@pytest.fixture
def run_fkd(tmp_path):
    """Run `python -m fkd …` in a process, by default in tmp_path."""

    def run(*args, cwd=tmp_path, timeout=300):
        done = subprocess.run(
            [sys.executable, "-m", "fkd", *map(str, args)],
            cwd=cwd,
            env=fkd_environment(),
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        return Finished(done.returncode, done.stdout, done.stderr)

    return run
