"""Every stored scheme, any distribution: what is restored is a distribution of the same order."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd import Scheme
from fkd.labels import quantize, restore

PAIRS = [
    ("full", "full"), ("full", "hard"), ("full", "smooth"), ("full", "topk4"),
    ("full", "topk4-smooth"), ("smooth", "smooth"), ("smooth", "topk1-smooth"), ("smooth", "hard"),
    ("hard", "hard"), ("topk1", "smooth"), ("topk40", "topk40-smooth"), ("topk40", "topk2"),
    ("topk5-coarse", "topk5-smooth"), ("topk5-coarse", "hard"), ("full-8bit", "full"),
    ("full-8bit", "topk4-smooth"),
]  # fmt: skip


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from(PAIRS),
    st.sampled_from([2, 3, 40, 41, 300]),
    st.sampled_from([0.0, 0.1, 3.0, 50.0, 2000.0]),
    st.integers(0, 2**32),
)
def test_every_scheme_restores_a_distribution(pair, num_classes, sharpness, seed):
    stored, wanted = (Scheme.parse(text) for text in pair)
    logits = np.random.default_rng(seed).normal(size=(3, num_classes)) * sharpness
    probs = torch.from_numpy(logits).softmax(1).float()
    labels = restore(quantize(probs, stored), stored, wanted, num_classes)
    dense = labels.dense(num_classes).double()
    assert (dense >= 0).all()
    assert (dense.sum(1) - 1).abs().max() < 1e-6
    # No class is restored above the first; the tail may tie with it, whatever its classes had.
    first = labels.top_class[:, None]
    assert (dense.gather(1, first)[:, 0] >= dense.amax(1) * (1 - 1e-5)).all()
    # The logarithm of 1/300 in float16 is off by up to 0.002, a code of 1/8 nat by 1/16.
    near = 0.93 if stored.kind == "full" and stored.coarse else 0.99
    assert (probs.gather(1, first)[:, 0] >= probs.amax(1) * near).all()


@pytest.mark.parametrize("scheme", ["topk1", "topk5", "topk10"])
def test_a_great_many_classes_still_sum_to_one(scheme):
    """ImageNet-21k: the tail alone is 21,000 classes."""
    torch.manual_seed(0)
    stored = Scheme.parse(scheme)
    smooth = Scheme("topk", stored.k, "smooth")
    for sharpness in (0.0, 1.0, 8.0):
        probs = (torch.randn(4, 21_841) * sharpness).softmax(1)
        labels = restore(quantize(probs, stored), stored, smooth, 21_841)
        total = labels.value.double().sum(1) + labels.tail.double() * (21_841 - stored.k)
        assert (total - 1).abs().max() < 1e-6


def test_quantizing_changes_nothing_but_a_step():
    """A code is 1/8 nat wide, so every kept ratio to the top comes back within 1/16 nat."""
    torch.manual_seed(0)
    probs, scheme = (torch.randn(200, 100) * 3).softmax(1), Scheme("topk", 10)
    labels = restore(quantize(probs, scheme), scheme, scheme, 100)
    exact = probs.gather(1, labels.index).log()
    found = labels.value.log()
    gap = (exact - exact[:, :1]) - (found - found[:, :1])
    assert gap.abs().max() <= 1 / 16 + 1e-4
