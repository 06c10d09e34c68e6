"""Tones: what is drawn, and pixels that are the same to the last bit wherever they are changed."""

import math
import re
from decimal import Decimal, localcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.transforms.v2 import functional

from fkd.config import TonePolicy
from fkd.errors import ConfigError
from fkd.views import apply_tones, draw_tone, draw_tones, empty_views, tone, without_lock

ALL_BITS = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15
POLICY = TonePolicy(0.4, 0.3, 1.0, 0.5)
# Computed once; whoever labelled by them can only be replayed while they stay.
GOLDEN = {
    (0, 0, 0): ([92, 150, 147], [0, 0, 0, 0]),
    (0, 0, 1): ([135, 162, 10], [15375, 51770, 14587, 7810]),
    (7, 1_281_166, 199): ([149, 93, 137], [5121, 15360, 19934, 36707]),
    (2**63 - 1, 2**40, 65_535): ([118, 128, 125], [25345, 40850, 37249, 21496]),
}


def mix(x):
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9 & ALL_BITS
    x = (x ^ x >> 27) * 0x94D049BB133111EB & ALL_BITS
    return x ^ x >> 31


def drawn_by_hand(policy, seed, number, crop):
    """Draw one tone with Python's own numbers."""
    key = mix(mix(seed + 2**63 + GAMMA & ALL_BITS) + (number + 1) * GAMMA & ALL_BITS)
    first, second, third = (mix(key + (16 * crop + k) * GAMMA & ALL_BITS) for k in (1, 2, 3))
    factors = []
    for shift, s in ((43, policy.brightness), (22, policy.contrast), (1, policy.saturation)):
        u = ((first >> shift & 2**21 - 1) + 0.5) / 2**21
        factors.append(min(255, round(128 * (1 - s + 2 * s * u))))
    if (second >> 11) / 2**53 >= policy.erase:
        return factors, [0, 0, 0, 0]
    s = math.sqrt(0.02 + (1 / 3 - 0.02) * (((third >> 45) + 0.5) / 2**19))
    with localcontext(prec=80):
        low, high = map(Decimal, (0.3, 3.3))
        k = third >> 33 & 4095
        g = float((low * (high / low) ** (Decimal(2 * k + 1) / 8192)).sqrt())
    height, width = (min(65_535, round(side)) for side in (s * 65535 / g, s * 65535 * g))
    top = (third >> 17 & 65535) * (65536 - height) >> 16
    return factors, [top, (third >> 1 & 65535) * (65536 - width) >> 16, height, width]


