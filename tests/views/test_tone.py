"""Tones: what is drawn."""

import math
from decimal import Decimal, localcontext

import numpy as np
import pytest

from fkd.config import TonePolicy
from fkd.errors import ConfigError
from fkd.views import draw_tone, draw_tones

ALL_BITS = 2**64 - 1
GAMMA = 0x9E3779B97F4A7C15
POLICY = TonePolicy(0.4, 0.3, 1.0, 0.5)
# Computed once; whoever labelled by them can only be replayed while they stay.
GOLDEN = {
    (0, 0, 0): ([92, 150, 147], [0, 0, 0, 0]),
    (0, 0, 1): ([135, 162, 10], [15376, 51771, 14587, 7810]),
    (7, 1_281_166, 199): ([149, 93, 137], [5121, 15361, 19934, 36707]),
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
    height, width = (min(65_535, round(side)) for side in (s * 65536 / g, s * 65536 * g))
    top = (third >> 17 & 65535) * (65537 - height) >> 16
    return factors, [top, (third >> 1 & 65535) * (65537 - width) >> 16, height, width]


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


def test_a_policy_is_within_its_bounds():
    assert TonePolicy().plain
    assert not TonePolicy(erase=0.1).plain
    for name in ("brightness", "contrast", "saturation", "erase"):
        with pytest.raises(ConfigError, match=f"--{name} is 1.5; it must lie between 0 and 1"):
            TonePolicy(**{name: 1.5})
