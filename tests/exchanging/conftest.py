"""A folder of images of twelve classes, and FKD's labels of them in every kind."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers.fkd_labels import fractions, label_arrays, write_file
from PIL import Image

from fkd.config import ViewPolicy
from fkd.views import sample_views

CLASSES = [f"n{number:02}" for number in range(12)]
CROPS = 6


@pytest.fixture(scope="session")
def labelled(tmp_path_factory):
    """Images at `images`, with boxes u16 [N, M, 4], flips and probabilities of each, in key order."""
    root = tmp_path_factory.mktemp("foreign")
    rng = np.random.default_rng(0)
    keys, sizes, views = [], [], []
    for number in range(24):
        name = CLASSES[number // 2]
        key = f"{name}/{name}_{number}.x.JPEG"
        size = tuple(int(side) for side in rng.integers(20, 90, 2))
        path = root / "data" / "train" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (*size, 3), dtype=np.uint8)).save(path)
        keys.append(key)
        sizes.append(size)
        views.append(sample_views(ViewPolicy(), number, CROPS, *size))
    torch.manual_seed(0)
    probs = (3 * torch.randn(24, CROPS, len(CLASSES))).softmax(2)
    box, flip = (np.stack(part) for part in zip(*views, strict=True))
    return SimpleNamespace(
        images=root / "data", keys=keys, sizes=sizes, box=box, flip=flip, probs=probs
    )


@pytest.fixture(scope="session")
def write_labels(labelled):
    """Write the labels of all images in a kind, below a folder; return the folder of the classes."""

    def write(folder, kind, **how):
        for number, key in enumerate(labelled.keys):
            coords = fractions(labelled.box[number], *labelled.sizes[number])
            path = folder / "data" / "train" / f"{key.split('.')[0]}.tar"
            write_file(
                path,
                coords,
                labelled.flip[number],
                label_arrays(kind, labelled.probs[number]),
                **how,
            )
        return folder / "data" / "train"

    return write
