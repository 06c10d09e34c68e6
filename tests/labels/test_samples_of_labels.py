"""Samples of labels: unbiased, none of what cannot be, equal on whatever way they are drawn and read."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd import FkdError, Scheme, SoftLabels, soft_cross_entropy
from fkd.errors import ConfigError, SoftLabelError
from fkd.labels import KeptLabels, misplaced, quantize, restore
from fkd.losses import kl_divergence
from fkd.views import label_draws

GRID = 512


def drawn(probs, count, draws):
    """Return the classes that are drawn of probabilities f32 [B, C], int64 [B, n]."""
    return quantize(probs, Scheme("samples", count), torch.as_tensor(draws).double())["index"]


def read(index, count, classes):
    scheme = Scheme("samples", count)
    return restore({"index": index}, scheme, scheme, classes)


@st.composite
def label(draw):
    """Draw one label, f32 [C]: flat, sharp, of one class, with zeros in the middle and at the end."""
    classes = draw(st.sampled_from([1, 2, 3, 10, 257, 1000]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    logits = rng.normal(size=classes) * draw(st.sampled_from([0.0, 1.0, 10.0, 80.0]))
    probs = torch.from_numpy(logits).softmax(0)
    if draw(st.booleans()):
        probs[torch.from_numpy(rng.random(classes) < 0.3)] = 0
        probs[draw(st.integers(0, classes - 1))] += 1e-3
        probs /= probs.sum()
    return probs.float()


@settings(max_examples=60, deadline=None)
@given(label(), st.sampled_from([1, 2, 7, 256]))
def test_samples_are_unbiased(probs, count):
    """Over an even grid of draws each class has its share, but for the two ends of its interval."""
    draws = (torch.arange(GRID) + 0.5) / GRID
    classes = len(probs)
    index = drawn(probs.expand(GRID, -1), count, draws)
    labels = read(index, count, classes)
    mean = labels.dense(classes).double().mean(dim=0)
    expected = probs.double() / probs.double().sum()
    assert (mean - expected).abs().max() <= 1 / (GRID * count) + 1e-6
    assert (probs[index] > 0).all()
    # Systematic: no class is drawn more or less often than its share says, rounded up or down.
    times = (labels.dense(classes).double() * count).round()
    assert (times >= (expected * count - 1e-4).floor()).all()
    assert (times <= (expected * count + 1e-4).ceil()).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 256), st.integers(1, 300), st.integers(0, 2**32))
def test_labels_of_samples_count_them(count, classes, seed):
    rng = np.random.default_rng(seed)
    index = rng.integers(0, rng.integers(1, classes + 1), (5, count))
    labels = read(torch.from_numpy(index), count, classes)
    assert labels.index.shape == (5, min(count, classes))
    assert all(len(set(row)) == len(row) for row in labels.index.tolist())
    assert 0 <= int(labels.index.min()) <= int(labels.index.max()) < classes
    assert (labels.value.diff(dim=1) <= 0).all()
    assert (labels.tail == 0).all()
    counts = np.stack([np.bincount(row, minlength=classes) for row in index])
    assert np.abs(labels.dense(classes).numpy() - counts / count).max() < 1e-6
    shuffled = torch.from_numpy(rng.permuted(index, axis=1))
    again = read(shuffled, count, classes)
    assert torch.equal(again.index, labels.index)
    assert torch.equal(again.value, labels.value)


@pytest.mark.parametrize("last", [0.0, 1 - 2**-53])
@pytest.mark.parametrize("count", [1, 3, 256])
def test_draws_at_the_ends_are_of_classes_with_probability(last, count):
    """A sum below 1, or zeros behind it, leaves no place for the last draw to fall to."""
    rows = [[0, 0.2, 0.7999, 0, 0], [0, 0, 1, 0, 0], [1 / 3, 1 / 3, 1 / 3, 0, 0], [0, 0, 0, 0, 1]]
    rows += [[0.2002] * 5, [1e-30, 1, 0, 0, 1e-41], [0, 0.5, 0, 0.5, 0]]
    probs = torch.tensor(rows)
    index = drawn(probs, count, [last] * len(rows))
    assert (probs.gather(1, index) > 0).all()
    end = index[:, -1] if last else index[:, 0]
    assert end.tolist() == ([2, 2, 2, 4, 4, 1, 3] if last else [1, 2, 0, 4, 0, 1, 1])


def test_faulty_rows_are_drawn_from_without_an_error():
    probs = torch.tensor([[float("nan"), 1.0], [float("inf"), 0], [0, 0], [-2.0, 1]])
    index = drawn(probs, 4, [0.5] * 4)
    assert index.shape == (4, 4)
    assert int(index.max()) < 2


def test_draws_are_a_function_of_seed_image_and_crop():
    """Vectors from Python's own integers, as the format's page has them."""

    def mix(x):
        x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
        return x ^ (x >> 31)

    gamma, images, crops = 0x9E3779B97F4A7C15, np.array([0, 7, 2**31, 12_345]), np.array([0, 199])
    for seed in (0, 1, 2**63 - 1):
        found = label_draws(seed, images[:, None], crops)
        for row, image in enumerate(images.tolist()):
            key = mix((mix((seed + gamma) % 2**64) + (image + 1) * gamma) % 2**64)
            words = [mix((key + (16 * crop + 11) * gamma) % 2**64) for crop in crops.tolist()]
            assert found[row].tolist() == [(word >> 11) * 2.0**-53 for word in words]
    many = label_draws(0, np.arange(400)[:, None], np.arange(50))
    assert abs(many.mean() - 0.5) < 0.01
    assert abs(np.corrcoef(many[:, 0], many[:, 1])[0, 1]) < 0.2


@pytest.mark.parametrize("count", [1, 8, 150])
def test_losses_of_samples_are_those_of_their_dense_form(count):
    torch.manual_seed(0)
    probs = (torch.randn(9, 100) * 3).softmax(1)
    labels = read(drawn(probs, count, torch.rand(9)), count, 100)
    other = read(drawn(probs.flip(0), count, torch.rand(9)), count, 100)
    mixed = labels.mix(other, 0.3)
    expected = 0.3 * labels.dense(100) + 0.7 * other.dense(100)
    assert torch.allclose(mixed.dense(100), expected, atol=1e-6)
    logits = torch.randn(9, 100)
    for some in (labels, mixed):
        dense = SoftLabels(None, some.dense(100), torch.zeros(9))
        for loss in (soft_cross_entropy, kl_divergence):
            assert torch.allclose(loss(logits, some), loss(logits, dense), atol=1e-5)


def test_how_far_draws_are_from_a_label_is_in_probability():
    probs, draws = torch.tensor([[0.5, 0.25, 0.25]] * 3), torch.tensor([0.48, 0.48, 0.98]).double()
    # One draw: its place is 0.48 or 0.98, and the classes end at 0.5, 0.75 and 1.
    found = misplaced(probs, torch.tensor([[0], [1], [0]]), draws)
    assert found.tolist() == pytest.approx([0, 0.02, 0.48], abs=1e-6)
    for count in (1, 5, 64):
        torch.manual_seed(count)
        many, numbers = (torch.randn(20, 300) * 2).softmax(1), torch.rand(20).double()
        index = drawn(many, count, numbers)
        assert not misplaced(many, index.flip(1), numbers).any()
        nudged = (many.log() + 0.01 * torch.randn(20, 300)).softmax(1)
        assert misplaced(nudged, index, numbers).max() < 0.02


@pytest.mark.parametrize(
    ("stored", "wanted", "words"),
    [
        ("samples8", "topk5", "holds 8 classes drawn from each label; give --compress samples8"),
        ("samples1", "hard", "holds a class drawn from each label; give --compress samples1"),
        ("samples8", "samples4", "give --compress samples8"),
        ("samples8", "full", "give --compress samples8"),
        ("topk5", "samples5", "reads as hard, smooth, topkK"),
        ("full", "samples5", "reads as full, hard, smooth"),
        ("hard", "samples1", "reads as hard"),
    ],
)
def test_samples_are_read_as_samples_alone(stored, wanted, words):
    with pytest.raises(SoftLabelError, match=words):
        restore({}, Scheme.parse(stored), Scheme.parse(wanted), 50)


def test_samples_have_the_temperature_that_they_were_drawn_at():
    scheme = Scheme("samples", 8)
    with pytest.raises(FkdError, match=r"fkd label --temperature 3 --compress samples8"):
        restore({"index": torch.zeros(1, 8)}, scheme, scheme, 5, temperature=3)
    with pytest.raises(SoftLabelError, match="samples8 needs draws"):
        quantize(torch.ones(1, 1), scheme)


@pytest.mark.parametrize("text", ["samples0", "samples257", "samples", "samples8-smooth"])
def test_other_samples_are_refused(text):
    with pytest.raises(ConfigError, match="samples"):
        Scheme.parse(text)


def test_what_is_kept_of_samples():
    scheme = Scheme.parse("samples8")
    assert (str(scheme), scheme.whole, scheme.readings()) == ("samples8", scheme, "samples8")
    labels = KeptLabels(scheme, 3)  # more draws than classes
    assert labels.empty(2, 5)["index"].shape == (2, 5, 8)
    assert not labels.keeps_values
    assert not labels.keeps_first
    kept = {"index": np.full((2, 5, 8), 2, np.uint32)}
    assert labels.fault(kept) is None
    assert not labels.disordered(kept).any()
    assert labels.fault({"index": kept["index"] + 1}) == ("ids", "class id 3 is not below 3")
