"""Crops of images in memory, rendered one by one or all at once."""

import numpy as np
import torch

from fkd.views import CropTable, empty_views, render, render_table


def some_crops(rng, count, sides):
    """Return images, uint8 [H, W, 3], and a crop of each: (box, flip)."""
    images, crops = [], []
    for _ in range(count):
        height, width = (int(side) for side in rng.integers(sides[0], sides[1] + 1, 2))
        box_height, box_width = rng.integers(1, height + 1), rng.integers(1, width + 1)
        top = rng.integers(0, height - box_height + 1)
        left = rng.integers(0, width - box_width + 1)
        images.append(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))
        crops.append(([top, left, box_height, box_width], bool(rng.integers(2))))
    return images, crops


def one_by_one(images, crops, size, interpolation, fit="fill"):
    views = empty_views(len(crops), size)
    for image, (box, flip), view in zip(images, crops, views, strict=True):
        pixels = torch.from_numpy(image).permute(2, 0, 1)
        render(pixels, np.array(box, np.uint16), flip, view, interpolation, fit)
    return views


def all_at_once(images, crops, size, interpolation, out=None, fit="fill"):
    areas = np.array([image.shape[0] * image.shape[1] for image in images])
    table = CropTable(
        areas.cumsum() - areas,
        np.array([image.shape[1] for image in images]),
        np.array([box for box, _ in crops], np.int64),
        np.array([flip for _, flip in crops]),
    )
    pixels = torch.from_numpy(np.concatenate([image.reshape(-1, 3) for image in images]))
    return render_table(pixels, table, size, interpolation, out, fit)
