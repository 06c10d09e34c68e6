"""Views: what is drawn, and that pixels are torchvision's."""

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, RandomResizedCrop, v2
from torchvision.transforms.v2 import functional

from fkd import ViewPolicy
from fkd.views import SAMPLERS, empty_views, normalize, render, sample_views
from fkd.views.render_cpu import render_center

SIZES = [(1, 1), (3, 500), (500, 3), (24, 24), (375, 500), (4000, 3000), (65_535, 2)]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_boxes_lie_inside_the_image(height, width, sampler):
    boxes, flips = sample_views(ViewPolicy(), 5, 300, height, width, sampler)
    top, left, h, w = boxes.astype(int).T
    assert boxes.dtype == np.uint16
    assert flips.dtype == np.bool_
    assert (h > 0).all()
    assert (w > 0).all()
    assert (top + h <= height).all()
    assert (left + w <= width).all()


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_view_does_not_depend_on_how_many_are_drawn(sampler):
    few, many = (sample_views(ViewPolicy(seed=4), 9, m, 375, 500, sampler) for m in (7, 200))
    assert np.array_equal(few[0], many[0][:7])
    assert np.array_equal(few[1], many[1][:7])


def test_seed_and_image_are_no_sum():
    draws = {
        (s, i): sample_views(ViewPolicy(seed=s), i, 4, 375, 500)[0] for s, i in [(0, 1), (1, 0)]
    }
    assert not np.array_equal(draws[0, 1], draws[1, 0])


def test_views_never_change():
    """A store can be continued years later only if these numbers stay."""
    boxes, flips = sample_views(ViewPolicy(seed=0), 0, 3, 375, 500, "random-resized-crop-1")
    assert boxes.tolist() == GOLDEN_BOXES
    assert flips.tolist() == GOLDEN_FLIPS


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_the_distribution_is_that_of_random_resized_crop(sampler):
    image = torch.empty(3, 375, 500, dtype=torch.uint8)
    torch.manual_seed(0)
    theirs = np.array(
        [RandomResizedCrop.get_params(image, [0.08, 1], [3 / 4, 4 / 3]) for _ in range(6000)]
    )
    boxes, flips = sample_views(ViewPolicy(), 0, 6000, 375, 500, sampler)
    ours = boxes.astype(int)
    for column in range(4):
        quantiles = [np.quantile(b[:, column], np.arange(1, 10) / 10) for b in (theirs, ours)]
        assert np.abs(quantiles[0] - quantiles[1]).max() < 14
    assert abs(flips.mean() - 0.5) < 0.03


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize(("height", "width"), [(3, 500), (500, 3), (1, 900)])
def test_extreme_images_get_torchvisions_fallback(height, width, sampler):
    image = torch.empty(3, height, width, dtype=torch.uint8)
    theirs = RandomResizedCrop.get_params(image, [0.9, 1], [3 / 4, 4 / 3])
    ours = sample_views(ViewPolicy(scale=(0.9, 1.0)), 0, 5, height, width, sampler)[0]
    assert ours.tolist() == [list(map(int, theirs))] * 5


def random_image(height=90, width=120):
    generator = torch.Generator().manual_seed(0)
    image = torch.randint(0, 256, (height, width, 3), dtype=torch.uint8, generator=generator)
    return image.permute(2, 0, 1)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(
    "box", [(0, 0, 90, 120), (10, 20, 33, 41), (5, 5, 1, 1), (80, 100, 10, 20)]
)
def test_render_equals_torchvision_and_touches_one_row(interpolation, flip, box):
    batch = empty_views(3, 48).fill_(7)
    image = random_image()
    render(image, np.array(box, np.uint16), flip, batch[1], interpolation)
    mode = InterpolationMode(interpolation)
    expected = functional.resized_crop(image, *box, [48, 48], interpolation=mode, antialias=True)
    expected = expected.flip(-1) if flip else expected
    assert (batch[1].int() - expected.int()).abs().max() <= 1
    assert (batch[0] == 7).all()
    assert (batch[2] == 7).all()


@pytest.mark.parametrize("shape", [(90, 120), (120, 90), (77, 77), (20, 300)])
def test_the_evaluation_view_is_torchvisions(shape):
    image, out = random_image(*shape), empty_views(1, 56)[0]
    render_center(image, out, "bilinear")
    expected = v2.CenterCrop(56)(v2.Resize(64, antialias=True)(image))
    assert (out.int() - expected.int()).abs().max() <= 1


def test_normalize_is_the_usual_formula():
    pixels = random_image()[None]
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.3, 0.4)
    usual = (pixels.float() / 255 - torch.tensor(mean).view(3, 1, 1)) / torch.tensor(std).view(
        3, 1, 1
    )
    assert torch.allclose(normalize(pixels, mean, std), usual, atol=1e-5)


GOLDEN_BOXES = [[110, 34, 142, 123], [58, 88, 287, 251], [10, 29, 355, 465]]
GOLDEN_FLIPS = [False, False, False]
