"""How views are mixed: pairs, shares, holes and pixels against docs/store-format.md in plain numbers."""

import math
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.mixed import mixed_by_hand

from fkd.config import MixPolicy, ViewPolicy
from fkd.views import (
    SAMPLER,
    SAMPLERS,
    Mixes,
    Partners,
    blend_on_device,
    blend_views,
    draw_mixes,
    draw_shares,
    hash_mixes,
    hole_of,
    hole_pixels,
    partners,
)
from fkd.views.mixing import _levels

PAGE = (Path(__file__).parents[2] / "docs" / "store-format.md").read_text("utf-8")
WORD, GAMMA = 2**64, 0x9E3779B97F4A7C15
LAST_SEED = 2**63 - 1


def rows_of(columns):
    """Return the rows of the page's only table with these columns, as numbers."""
    table = PAGE.split(f"| {columns} |\n")[1].split("\n\n")[0].splitlines()[1:]
    return [[float(cell) if "." in cell else int(cell) for cell in row.strip("| ").split(" | ")]
            for row in table]  # fmt: skip


def finalized(x):
    x %= WORD
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % WORD
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % WORD
    return x ^ (x >> 31)


def key_of(seed, image):
    return finalized(finalized(seed + GAMMA) + (image + 1) * GAMMA)


