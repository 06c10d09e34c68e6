"""Quantize and restore: exact where it is promised, close where it is not, refused where it cannot."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd import Scheme
from fkd.errors import ConfigError, SoftLabelError
from fkd.labels import divergence, faulty_rows, quantize, restore

READINGS = ["hard", "smooth", "topk1", "topk3", "topk3-smooth", "topk10", "topk10-smooth"]


@st.composite
def distributions(draw):
    """Draw probabilities f32 [3, C]: peaked, flat, one-hot, with zeros and denormals."""
    num_classes = draw(st.sampled_from([2, 3, 10, 11, 200, 1000, 21_841]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    sharpness = draw(st.sampled_from([0.0, 0.01, 1.0, 10.0, 80.0, 3000.0]))
    logits = torch.from_numpy(rng.normal(size=(3, num_classes)) * sharpness)
    probs = logits.softmax(1).float()
    if draw(st.booleans()):
        probs[0] = 0
        probs[0, rng.integers(num_classes)] = 1
    if draw(st.booleans()):
        probs[1, 1:] = 1e-41
        probs[1, 0] = 1
    return probs


@settings(max_examples=60, deadline=None)
@given(distributions(), st.sampled_from(READINGS))
def test_any_distribution_survives(probs, reading):
    stored, wanted = Scheme("topk", 10), Scheme.parse(reading)
    num_classes = probs.shape[1]
    labels = restore(quantize(probs, stored), stored, wanted, num_classes)
    dense = labels.dense(num_classes).double()
    assert (dense >= 0).all()
    assert (dense.sum(1) - 1).abs().max() < 1e-6 * max(1, num_classes / 1000)
    assert (labels.value.diff(dim=1) <= 0).all()
    assert torch.equal(probs.gather(1, labels.index), probs.topk(labels.index.shape[1]).values)


@settings(max_examples=40, deadline=None)
@given(distributions())
def test_grouped_divergence_is_small(probs):
    """KL over the kept classes and the residual is bounded by the code's step: (1/16)²/2 nats."""
    scheme, num_classes = Scheme("topk", 5), probs.shape[1]
    tail = Scheme("topk", 5, "smooth")
    labels = restore(quantize(probs, scheme), scheme, tail, num_classes)
    p = probs.double().gather(1, labels.index)
    others = probs.double().scatter(1, labels.index, 0).sum(1, keepdim=True)
    p = torch.cat([p, others], 1)
    kept = labels.index.shape[1]
    q = torch.cat([labels.value, (labels.tail * (num_classes - kept))[:, None]], 1).double()
    kl = torch.special.xlogy(p, p / q.clamp(min=1e-300)).sum(1) - p.sum(1) + q.sum(1)
    assert kl.max() < 2.1e-3


@pytest.mark.parametrize(
    "row",
    [
        [0.5, float("nan"), 0.5],
        [1.5, -0.5, 0],
        [0.5, 0.4, 0],
        [float("inf"), 0, 0],
        [float("-inf"), 1, 0],
    ],
)
def test_what_is_no_distribution_is_told_by_row(row):
    probs = torch.tensor([[1.0, 0, 0], [0.2, 0.3, 0.5], row, [0.3334, 0.3333, 0.3333]])
    assert faulty_rows(probs).tolist() == [False, False, True, False]


def some_probs(num_classes=50, rows=40):
    torch.manual_seed(0)
    return (torch.randn(rows, num_classes) * 3).softmax(1)


@pytest.mark.parametrize("source", ["topk10", "full"])
@pytest.mark.parametrize("reading", READINGS)
def test_readings_follow_the_paper(source, reading):
    """FKD §3.3, computed densely from all that the store keeps."""
    stored, wanted = Scheme.parse(source), Scheme.parse(reading)
    kept = quantize(some_probs(), stored)
    whole = Scheme("full") if source == "full" else Scheme("topk", 10, "smooth")
    p = restore(kept, stored, whole, 50).dense(50).double()
    k = wanted.kept(50)
    # Rounding makes ties, so the order is the stored one.
    ids = kept["index"][:, :k] if "index" in kept else p.topk(k).indices
    top = p.gather(1, ids)
    if wanted.kind == "hard":
        expected = torch.zeros_like(p).scatter(1, ids, 1.0)
    elif wanted.kind == "topk" and wanted.tail == "renorm":
        expected = torch.zeros_like(p).scatter(1, ids, top / top.sum(1, keepdim=True))
    else:
        rest = ((1 - top.sum(1, keepdim=True)) / (50 - k)).expand(-1, 50)
        expected = rest.scatter(1, ids, top)
    found = restore(kept, stored, wanted, 50).dense(50).double()
    assert torch.allclose(found, expected, atol=2e-6)


def test_full_keeps_nearly_everything():
    probs, full = some_probs(), Scheme("full")
    restored = restore(quantize(probs, full), full, full, 50)
    assert divergence(probs, restored).max() < 1e-4
    fives = [Scheme("topk", k, "smooth") for k in (1, 5, 10)]
    losses = [divergence(probs, restore(quantize(probs, s), s, s, 50)).mean() for s in fives]
    assert losses[0] > losses[1] > losses[2]


@pytest.mark.parametrize(
    ("stored", "wanted", "possible"),
    [
        ("topk5", "topk6", "K = 1 to 5"),
        ("topk5", "full", "K = 1 to 5"),
        ("hard", "smooth", "hard"),
        ("smooth", "topk2", "topk1"),
    ],
)
def test_impossible_readings_say_what_is_possible(stored, wanted, possible):
    stored = Scheme.parse(stored)
    with pytest.raises(SoftLabelError, match=possible):
        restore(quantize(some_probs(), stored), stored, Scheme.parse(wanted), 50)


@pytest.mark.parametrize("wanted", ["topk7", "topk7-smooth"])
def test_a_k_of_more_classes_than_there_are_reads_all_that_are_kept(wanted):
    stored, probs = Scheme.parse("topk4-coarse"), some_probs()[:, :4]
    kept = quantize(probs / probs.sum(1, keepdim=True), stored)
    found = restore(kept, stored, Scheme.parse(wanted), 4)
    every = restore(kept, stored, stored.reading, 4).dense(4)
    assert torch.allclose(found.dense(4), every, atol=1e-6)
    with pytest.raises(SoftLabelError, match="K = 1 to 4"):
        restore(kept, stored, Scheme.parse(wanted), 5)


def test_temperature_is_exact_for_full_and_spreads_the_residual_for_topk():
    probs, full, top = some_probs(), Scheme("full"), Scheme("topk", 10)
    hot = (probs.double().log() / 3).softmax(1)
    found = restore(quantize(probs, full), full, full, 50, temperature=3).dense(50)
    assert (found - hot).abs().max() < 1e-3
    smooth = Scheme("topk", 10, "smooth")
    flat = restore(quantize(probs, top), top, smooth, 50).dense(50).double()
    expected = (flat.log() / 3).softmax(1)
    found = restore(quantize(probs, top), top, smooth, 50, temperature=3).dense(50)
    assert (found - expected).abs().max() < 1e-5


@pytest.mark.parametrize(
    "text", ["topk0", "topk", "topk5-renorm", "ful", "", "topk-5", "topk99999"]
)
def test_unknown_schemes_are_refused(text):
    with pytest.raises(ConfigError):
        Scheme.parse(text)


@pytest.mark.parametrize("text", ["full", "hard", "smooth", "topk5", "topk12-smooth"])
def test_schemes_are_spelled_as_they_are_read(text):
    assert str(Scheme.parse(text)) == text
