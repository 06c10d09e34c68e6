"""The deviation of a teacher's logits: kept in a byte a crop, and what standardized losses need of it."""

import numpy as np
import pytest
import torch
from helpers.stores import NUM_CLASSES, make_store

from fkd import FkdError, LabelStore, Scheme, SoftLabels, Term
from fkd.format.attributes import from_attributes, to_attributes
from fkd.labels import quantize, quantize_sparse, restore
from fkd.loader.labels import harden
from fkd.losses import term_losses

CLASSES, CROPS = 200, 60
STD = Scheme.parse("topk5-std")


def teacher_logits():
    """Logits f64 [B, C] from flat to so sharp that float32 loses classes."""
    rng = np.random.default_rng(0)
    scale = np.logspace(-1.5, 1.7, CROPS)[:, None]
    return torch.from_numpy(scale * rng.normal(size=(CROPS, CLASSES)) + 3)


def probs():
    return teacher_logits().softmax(1).float()


def read(kept, reading="topk5-smooth", temperature=1.0):
    return restore(kept, STD, Scheme.parse(reading), CLASSES, temperature)


@pytest.mark.parametrize("name", ["topk5-std", "topk5-coarse-std"])
def test_a_scheme_with_a_deviation_reads_as_the_one_without(name):
    stored = Scheme.parse(name)
    assert str(stored) == name
    assert stored.deviation
    assert stored.whole == Scheme.parse("topk5-smooth")
    with pytest.raises(FkdError, match=f"{name} is a way to store labels; read them as topk5$"):
        restore(quantize(probs(), stored), stored, stored, CLASSES)


@pytest.mark.parametrize("name", ["full-std", "hard-std", "topk5-smooth-std", "topk5-std-coarse"])
def test_no_other_scheme_has_one(name):
    with pytest.raises(FkdError, match="is unknown; choose full, hard"):
        Scheme.parse(name)
    with pytest.raises(FkdError, match="keeps no deviation of logits; only topk does"):
        Scheme("full", deviation=True)


def test_it_is_that_of_all_logits_to_two_percent():
    logits = teacher_logits()
    seen = logits.softmax(1).min(1).values > 2.0**-126  # others are cut off there
    assert seen.sum() > 40
    found = read(quantize(probs(), STD)).deviation.double()
    ratio = (found / logits.std(1)).log().abs()
    assert ratio[seen].max() <= np.log(2) / 32 + 1e-3
    cut = probs().double().clamp(min=2.0**-126).log().std(1)
    assert (found / cut).log().abs().max() <= np.log(2) / 32 + 1e-3


def test_labels_without_any_spread_have_the_least():
    flat = quantize(torch.full((2, 7), 1 / 7), Scheme.parse("topk2-std"))
    assert flat["deviation"].tolist() == [[0], [0]]
    assert quantize(torch.ones(1, 1), Scheme.parse("topk1-std"))["deviation"].tolist() == [[0]]


def test_the_label_is_the_same_with_it_and_without():
    with_it, without = quantize(probs(), STD), quantize(probs(), STD.without_deviation)
    assert all(torch.equal(with_it[name], values) for name, values in without.items())
    assert set(with_it) == {*without, "deviation"}
    labels = read(with_it)
    plain = restore(without, STD.without_deviation, Scheme.parse("topk5-smooth"), CLASSES)
    assert torch.equal(labels.dense(), plain.dense())
    assert plain.deviation is None


def test_it_moves_along_with_the_label_and_its_temperature():
    kept = quantize(probs(), STD)
    labels = read(kept)
    assert read(kept, "hard").deviation is None
    assert torch.equal(read(kept, temperature=4.0).deviation, labels.deviation / 4)
    assert torch.equal(labels.power(4.0)[0].deviation, labels.deviation / 4)
    rows = torch.tensor([7, 2])
    assert torch.equal(labels.take(rows).deviation, labels.deviation[rows])
    joined = SoftLabels.concatenate([labels[:2], labels[2:]])
    assert torch.equal(joined.to("cpu").deviation, labels.deviation)
    assert labels.mix(labels[torch.arange(CROPS).roll(1)], 0.5).deviation is None
    bare = SoftLabels(labels.index, labels.value, labels.tail, CLASSES)
    with pytest.raises(FkdError, match="all with a deviation or none"):
        SoftLabels.concatenate([labels, bare])


