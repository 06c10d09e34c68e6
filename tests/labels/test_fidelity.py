"""What labels give up is what a dense reference in float64 says; what no labeller writes is refused."""

import math

import numpy as np
import pytest
import torch

from fkd import Scheme
from fkd.labels import (
    SHARE_TEMPERATURES,
    Fidelity,
    fidelity_fault,
    mean_fidelity,
    quantize,
    restore,
    row_fidelity,
)

CLASSES = 50


def some_probs():
    """Labels of all kinds: flat, sharp, so sharp that most classes are zero in float32, and tied."""
    torch.manual_seed(0)
    scale = torch.tensor([0.1, 1.0, 3.0, 10.0, 60.0])[:, None]
    probs = (scale * torch.randn(5, CLASSES)).softmax(1)
    one = torch.zeros(1, CLASSES)
    one[0, 7] = 1
    return torch.cat([probs, one, torch.full((1, CLASSES), 1 / CLASSES)])


def reference(probs, kept, scheme):
    """Measure one label after the other in float64, as the definitions are written."""
    q = restore(kept, scheme, scheme.whole, CLASSES)
    index = torch.arange(CLASSES).expand(len(probs), -1) if q.index is None else q.index
    rows = []
    for p, dense, ids in zip(probs.double(), q.dense().double(), index, strict=True):
        others = np.setdiff1d(np.arange(CLASSES), ids)
        outcomes = torch.cat([p[ids], p[others].sum()[None]])
        said = torch.cat([dense[ids], dense[others].sum()[None]])
        shares = [
            float((p[ids] ** (1 / t)).sum() / (p ** (1 / t)).sum()) for t in SHARE_TEMPERATURES
        ]
        rows.append([_kl(p, dense), _kl(outcomes, said), *shares])
    found = torch.tensor(rows, dtype=torch.float64)
    if scheme.kind == "hard":
        found[:, :2] = torch.nan
    return found


def _kl(p, q):
    pairs = zip(p.tolist(), q.tolist(), strict=True)
    return sum(a * math.log(a / b) if b else math.inf for a, b in pairs if a)


@pytest.mark.parametrize(
    "name", ["full", "full-8bit", "hard", "smooth", "topk1", "topk5", "topk5-coarse", "topk50"]
)
def test_it_is_what_a_dense_reference_says(name):
    scheme, probs = Scheme.parse(name), some_probs()
    kept = quantize(probs, scheme)
    found, wanted = row_fidelity(probs, kept, scheme), reference(probs, kept, scheme)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=1e-4, atol=2e-6, equal_nan=True)
    measured = found.numpy()
    assert all(fidelity_fault(row, scheme) is None for row in measured)
    if (
        name == "topk5"
    ):  # most of a flat label is outside of the kept classes, and most of a sharp one in
        assert measured[0, 2] < 0.2 < 0.9 < measured[3, 2]
        assert (measured[:, 0] >= measured[:, 1]).all()


def test_the_mean_is_over_crops_and_leaves_out_what_was_not_measured():
    blocks = np.array([[1, 0.1, 0.8, 0.4, 0.2, 0.1], [np.nan] * 6, [2, 0.4, 0.5, 0.1, 0.1, 0.1]])
    found = mean_fidelity(blocks.astype(np.float32), np.array([3, 5, 1]))
    assert found.kl == pytest.approx(1.25)
    assert found.quantization == pytest.approx(0.175)
    assert found.kept_shares == pytest.approx((0.725, 0.325, 0.175, 0.1))
    assert mean_fidelity(blocks[1:2].astype(np.float32), np.array([5])) is None
    hard = np.array([[np.nan, np.nan, 0.5, 0.4, 0.3, 0.2]], np.float32)
    assert mean_fidelity(hard, np.array([2])).kl is None


def test_a_share_between_two_temperatures_lies_between_theirs():
    found = Fidelity(0.3, 0.1, (0.9, 0.5, 0.2, 0.1))
    assert [found.kept_share(t) for t in (0.5, 1, 2, 4, 10, 99)] == [0.9, 0.9, 0.5, 0.2, 0.1, 0.1]
    assert found.kept_share(8**0.5) == pytest.approx(0.35)


@pytest.mark.parametrize(
    ("name", "measures", "words"),
    [
        ("topk5", [np.nan] * 6, None),
        ("topk5", [0.3, 0.01, 1, 1, 1, 1], None),
        ("topk5", [0.3, 0.31, 1, 1, 1, 1], "rounding costs more than all is"),
        ("topk5", [np.nan, np.nan, 1, 1, 1, 1], "a divergence is nan nats"),
        ("topk5", [-0.1, 0, 1, 1, 1, 1], "a divergence is -0.1 nats"),
        ("full", [np.inf, np.inf, 1, 1, 1, 1], "a divergence is inf nats"),
        ("topk5", [0.3, 0.01, 1.5, 1, 1, 1], "a share of kept classes is 1.5"),
        ("topk5", [0.3, 0.01, 1, 1, np.nan, 1], "a share of kept classes is nan"),
        ("hard", [np.nan, np.nan, 0.7, 0.6, 0.5, 0.4], None),
        ("hard", [0.3, 0.1, 0.7, 0.6, 0.5, 0.4], "hard labels have a divergence"),
    ],
)
def test_what_no_labeller_measures_is_refused(name, measures, words):
    fault = fidelity_fault(np.array(measures, np.float32), Scheme.parse(name))
    assert fault is None if words is None else fault == words


@pytest.mark.parametrize("scheme", ["topk1", "topk3", "topk3-coarse"])
def test_a_tail_of_the_smallest_number_is_measured(scheme):
    parsed = Scheme.parse(scheme)
    probs = torch.zeros(1, 12)
    probs[0, : parsed.k] = 1 / parsed.k
    probs[0, -1] = 1e-45  # shared by nine or more
    assert row_fidelity(probs, quantize(probs, parsed), parsed).isfinite().all()
