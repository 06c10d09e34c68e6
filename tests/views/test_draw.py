"""The sampler whose boxes nobody stores: it draws by the page's arithmetic, to the last bit."""

import math
from decimal import Decimal, localcontext
from functools import cache

import numpy as np
import pytest

from fkd import ViewPolicy
from fkd.views import SAMPLER, SAMPLERS, outside, sample_views

ALL_BITS = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15
draw = SAMPLERS[SAMPLER].draw


def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & ALL_BITS
    x = (x ^ x >> 27) * 0x94D049BB133111EB & ALL_BITS
    return x ^ x >> 31


@cache
def root(ratio, k):
    """Work out a value of the table on its own, by another way than fkd."""
    with localcontext(prec=80):
        low, high = map(Decimal, ratio)
        return float((low * (high / low) ** (Decimal(2 * k + 1) / 8192)).sqrt())


def drawn_by_hand(policy, image, crop, height, width):
    """Draw one view with Python's own numbers: top, left, height, width, flip."""
    if not height or not width:
        return [0, 0, 0, 0, 0]
    key = mix(mix(policy.seed + GAMMA & ALL_BITS) + (image + 1) * GAMMA & ALL_BITS)
    words = [mix(key + (16 * crop + a + 1) * GAMMA & ALL_BITS) for a in range(10)]
    flip, (least, most), (low, high) = words[0] & 1 & policy.flip, policy.scale, policy.ratio
    for word in words:
        share = least + (most - least) * (((word >> 45) + 0.5) / 2**19)
        g = root(policy.ratio, word >> 33 & 4095)
        if policy.fit == "pad":
            s = math.sqrt(share)
            w, h = round(s * g * width), round(s / g * height)
        else:
            s = math.sqrt(height * width * share)
            w, h = round(s * g), round(s / g)
        if 1 <= w <= width and 1 <= h <= height:
            top, left = (
                (word >> 17 & 65535) * (height - h + 1),
                (word >> 1 & 65535) * (width - w + 1),
            )
            return [top >> 16, left >> 16, h, w, flip]
    h, w = height, width
    if policy.fit == "pad":
        h = min(height, max(1, round(height / low)))
        w = min(width, max(1, round(width * high)))
    elif width / height < low:
        h = min(height, max(1, round(width / low)))
    elif width / height > high:
        w = min(width, max(1, round(height * high)))
    return [(height - h) // 2, (width - w) // 2, h, w, flip]


POLICIES = [
    ViewPolicy(),
    ViewPolicy(2**63 - 1, (1e-6, 1e-6), (1.0, 1.0)),
    ViewPolicy(5, (0.2, 0.3), (1e-3, 1e3)),
    ViewPolicy(6, (0.9, 1.0), (0.5, 0.5)),
    ViewPolicy(9, (1e-6, 1.0), (0.02, 2.0)),
    ViewPolicy(5, (0.2, 0.9), (0.8, 1.25), fit="pad"),
    ViewPolicy(6, (0.9, 1.0), (0.5, 0.5), flip=False, fit="pad"),
    ViewPolicy(7, (1e-6, 1.0), (1.5, 9.0), flip=False),
]
SHAPES = [(65_535, 65_535), (65_535, 3), (1, 1), (0, 5), (0, 0), (3, 60_000), (375, 500), (24, 31)]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
def test_boxes_are_those_drawn_by_hand(policy):
    rng = np.random.default_rng(0)
    images, crops = rng.integers(0, 2**40, len(SHAPES)), rng.integers(0, 65_536, 25)
    sizes = np.array(SHAPES, np.uint16)
    boxes, flips = draw(policy, images, crops, sizes)
    found = np.concatenate([boxes, flips[..., None]], axis=2).tolist()
    for row, (image, (height, width)) in enumerate(zip(images.tolist(), SHAPES, strict=True)):
        expected = [drawn_by_hand(policy, image, crop, height, width) for crop in crops.tolist()]
        assert found[row] == expected, (height, width)
    assert not outside(boxes[np.array(SHAPES).all(axis=1)], sizes[sizes.all(axis=1)]).any()


def test_any_view_alone_is_the_one_drawn_in_bulk():
    """Whatever the order, and however many are drawn at once: the pieces are cut along either axis."""
    rng, policy = np.random.default_rng(1), ViewPolicy(3, (0.02, 1.0))
    images, crops = rng.permutation(900), rng.permutation(130)
    sizes = rng.integers(1, 700, (900, 2)).astype(np.uint16)
    boxes, flips = draw(policy, images, crops, sizes)
    for some, few in ((slice(None), slice(7)), (slice(0, 900, 53), slice(None)), ([8], [99])):
        part = draw(policy, images[some], crops[few], sizes[some])
        assert np.array_equal(part[0], boxes[some][:, few])
        assert np.array_equal(part[1], flips[some][:, few])
    one = sample_views(policy, int(images[5]), 131, *sizes[5].tolist())
    assert np.array_equal(one[0][crops], boxes[5])
    assert np.array_equal(one[1][crops], flips[5])
    far = draw(policy, images[:2], np.arange(65_536), sizes[:2])[0]
    assert np.array_equal(far[:, crops], boxes[:2])


def test_nothing_and_no_one_is_drawn():
    assert draw(ViewPolicy(), np.arange(0), np.arange(3), np.zeros((0, 2), np.uint16))[1].size == 0
    assert draw(ViewPolicy(), np.arange(3), np.arange(0), np.ones((3, 2), np.uint16))[1].size == 0


@pytest.mark.parametrize(("height", "width"), [(375, 500), (640, 480), (120, 400)])
def test_it_draws_as_the_first_sampler_does(height, width):
    """Area, ratio and place have the same quantiles and the flip the same share, of 40,000 crops each."""
    measures = []
    for sampler in SAMPLERS:
        boxes, flips = sample_views(ViewPolicy(1), 7, 40_000, height, width, sampler)
        top, left, tall, wide = boxes.astype(float).T
        across, down = left / np.maximum(width - wide, 1), top / np.maximum(height - tall, 1)
        area, ratio = tall * wide / (height * width), np.log(wide / tall)
        quantiles = np.quantile([area, ratio, across, down], np.linspace(0.05, 0.95, 19), axis=1)
        measures.append(
            np.append(quantiles.ravel(), [flips.mean(), np.corrcoef(area, ratio)[0, 1]])
        )
    assert np.abs(measures[0] - measures[1]).max() < 0.02


def test_neighbours_share_nothing():
    """Seeds, images and crops that follow one another, and seeds and images exchanged."""
    size = np.tile(np.array([[375, 500]], np.uint16), (40, 1))
    drawn = [draw(ViewPolicy(seed), np.arange(40), np.arange(40), size) for seed in range(10)]
    boxes = np.stack([boxes for boxes, _ in drawn]).reshape(-1, 4)
    assert len(np.unique(boxes, axis=0)) > 0.999 * len(boxes)
    flips = np.stack([flips for _, flips in drawn]).astype(float) - 0.5
    for axis in range(3):
        same = (flips * np.roll(flips, 1, axis)).mean() * 4
        assert abs(same) < 0.04
