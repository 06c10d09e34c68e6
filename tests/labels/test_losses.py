"""The sparse loss is the dense loss, and its mix with the class id."""

import pytest
import torch
from torch.nn import functional

from fkd import Objective, Scheme
from fkd.errors import SoftLabelError
from fkd.labels import (
    cross_entropy,
    divergence,
    entropy,
    quantize,
    restore,
    soft_cross_entropy,
)
from fkd.training.objective import distillation_loss


@pytest.mark.parametrize("reading", ["full", "hard", "smooth", "topk5", "topk5-smooth"])
def test_sparse_loss_and_gradient_equal_the_dense_ones(reading):
    torch.manual_seed(0)
    full, wanted = Scheme("full"), Scheme.parse(reading)
    labels = restore(quantize(torch.randn(7, 100).softmax(1), full), full, wanted, 100)
    logits = (torch.randn(7, 100) * 4).requires_grad_()
    soft_cross_entropy(logits, labels).sum().backward()
    sparse = logits.grad.clone()
    logits.grad = None
    dense = functional.cross_entropy(logits, labels.dense(100), reduction="none")
    assert torch.allclose(soft_cross_entropy(logits, labels), dense, rtol=1e-5)
    dense.sum().backward()
    assert torch.allclose(sparse, logits.grad, atol=1e-5)


READINGS = ["full", "hard", "smooth", "topk5", "topk5-smooth"]


def some_labels(reading, crops=7, classes=100, sharpness=1.0):
    full, wanted = Scheme("full"), Scheme.parse(reading)
    probs = (sharpness * torch.randn(crops, classes)).softmax(1)
    return restore(quantize(probs, full), full, wanted, classes)


@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("temperature", [1.0, 4.0])
def test_kl_is_cross_entropy_above_the_entropy_of_the_label(reading, temperature):
    torch.manual_seed(0)
    labels, logits = some_labels(reading, sharpness=3.0), torch.randn(7, 100) * 4
    how = Objective(loss="kl", student_temperature=temperature)
    found = distillation_loss(logits, labels, torch.zeros(7, dtype=torch.long), how, 0.0)
    log_q = (logits / temperature).log_softmax(1)
    expected = functional.kl_div(log_q, labels.dense(100), reduction="none").sum(1)
    assert torch.allclose(found, temperature**2 * expected, rtol=1e-4, atol=1e-4)
    own = labels.dense(100).clamp_min(1e-30).log()
    agreeing = distillation_loss(
        own, labels, torch.zeros(7, dtype=torch.long), Objective("kl"), 0.0
    )
    assert agreeing.abs().max() < 1e-4


def test_the_temperature_keeps_the_size_of_the_gradient():
    """Hinton et al. 2015: gradients of the soft loss scale as 1/T², which T² makes up for."""
    torch.manual_seed(0)
    gradients = []
    for t in (1.0, 20.0):
        logits = (
            0.1 * torch.randn(7, 100, generator=torch.Generator().manual_seed(1))
        ).requires_grad_()
        label = Scheme("full")
        teacher = torch.randn(7, 100, generator=torch.Generator().manual_seed(2)) / t
        labels = restore(quantize(teacher.softmax(1), label), label, label, 100)
        how = Objective(student_temperature=t)
        distillation_loss(
            logits, labels, torch.zeros(7, dtype=torch.long), how, 0.0
        ).sum().backward()
        gradients.append(logits.grad.norm())
    assert 0.5 < gradients[1] / gradients[0] < 2


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_hard_weight_mixes_in_the_class(weight, smoothing):
    torch.manual_seed(0)
    labels, targets = some_labels("topk5", 4, 9), torch.tensor([0, 1, 2, 3])
    logits = torch.randn(4, 9)
    hard = functional.cross_entropy(logits, targets, reduction="none", label_smoothing=smoothing)
    expected = (1 - weight) * soft_cross_entropy(logits, labels) + weight * hard
    how = Objective(label_smoothing=smoothing)
    assert torch.allclose(distillation_loss(logits, labels, targets, how, weight), expected)


def test_the_hard_share_may_move_over_the_run():
    annealed = Objective(hard_weight=0.2, hard_weight_end=1.0)
    assert [annealed.hard_weight_at(done) for done in (0, 0.5, 1)] == pytest.approx([0.2, 0.6, 1.0])
    assert Objective(hard_weight=0.2).hard_weight_at(0.7) == 0.2


@pytest.mark.parametrize("reading", ["topk5", "topk5-smooth", "smooth"])
def test_no_dense_target_is_built(reading):
    """21,841 classes: what the loss keeps for its gradient is one tensor of the logits' size at most."""
    labels, logits = some_labels(reading, 64, 21_841), torch.randn(64, 21_841, requires_grad=True)
    kept = {}

    def remember(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        soft_cross_entropy(logits, labels).sum()
    assert sum(kept.values()) < 1.1 * logits.untyped_storage().nbytes()


@pytest.mark.parametrize("reading", READINGS)
def test_logits_of_other_crops_or_classes_are_refused(reading):
    labels = some_labels(reading, 6, 9)
    kept = labels.value.shape[1]
    for logits, words in (
        (torch.zeros(5, 9), "there are 6 soft labels for 5 rows of outputs"),
        (torch.zeros(6, kept - 1), f"the soft labels have .*, the outputs {kept - 1}"),
        (torch.zeros(6), r"outputs are float32 \[6\]; give floats of shape"),
        (torch.zeros(6, 9, 1), r"outputs are float32 \[6, 9, 1\]"),
        (torch.zeros(6, 9, dtype=torch.long), "outputs are int64"),
        (torch.zeros(6, 9, device="meta"), "outputs are on meta, soft labels on cpu"),
    ):
        for ask in (soft_cross_entropy, divergence):
            with pytest.raises(SoftLabelError, match=words):
                ask(logits, labels)
    soft_cross_entropy(torch.zeros(6, 9, dtype=torch.bfloat16), labels)


def test_measures_refuse_labels_of_other_shapes():
    sparse, dense = some_labels("topk5", 6, 9), some_labels("full", 6, 9)
    for ask in (
        lambda: dense.dense(10),
        lambda: entropy(dense, 10),
        lambda: entropy(sparse, 4),
        lambda: cross_entropy(sparse, some_labels("topk5", 5, 9), 9),
        lambda: soft_cross_entropy(torch.zeros(6, 10), dense),
    ):
        with pytest.raises(SoftLabelError):
            ask()


@pytest.mark.parametrize("reading", ["full", "topk5"])
def test_labels_move_as_tensors_do(reading):
    labels = some_labels(reading)
    assert len(labels) == 7
    moved = labels.to("meta", non_blocking=True)
    assert {moved.value.device.type, moved.tail.device.type} == {"meta"}
    assert (moved.index is None) == (reading == "full")
    assert moved.index is None or moved.index.device.type == "meta"
    kept = "all 100 classes" if reading == "full" else "5 classes kept"
    assert repr(labels) == f"SoftLabels(7 crops, {kept}, cpu)"