def changed_by_hand(views, factor, hole):
    """Change views by the page's arithmetic, in 64 bits and without a clever step."""
    out = []
    for view, factors, (top, left, tall, wide) in zip(
        views.permute(0, 2, 3, 1).numpy(), factor.tolist(), hole.tolist(), strict=True
    ):
        x, (height, width, _) = view.astype(np.int64), view.shape
        for step, f in enumerate(factors):
            luma = x @ np.array([38, 75, 15])
            mean = (2 * int(luma.sum()) + 128 * luma.size) // (256 * luma.size)
            reference = (0, mean, ((luma + 64) // 128)[..., None])[step]
            x = np.clip(x + ((x - reference) * (f - 128) + 64) // 128, 0, 255)
        top, bottom = ((2 * edge * height + 65534) // 131070 for edge in (top, top + tall))
        left, right = ((2 * edge * width + 65534) // 131070 for edge in (left, left + wide))
        x[top:bottom, left:right] = 117
        out.append(x)
    return torch.from_numpy(np.array(out, np.uint8)).permute(0, 3, 1, 2)


def some_views(count, height, width, seed=0):
    """Return noise, and among it views of black, white, pure colours and few levels."""
    rng = np.random.default_rng(seed)
    views = empty_views(count, (height, width))
    views.copy_(torch.from_numpy(rng.integers(0, 256, views.shape, dtype=np.uint8)))
    for row, colour in enumerate([(0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 0, 255)][:count]):
        views[row] = torch.tensor(colour, dtype=torch.uint8)[:, None, None]
    views[4:8] = (views[4:8] > 127) * 255
    return views


def some_tones(count, seed=0):
    """Return factors with both ends and 128 among them, and holes with the largest and with none."""
    rng = np.random.default_rng(seed)
    factor = rng.integers(0, 256, (count, 3)).astype(np.uint8)
    rng.permuted(factor, axis=1, out=factor)
    factor[rng.random((count, 3)) < 0.3] = 128
    ends = rng.random((count, 3)) < 0.3
    factor[ends] = rng.choice([0, 255], ends.sum())
    hole = draw_tones(TonePolicy(erase=0.7), seed, np.arange(count), np.arange(1)).hole[:, 0]
    hole[-1] = 0, 0, 65_535, 65_535
    return factor, hole


def test_tones_are_those_drawn_by_hand():
    rng = np.random.default_rng(0)
    numbers, crops = rng.integers(0, 2**40, 12), rng.integers(0, 65_536, 25)
    for policy in (POLICY, TonePolicy(1, 0, 0.01, 1), TonePolicy(erase=0.1)):
        tones = draw_tones(policy, 2**63 - 1, numbers, crops)
        for row, number in enumerate(numbers.tolist()):
            for column, crop in enumerate(crops.tolist()):
                one = tones[row, column]
                found = one.factor.tolist(), one.hole.tolist()
                assert found == drawn_by_hand(policy, 2**63 - 1, number, crop)


@pytest.mark.parametrize("key", GOLDEN, ids=str)
def test_tones_never_change(key):
    seed, number, crop = key
    one = draw_tones(POLICY, seed, np.array([number]), np.array([crop]))[0, 0]
    assert (one.factor.tolist(), one.hole.tolist()) == GOLDEN[key]


def test_any_tone_alone_is_the_one_drawn_in_bulk(monkeypatch):
    rng = np.random.default_rng(1)
    numbers, crops = rng.permutation(300), rng.permutation(40)
    whole = draw_tones(POLICY, 5, numbers, crops)
    monkeypatch.setattr(draw_tone, "_AT_ONCE", 130)
    for some, few in ((slice(None), slice(7)), (slice(0, 300, 53), slice(None)), ([8], [33])):
        part = draw_tones(POLICY, 5, numbers[some], crops[few])
        assert np.array_equal(part.factor, whole.factor[some][:, few])
        assert np.array_equal(part.hole, whole.hole[some][:, few])
    for shape in ((0, 3), (3, 0)):
        assert draw_tones(POLICY, 5, numbers[: shape[0]], crops[: shape[1]]).hole.size == 0


def test_what_is_not_asked_for_is_plain_and_changes_nothing_else():
    places = np.arange(40), np.arange(30)
    whole = draw_tones(POLICY, 9, *places)
    for n, name in enumerate(("brightness", "contrast", "saturation")):
        alone = draw_tones(TonePolicy(**{name: getattr(POLICY, name)}), 9, *places)
        assert np.array_equal(alone.factor[..., n], whole.factor[..., n])
        assert (np.delete(alone.factor, n, axis=2) == 128).all()
        assert not alone.hole.any()
    rare, often = (draw_tones(TonePolicy(erase=p), 9, *places).hole for p in (0.2, 0.5))
    assert np.array_equal(often, whole.hole)
    assert (rare[rare.any(axis=2)] == often[rare.any(axis=2)]).all()
    plain = draw_tones(TonePolicy(), 9, *places)
    assert (plain.factor == 128).all()
    assert not plain.hole.any()


def test_tones_are_spread_as_their_policy_says():
    tones = draw_tones(TonePolicy(0.4, 0.1, 1, 0.25), 1, np.arange(200), np.arange(200))
    factor = tones.factor.reshape(-1, 3) / 128
    for n, s in enumerate((0.4, 0.1, 1)):
        assert np.abs(factor[:, n] - 1).max() <= s + 1 / 256
        assert factor[:, n].mean() == pytest.approx(1, abs=0.01 * s + 0.003)
        assert factor[:, n].std() == pytest.approx(s / math.sqrt(3), rel=0.02)
    assert np.abs(np.corrcoef(factor.T) - np.eye(3)).max() < 0.02
    erased = tones.hole.any(axis=2)
    assert erased.mean() == pytest.approx(0.25, abs=0.01)
    top, left, tall, wide = tones.hole[erased].astype(float).T / 65536
    assert (top + tall).max() <= 1
    assert (left + wide).max() <= 1
    assert (tall * wide).min() > 0.0199
    assert (tall * wide).max() < 0.3334
    assert (tall * wide).mean() == pytest.approx((0.02 + 1 / 3) / 2, abs=0.005)
    ratio = np.log(wide / tall)
    assert ratio.mean() == pytest.approx(math.log(0.3 * 3.3) / 2, abs=0.03)
    assert ratio.std() == pytest.approx(math.log(3.3 / 0.3) / math.sqrt(12), abs=0.02)
    for start, extent in ((top, tall), (left, wide)):
        assert (start / (1 - extent + 1e-9)).mean() == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize(
    "sides", [(24, 24), (1, 1), (1, 3), (2, 1), (3, 200), (200, 3), (300, 7), (129, 128)], ids=str
)
def test_a_thread_and_a_device_change_views_as_by_hand(sides, monkeypatch):
    factor, hole = some_tones(40)
    views = some_views(40, *sides)
    expected = changed_by_hand(views, factor, hole)
    there = views.clone()
    apply_tones(views, factor, hole)
    assert torch.equal(views, expected)
    monkeypatch.setattr(tone, "_AT_ONCE", 3 * sides[0] * sides[1] * 7)  # in several goes
    tone._on_device(there, np.flatnonzero((factor != 128).any(1) | hole.any(1)), factor, hole)
    assert torch.equal(there, expected)


def test_nothing_waits_for_a_device():
    """A device without data cannot be read."""
    apply_tones(torch.empty(30, 3, 8, 9, dtype=torch.uint8, device="meta"), *some_tones(30))


def test_every_level_moves_by_every_factor_as_by_hand():
    """Also where 16 bits are nearly full: the largest moves are of 255 levels by a factor of 0."""
    levels = torch.arange(256, dtype=torch.uint8).repeat(3, 1)
    levels[1], levels[2] = levels[1].flip(0), levels[2].roll(77)
    views = empty_views(3 * 256, (1, 256)).copy_(levels[:, None])
    factor = np.full((3, 256, 3), 128, np.uint8)
    factor[np.arange(3), :, np.arange(3)] = np.arange(256)
    factor, hole = factor.reshape(-1, 3), np.zeros((3 * 256, 4), np.uint16)
    expected = changed_by_hand(views, factor, hole)
    apply_tones(views, factor, hole)
    assert torch.equal(views, expected)


def test_a_view_that_keeps_its_tone_is_not_touched():
    """Nor are the rows before and behind; views may be of several sizes, wherever they lie."""
    batches = [some_views(12, 9, 14), some_views(12, 30, 5, seed=1)]
    before = [batch.clone() for batch in batches]
    factor, hole = np.full((4, 3), 128, np.uint8), np.zeros((4, 4), np.uint16)
    factor[1], factor[2], hole[2] = (90, 128, 255), (128, 60, 128), (1000, 30_000, 40_000, 9000)
    hole[3] = 5, 5, 0, 900  # of no height
    rows = [(0, 8), (0, 9), (1, 10), (1, 11)]
    versions = [batch._version for batch in batches]
    apply_tones([batches[b][row] for b, row in rows[::3]], factor[::3], hole[::3])
    assert [batch._version for batch in batches] == versions
    apply_tones([batches[b][row] for b, row in rows], factor, hole)
    for n, (b, row) in enumerate(rows):
        before[b][row] = changed_by_hand(before[b][row][None], factor[n : n + 1], hole[n : n + 1])
    assert all(torch.equal(*both) for both in zip(batches, before, strict=True))


def test_a_hole_is_the_same_part_of_views_of_any_size():
    hole, factor = (
        np.array([[16_384, 32_768, 8192, 32_768]], np.uint16),
        np.full((1, 3), 128, np.uint8),
    )
    for size in (8, 32, 224):
        views = empty_views(1, size).fill_(3)
        apply_tones(views, factor, hole)
        rows, columns = slice(size // 4, size * 3 // 8), slice(size // 2, size)
        assert (views[0, :, rows, columns] == tone.FILL).all()
        assert (views == tone.FILL).sum() == 3 * (size // 8) * (size // 2)


def test_steps_are_those_of_torchvision_but_for_rounding():
    steps = functional.adjust_brightness, functional.adjust_contrast, functional.adjust_saturation
    hole = np.zeros((12, 4), np.uint16)
    for n, step in enumerate(steps):
        for f in (20, 110, 200):
            views, factor = some_views(12, 16, 16), np.full((12, 3), 128, np.uint8)
            factor[:, n] = f
            theirs = step(views.contiguous(), f / 128).int()
            apply_tones(views, factor, hole)
            assert (views.int() - theirs).abs().max() <= 3  # theirs are rounded down


def test_a_torch_without_torchscript_changes_views_alike():
    """So does a forked process, which runs the same lines."""
    factor, hole = some_tones(20)
    rows = some_views(20, 140, 6)
    expected = changed_by_hand(rows, factor, hole)
    edges = tone._edges(hole, np.array([140, 6])).tolist()
    room = torch.empty(2, 3 * 140 * 6 + 64, dtype=torch.int16)
    tone_all = without_lock._interpreted(tone._PROGRAM, "tone_all")
    tone_all(list(rows), factor.tolist(), edges, tone.FILL, room)
    assert torch.equal(rows, expected)


def test_a_tone_for_each_view():
    with pytest.raises(ValueError, match="2 factors and 2 holes for 3 views"):
        apply_tones(some_views(3, 4, 4), *some_tones(2))


def test_a_policy_is_within_its_bounds():
    assert TonePolicy().plain
    assert not TonePolicy(erase=0.1).plain
    for name in ("brightness", "contrast", "saturation", "erase"):
        with pytest.raises(ConfigError, match=f"--{name} is 1.5; it must lie between 0 and 1"):
            TonePolicy(**{name: 1.5})


def test_the_page_of_the_format_has_tones_that_are_drawn():
    page = (Path(__file__).parents[2] / "docs" / "store-format.md").read_text("utf-8")
    rows = re.findall(r"^\|" + r" ([\d.]+) \|" * 14 + "$", page, flags=re.M)
    assert len(rows) == 6
    for row in rows:
        policy, (seed, image, crop) = TonePolicy(*map(float, row[:4])), map(int, row[4:7])
        tones = draw_tones(policy, seed, np.array([image]), np.array([crop]))
        drawn = [*tones.factor[0, 0].tolist(), *tones.hole[0, 0].tolist()]
        assert drawn == [int(value) for value in row[7:]]
