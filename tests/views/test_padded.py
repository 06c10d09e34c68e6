"""Crops that keep their shape: where they stand, what is around them, and every renderer's pixels."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers.crops import all_at_once, one_by_one, some_crops
from torch.nn import functional

from fkd.config import CenterView, ViewPolicy
from fkd.errors import ConfigError
from fkd.truth import IGNORED
from fkd.views import PADDING, empty_views, fitted, render_mask, render_views, sample_views
from fkd.views.masks import render_center_mask
from fkd.views.render_cpu import render_center

VIEWS = [32, (32, 100), (100, 32), (1, 7)]


def by_hand(height, width, high, wide):
    """Fit a crop into a view with fractions: the largest factor at which both sides fit."""
    factor = min(Fraction(high, height), Fraction(wide, width))
    return [max(1, int(side * factor + Fraction(1, 2))) for side in (height, width)]


@pytest.mark.parametrize("size", [*VIEWS, 4096])
def test_a_crop_just_fits(size):
    rng = np.random.default_rng(0)
    sides = np.concatenate([rng.integers(1, 65_536, (200, 2)), rng.integers(1, 40, (200, 2))])
    sides = np.concatenate([sides, [[1, 65_535], [65_535, 1], [1, 1], [65_535, 65_535]]])
    high, wide = (size, size) if isinstance(size, int) else size
    found = fitted(sides.astype(np.uint16), size)
    assert found.tolist() == [by_hand(*pair, high, wide) for pair in sides.tolist()]
    assert ((found == (high, wide)).any(axis=1)).all()


def test_the_pages_example_is_drawn():
    policy = ViewPolicy(0, (0.5, 1.0), (0.8, 1.25), fit="pad")
    boxes, _ = sample_views(policy, 0, 2, 48, 320)
    assert boxes.tolist() == [[1, 26, 35, 251], [6, 7, 31, 252]]
    assert fitted(boxes[:, 2:], (48, 320)).tolist() == [[45, 320], [39, 320]]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("size", VIEWS)
def test_every_renderer_pads_alike(size, interpolation):
    images, crops = some_crops(np.random.default_rng(1), 30, (1, 150))
    views = one_by_one(images, crops, size, interpolation, "pad")
    assert torch.equal(all_at_once(images, crops, size, interpolation, fit="pad"), views)
    for image, (box, flip), view in zip(images, crops, views, strict=True):
        pixels, (top, left, tall, broad) = torch.from_numpy(image).permute(2, 0, 1), box
        high, wide = by_hand(tall, broad, *view.shape[-2:])
        crop = pixels[None, :, top : top + tall, left : left + broad]
        seen = functional.interpolate(crop, (high, wide), mode=interpolation, antialias=True)[0]
        assert torch.equal(view[:, :high, :wide], seen.flip(-1) if flip else seen)
        assert (view[:, high:] == PADDING).all()
        assert (view[:, :, wide:] == PADDING).all()
        beside = empty_views(2, size)
        both = np.array([box, box], np.uint16), np.array([flip, not flip])
        render_views(pixels, *both, beside, interpolation, "pad")
        assert torch.equal(beside[0], view)
        assert torch.equal(beside[1, :, :high, :wide].flip(-1), view[:, :high, :wide])


def test_a_table_in_several_goes_is_padded_alike(monkeypatch):
    images, crops = some_crops(np.random.default_rng(2), 30, (1, 90))
    whole = all_at_once(images, crops, (16, 40), "bilinear", fit="pad")
    monkeypatch.setattr("fkd.views.render_device._WORKING_BYTES", 40 * 23 * 200)
    assert torch.equal(all_at_once(images, crops, (16, 40), "bilinear", fit="pad"), whole)


def test_nothing_is_known_of_padding():
    """A mask has its edge where the view has it, and what is around the crop counts for nothing."""
    mask = torch.zeros(40, 60, dtype=torch.uint8)
    mask[:, 30:] = 1
    box, size = np.array([[10, 10, 20, 40]], np.uint16), (32, 96)
    for flip in (False, True):
        seen = render_mask(mask, box, np.array([flip]), size, "pad")[0]
        assert seen[:, :64].tolist() == [[int(flip)] * 32 + [int(not flip)] * 32] * 32
        assert (seen[:, 64:] == IGNORED).all()
    assert render_center_mask(mask, (20, 60), 1.0, "pad")[:, 30:].eq(IGNORED).all()


def test_an_evaluation_view_is_of_the_whole_image():
    image = torch.randint(0, 256, (3, 20, 45), dtype=torch.uint8)
    view = empty_views(1, (20, 60))[0]
    render_center(image, view, "bilinear", 1.0, "pad")
    assert torch.equal(view[:, :, :45], image)
    assert (view[:, :, 45:] == PADDING).all()
    with pytest.raises(ConfigError, match=r"--eval-crop 0\.9 does not go with padded views"):
        CenterView((20, 60), "bilinear", 0.9, "pad")