def test_each_label_may_have_a_temperature_of_its_own():
    labels = read(quantize(probs(), STD))
    temperature = torch.linspace(0.5, 5, CROPS)
    found, total = labels.power(temperature)
    for row in (0, 20, CROPS - 1):
        alone, alone_total = labels[row].power(float(temperature[row]))
        assert found[row].value == pytest.approx(alone.value, rel=1e-5)
        assert found[row].tail == pytest.approx(alone.tail, rel=1e-4, abs=1e-30)
        assert total[row] == pytest.approx(float(alone_total), rel=1e-5)


def gradient(labels, logits, term):
    logits = logits.clone().requires_grad_()
    term_losses(logits, [Term.parse(term).at(0)], lambda _: labels).total.sum().backward()
    return logits.grad


def sure_logits(seed):
    """Logits f32 [40, 1000] of a network that is rather sure: some classes stand out."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(40, 1000, generator=generator)
    classes = torch.randperm(1000, generator=generator)[:8]
    logits[:, classes] += torch.linspace(9, 3, 8)
    return logits


@pytest.mark.parametrize("of_teacher", [0, 0.9])
def test_standardized_losses_of_few_classes_are_near_those_of_all(of_teacher):
    """By the gradient's direction and length; without the deviation both are others."""
    teacher = sure_logits(0)
    student = of_teacher * teacher + (1 - of_teacher**2) ** 0.5 * sure_logits(1)
    term = '{by="kl", standardize=true}'
    kept = quantize(teacher.softmax(1), STD)
    labels = restore(kept, STD, Scheme.parse("topk5-smooth"), 1000)
    bare = SoftLabels(labels.index, labels.value, labels.tail, 1000)
    true, found, worse = (
        gradient(each, student, term) for each in (teacher.softmax(1), labels, bare)
    )
    near, far = (torch.cosine_similarity(g.flatten(), true.flatten(), 0) for g in (found, worse))
    assert near > 0.97
    assert far < near - 0.03
    assert found.norm() / true.norm() == pytest.approx(1, abs=0.1)
    assert worse.norm() / true.norm() > 1.3


def test_standardized_labels_of_all_classes_need_no_deviation():
    """K = C: with the deviation or without, the label is the same but for its rounding."""
    p = (2 * torch.randn(9, 12, generator=torch.Generator().manual_seed(0))).softmax(1)
    scheme = Scheme.parse("topk12-std")
    labels = restore(quantize(p, scheme), scheme, scheme.whole, 12)
    logits = torch.randn(9, 12, generator=torch.Generator().manual_seed(1))
    term = '{by="kl", standardize=true}'
    assert gradient(labels, logits, term) == pytest.approx(gradient(p, logits, term), abs=0.02)


def test_flat_and_sharp_labels_leave_numbers():
    kept = quantize(probs(), STD)
    kept["deviation"][::3] = 0
    kept["deviation"][1::3] = 255
    logits = torch.randn(CROPS, CLASSES, generator=torch.Generator().manual_seed(0))
    found = gradient(read(kept), logits, '{by="kl", standardize=true, temperature=0.1}')
    assert torch.isfinite(found).all()


def test_a_softened_hard_label_has_the_deviation_of_its_own():
    labels = read(quantize(probs(), STD))
    rows, targets = torch.arange(CROPS) % 2 == 0, torch.arange(CROPS)
    found = harden(labels, rows, targets, CLASSES, 0.1)
    own = found.dense().double().log().std(1)
    assert found.deviation[rows] == pytest.approx(own[rows], rel=1e-4)
    assert torch.equal(found.deviation[~rows], labels.deviation[~rows])


def test_a_store_keeps_it_and_says_so(tmp_path):
    scheme = Scheme.parse("topk3-coarse-std")
    store, blocks = make_store(tmp_path / "s.zarr", scheme=scheme)
    kept = LabelStore.open(store.path).read_crops(range(6)).kept
    before = np.concatenate([block.kept["deviation"] for block in blocks])
    assert np.array_equal(kept["deviation"], before)
    assert len(np.unique(before)) > 20
    said = to_attributes(store.spec)
    assert said["fkd"]["scheme"] == {"kind": "topk", "k": 3, "step": 0.75, "deviation": True}
    assert from_attributes(said, "here").scheme == scheme
    assert store.spec.num_classes == NUM_CLASSES


def test_labels_of_others_tell_none():
    labels = SoftLabels(torch.tensor([[3, 1]]), torch.tensor([[0.6, 0.2]]), torch.tensor([0.1]), 4)
    with pytest.raises(FkdError, match="do not tell the deviation of logits that topk2-std keeps"):
        quantize_sparse(labels, Scheme.parse("topk2-std"))
