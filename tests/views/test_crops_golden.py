"""Views that must never change, and that neighbours in seed or image share nothing."""

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from fkd import ViewPolicy
from fkd.views import empty_views, sample_views
from fkd.views.render_cpu import render_center

# Computed once, for images of 375 × 500 pixels; a store can only be continued while they stay.
GOLDEN = {
    (0, 1): ([[12, 34, 346, 346], [137, 134, 154, 200], [83, 76, 270, 352]], [1, 1, 0]),
    (1, 0): ([[1, 287, 184, 144], [142, 348, 122, 137], [29, 95, 345, 373]], [1, 0, 0]),
    (7, 1_281_166): ([[2, 6, 369, 491], [11, 143, 360, 347], [96, 132, 185, 218]], [0, 0, 0]),
    (2**63 - 1, 3): ([[24, 68, 345, 418], [141, 229, 187, 162], [75, 217, 188, 184]], [0, 1, 0]),
}


@pytest.mark.parametrize("key", GOLDEN, ids=str)
def test_views_are_those_of_the_first_release(key):
    seed, image_index = key
    policy, sampler = ViewPolicy(seed=seed), "random-resized-crop-1"
    boxes, flips = sample_views(policy, image_index, 3, 375, 500, sampler)
    assert (boxes.tolist(), flips.astype(int).tolist()) == GOLDEN[key]


def test_no_two_of_many_seeds_and_images_draw_the_same():
    drawn = {
        sample_views(ViewPolicy(seed=seed), image, 2, 375, 500)[0].tobytes()
        for seed in range(20)
        for image in range(20)
    }
    assert len(drawn) == 400


def test_mean_area_and_shape_are_those_of_the_policy():
    policy = ViewPolicy(scale=(0.2, 0.6), ratio=(0.8, 1.25))
    boxes = sample_views(policy, 0, 4000, 1000, 1000)[0].astype(float)
    area, ratio = boxes[:, 2] * boxes[:, 3] / 1e6, np.log(boxes[:, 3] / boxes[:, 2])
    assert area.mean() == pytest.approx(0.4, abs=0.01)
    assert area.min() >= 0.199
    assert area.max() <= 0.601
    assert ratio.mean() == pytest.approx(0, abs=0.01)
    assert np.abs(ratio).max() <= np.log(1.25) + 0.01


@pytest.mark.parametrize("shape", [(90, 120), (20, 300), (7, 5), (1, 1)])
def test_the_bicubic_evaluation_view_is_torchvisions(shape):
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (3, *shape), dtype=torch.uint8, generator=generator)
    out = empty_views(1, 56)[0]
    render_center(image, out, "bicubic")
    resize = v2.Resize(64, interpolation=InterpolationMode.BICUBIC, antialias=True)
    assert (out.int() - v2.CenterCrop(56)(resize(image)).int()).abs().max() <= 1
