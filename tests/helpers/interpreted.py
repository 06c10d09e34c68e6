"""Render by the kernels for GPUs, which Triton interprets on the CPU, and print how many samples differ.

Triton reads TRITON_INTERPRET=1 when it is imported, so this is a process of its own.
"""

import json
import sys
from itertools import product

import numpy as np
import torch

from fkd.views import render_device
from helpers.crops import all_at_once, one_by_one, some_crops

CASES = [
    f"{size} {interpolation} {fit}"
    for size, interpolation, fit in product(
        ("7", "17x33"), ("bilinear", "bicubic"), ("fill", "pad")
    )
]
BOARD, GOES = "extreme contrast", "many goes"


def num_different(size, interpolation, fit):
    """Crops of images of all sizes, in both directions."""
    different = 0
    sides = tuple(map(int, size.split("x"))) if "x" in size else int(size)
    for seed, lengths in enumerate([(1, 3), (1, 50)]):
        images, crops = some_crops(np.random.default_rng(seed), 4, lengths)
        found = all_at_once(images, crops, sides, interpolation, fit=fit)
        expected = one_by_one(images, crops, sides, interpolation, fit)
        different += int((found != expected).sum())
    return different


def num_different_of_a_board():
    """Bicubic weights below zero overshoot at hard edges, after each of the two directions."""
    board = (np.indices((41, 53)).sum(0) // 3 % 2 * 255).astype(np.uint8)
    images = [np.repeat(board[..., None], 3, axis=2)] * 3
    crops = [([0, 0, 41, 53], False), ([5, 9, 7, 40], True), ([40, 52, 1, 1], True)]
    expected = one_by_one(images, crops, 24, "bicubic")
    return int((all_at_once(images, crops, 24, "bicubic") != expected).sum())


def num_different_in_many_goes():
    """Views are written in place, in their order; rows of another batch lie before and behind."""
    render_device._WORKING_BYTES = 12_000
    images, crops = some_crops(np.random.default_rng(1), 8, (20, 40))
    out = torch.full((10, 24, 24, 3), 7, dtype=torch.uint8).permute(0, 3, 1, 2)
    all_at_once(images, crops, 24, "bilinear", out[1:9])
    expected = one_by_one(images, crops, 24, "bilinear")
    return int((out[1:9] != expected).sum()) + int((out[[0, 9]] != 7).sum())


if __name__ == "__main__":
    render_device.kernels_render = lambda *_: True
    found = {case: num_different(*case.split()) for case in CASES}
    found |= {BOARD: num_different_of_a_board(), GOES: num_different_in_many_goes()}
    assert "fkd.views.kernels" in sys.modules
    sys.stdout.write(json.dumps(found))