def partner_by_hand(seed, group, n, image):
    """Tell an image's partner in whole numbers of Python, as the page does."""
    a = math.isqrt(n - 1) + 1
    b, key = -(-n // a), key_of(seed, 2**62 + group)
    words = [
        lambda x, r=r: finalized(finalized(key + r * GAMMA) + (x + 1) * GAMMA) for r in range(7)
    ]

    def walked(p, rounds, sign):
        while True:
            u, v = divmod(p, b)
            for r in rounds:
                if r % 2:
                    u = (u + sign * words[r](v)) % a
                else:
                    v = (v + sign * words[r](u)) % b
            p = u * b + v
            if p < n:
                return p

    beside = walked(image, range(6, 0, -1), -1) ^ 1
    return image if beside == n else walked(beside, range(1, 7), 1)


@pytest.mark.parametrize("n", [*range(1, 40), 63, 64, 65, 1000, 1001])
def test_a_partners_partner_is_the_image_itself(n):
    images, groups = np.arange(n), np.arange(5)
    found = partners(3, groups, n, images[:, None])
    assert found.shape == (n, 5)
    for whom in found.T:
        assert np.array_equal(np.sort(whom), images)
        assert np.array_equal(whom[whom], images)
        assert (whom == images).sum() == n % 2
    assert np.array_equal(partners(3, groups[:, None], n, images), found.T)


def test_pairs_are_those_of_the_page():
    rows = rows_of("seed | N | group | image | partner")
    rows += [[s, n, g, i, None] for s, g in ((0, 0), (LAST_SEED, 9)) for n in (1, 2, 3, 10)
             for i in range(n)]  # fmt: skip
    for seed, n, group, image, told in rows:
        found = int(partners(seed, np.array([group]), n, np.array([image]))[0])
        assert found == partner_by_hand(seed, group, n, image)
        assert told in (None, found)


def test_every_image_is_as_often_the_partner_of_any_other():
    n, groups = 12, np.arange(20_000)
    found = partners(5, groups, n, np.arange(n)[:, None])
    counts = np.array([[(found[i] == j).sum() for j in range(n)] for i in range(n)])
    assert (np.diag(counts) == 0).all()
    expected = len(groups) / (n - 1)
    others = counts[~np.eye(n, dtype=bool)]
    chi_square = ((others - expected) ** 2).sum() / expected / 2  # each pair is counted twice
    assert abs(chi_square - (n * (n - 1) / 2 - n)) < 50  # 54 degrees of freedom, about


def test_shares_and_holes_are_those_of_the_page():
    rows = rows_of(
        "mixup | cutmix | share | seed | image | crop | k of mixup, or 256 | top | left | height | width"
    )
    assert len(rows) > 10
    for mixup, cutmix, share, seed, image, crop, k, *hole in rows:
        policy = MixPolicy(mixup, cutmix, share)
        found = draw_shares(policy, seed, np.array([image]), np.array([crop]))
        assert (int(found[0][0, 0]), found[1][0, 0].tolist()) == (k, hole)


def test_shares_and_holes_are_told_in_whole_numbers():
    """Of Beta(1, 1), whose thresholds are plain."""
    images, crops = np.array([0, 5, 2**40 - 1]), np.array([0, 1, 2, 65_535])
    share, hole = draw_shares(MixPolicy(1, 1, 0.7), 11, images, crops)
    for (n, m), found in np.ndenumerate(share):
        key = key_of(11, int(images[n]))
        word, place = (finalized(key + (16 * int(crops[m]) + w) * GAMMA) for w in (12, 13))
        k = sum((2 * e - 1) * 2**23 <= word % 2**32 for e in range(1, 257))
        expected, edges = 256, [0, 0, 0, 0]
        if word >> 40 < round(0.7 * 2**24):
            if word >> 39 & 1:
                side = round(65_535 * math.sqrt((256 - k) / 256))
                top, left = place >> 48, place >> 32 & 0xFFFF
                edges = [top * (65_536 - side) >> 16, left * (65_536 - side) >> 16, side, side]
            else:
                expected = k
        assert (int(found), hole[n, m].tolist()) == (expected, edges)


@pytest.mark.parametrize(
    ("alpha", "below"),
    [
        (1.0, lambda x: x),
        (2.0, lambda x: 3 * x**2 - 2 * x**3),
        (0.5, lambda x: 2 / math.pi * math.asin(math.sqrt(x))),
    ],
)
def test_thresholds_are_those_of_beta(alpha, below):
    exact = [below(Fraction(2 * n - 1, 512)) * 2**32 for n in range(1, 257)]
    assert np.abs(_levels(alpha).astype(float) - np.array([float(x) for x in exact])).max() <= 0.51


@pytest.mark.parametrize("alpha", [0.01, 0.2, 0.37, 8.0, 31.9, 32.0])
def test_thresholds_rise_and_are_even(alpha):
    levels = _levels(alpha).astype(np.int64)
    assert (np.diff(levels) >= 0).all()
    assert np.abs(levels + levels[::-1] - 2**32).max() <= 1
    mean_square = np.diff(levels / 2**32, prepend=0, append=1) @ (np.arange(257) / 256 - 0.5) ** 2
    assert mean_square == pytest.approx(1 / (8 * alpha + 4), rel=0.01, abs=1e-5)


@pytest.fixture(scope="module")
def drawn():
    """Mixes of 40 images in 12 crops by mixup and cutmix, of which image 3 has no labels."""
    policy = ViewPolicy(9, mix=MixPolicy(1, 1, 0.9, 4))
    images, crops = np.arange(40), np.arange(12)
    sizes = np.random.default_rng(0).integers(20, 90, (40, 2)).astype(np.uint16)
    sizes[3] = 0
    whom = partners(9, crops // 4, 40, images[:, None])
    other = Partners(whom, whom, sizes[whom])
    return policy, sizes, whom, draw_mixes(policy, SAMPLER, images, images, crops, other)


def test_a_partners_view_is_its_own_of_the_same_crop(drawn):
    policy, sizes, whom, mixes = drawn
    box, flip = SAMPLERS[SAMPLER].draw(policy, np.arange(40), np.arange(12), sizes)
    mixed, crop = mixes.mixed, np.broadcast_to(np.arange(12), whom.shape)
    assert np.array_equal(mixes.image[mixed], whom[mixed])
    assert np.array_equal(mixes.box[mixed], box[whom, crop][mixed])
    assert np.array_equal(mixes.flip[mixed], flip[whom, crop][mixed])
    assert 0.85 < mixed[whom != 3].mean() < 0.95
    assert not mixed[whom == 3].any()
    none = Mixes.none(np.repeat(np.arange(40)[:, None], 12, axis=1))
    assert not mixes[~mixed].unlike(none[~mixed]).any()
    assert mixes[mixed].unlike(none[mixed]).all()


@pytest.mark.parametrize("size", [1, 7, 32, (24, 33)])
def test_threads_and_device_blend_as_whole_numbers_do(drawn, size):
    mixes = drawn[3][:, :3][drawn[3].mixed[:, :3]]
    height, width = (size, size) if isinstance(size, int) else size
    rng = np.random.default_rng(1)
    own, other = rng.integers(0, 256, (2, len(mixes.share), 3, height, width), dtype=np.uint8)
    true = mixed_by_hand(own, other, mixes)
    on_device = blend_on_device(torch.from_numpy(own), torch.from_numpy(other), mixes)
    assert np.array_equal(on_device.numpy(), true)
    assert np.array_equal(
        own, np.random.default_rng(1).integers(0, 256, (2, *own.shape), np.uint8)[0]
    )
    blend_views(list(torch.from_numpy(own)), list(torch.from_numpy(other)), mixes)
    assert np.array_equal(own, true)


def test_a_hole_of_pixels_is_found_again():
    for side in (1, 7, 224, 4096):
        edges = np.unique(np.linspace(0, side, 50).astype(int))
        first, last = np.meshgrid(edges, edges, indexing="ij")
        first, last = first[first <= last], last[first <= last]
        pixels = np.stack([first, last, first, last], axis=1)
        assert np.array_equal(hole_pixels(hole_of(pixels, side), side), pixels)


def test_the_hash_is_of_every_number_and_of_the_partners_content(drawn):
    mixes = drawn[3]
    content = np.random.default_rng(2).integers(1, 2**63, mixes.share.shape).astype(np.uint64)
    before = hash_mixes(mixes, content, 5)
    assert before.shape == (3,)
    place = tuple(np.argwhere(mixes.mixed[:, :5])[7])
    for name in ("box", "flip", "share", "hole"):
        values = getattr(mixes, name).copy()
        values[place] ^= 1
        changed = Mixes(**{**vars(mixes), name: values})
        assert (hash_mixes(changed, content, 5) != before).tolist() == [True, False, False], name
    other = content.copy()
    other[place] += np.uint64(1)
    assert (hash_mixes(mixes, other, 5) != before).tolist() == [True, False, False]
    other = np.where(mixes.mixed, content, np.uint64(77))  # nobody looks at what is not mixed
    assert np.array_equal(hash_mixes(mixes, other, 5), before)
