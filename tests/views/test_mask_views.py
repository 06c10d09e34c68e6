"""Masks are seen as views are: what torchvision makes of them, and what lies under the view's pixels."""

import numpy as np
import pytest
import torch
from helpers.masked import make_masked_folder
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop

from fkd.config import IGNORED, CenterView
from fkd.sources import list_images
from fkd.truth import find_masks
from fkd.views import RenderPool, empty_views, evaluation_batches, render, render_mask
from fkd.views.masks import render_center_mask
from fkd.views.render_cpu import render_center


def test_a_view_of_a_mask_is_torchvisions_nearest_exact():
    rng = np.random.default_rng(0)
    mask = torch.from_numpy(rng.integers(0, 9, (37, 53), np.uint8))
    tall, wide = rng.integers(1, 38, 50), rng.integers(1, 54, 50)
    boxes = np.stack([rng.integers(0, 38 - tall), rng.integers(0, 54 - wide), tall, wide], 1)
    flips = np.arange(50) % 2 == 0
    views = render_mask(mask, boxes.astype(np.uint16), flips, (16, 24))
    for view, box, flip in zip(views, boxes.tolist(), flips, strict=True):
        seen = resized_crop(mask[None], *box, [16, 24], InterpolationMode.NEAREST_EXACT)[0]
        assert torch.equal(view, seen.flip(-1) if flip else seen)


@pytest.mark.parametrize("flip", [False, True])
def test_a_class_is_where_the_view_has_its_colour(flip):
    """Half of the image is white: mask and view agree at every pixel but those of the edge."""
    image = torch.zeros(3, 40, 60, dtype=torch.uint8)
    image[:, :, 33:] = 255
    box, view = np.array([3, 10, 30, 45], np.uint16), empty_views(1, 24)[0]
    render(image, box, flip, view, "bilinear")
    seen = render_mask((image[0] > 0).byte(), box[None], np.array([flip]), 24)[0]
    assert ((view[0] > 127).byte() != seen).sum() <= 24
    assert set(seen.unique().tolist()) == {0, 1}


@pytest.mark.parametrize(("size", "crop"), [(24, 0.875), ((16, 40), 1.0), ((40, 16), 0.5)])
def test_a_centre_view_of_a_mask_is_that_of_its_image(size, crop):
    generator = torch.Generator().manual_seed(0)
    mask = torch.randint(0, 2, (7, 11), generator=generator, dtype=torch.uint8)
    mask = mask.repeat_interleave(9, 0).repeat_interleave(9, 1)
    view = empty_views(1, size)[0]
    render_center((255 * mask).expand(3, -1, -1).contiguous(), view, "bilinear", crop)
    seen = render_center_mask(mask, size, crop)
    sure = (view[0] == 0) | (view[0] == 255)
    assert sure.float().mean() > 0.3
    assert torch.equal((view[0] > 127).byte()[sure], seen[sure])


def test_evaluation_gives_masks_of_the_same_rows(tmp_path):
    root = make_masked_folder(tmp_path / "camvid", train=4, val=0)
    Image.new("L", (5, 5)).save(root / "trainannot" / "002.png")
    images = list_images(root / "train", unlabelled=True)
    masks = find_masks(images)
    with RenderPool(2) as pool:
        view = CenterView(32, "bilinear")
        (plain,) = evaluation_batches(pool, images, [[3, 2, 0]], view)
        (batch,) = evaluation_batches(pool, images, [[3, 2, 0]], view, masks)
    assert plain.masks is None
    assert batch.usable.tolist() == [True, False, True]
    assert str(batch.errors[0]).startswith(str(root / "trainannot" / "002.png: bad mask"))
    assert batch.masks.shape == (3, 32, 32)
    assert set(batch.masks[1].unique().tolist()) == {IGNORED}
    assert torch.equal(batch.masks[0], render_center_mask(masks.read(3), 32))
    assert torch.equal(batch.views[[0, 2]], plain.views[[0, 2]])
