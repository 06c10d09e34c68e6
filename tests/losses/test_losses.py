"""Losses against soft labels are their dense float64 forms, in value and in gradient."""

import numpy as np
import pytest
import torch
from helpers.labels import READINGS, dense_soft_loss, mixed_probs, some_labels
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

import fkd
from fkd.errors import SoftLabelError
from fkd.labels import SoftLabels
from fkd.losses import Mix, kl_divergence, soft_cross_entropy

LOSSES = {"ce": soft_cross_entropy, "kl": kl_divergence}


def some_mix(kind, crops=7):
    share = 0.3 if kind == "whole" else torch.rand(crops)
    return None if kind is None else Mix(torch.randperm(crops), share)


def gradient_of(loss, logits):
    (found,) = torch.autograd.grad(loss.sum(), logits)
    return found


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("reading", READINGS)
@pytest.mark.parametrize("temperature", [1.0, 3.0])
@pytest.mark.parametrize("mixed", [None, "whole", "each"])
def test_a_loss_and_its_gradient_are_those_of_the_dense_form(loss, reading, temperature, mixed):
    torch.manual_seed(0)
    labels, mix = some_labels(reading, sharpness=3.0), some_mix(mixed)
    logits = (torch.randn(7, 100) * 4).requires_grad_()
    probs = labels.dense(100)
    expected = dense_soft_loss(logits, probs, temperature, loss)
    if mix is not None:
        expected = mix.loss(
            expected, dense_soft_loss(logits, probs[mix.partner], temperature, loss)
        )
    found = LOSSES[loss](logits, labels, mix=mix, temperature=temperature)
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-5)
    wanted = gradient_of(expected, logits)
    assert torch.allclose(gradient_of(found, logits), wanted, atol=1e-6)
    if mix is not None:
        to_mixed_label = dense_soft_loss(logits, mixed_probs(probs, mix), temperature, loss)
        assert torch.allclose(gradient_of(to_mixed_label, logits), wanted, atol=1e-6)
        gap = (expected - to_mixed_label).detach()
        assert gap.abs().max() < 1e-5 if loss == "ce" else gap.min() > -1e-9


@pytest.mark.parametrize("reading", ["full", "topk5-smooth"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("loss", LOSSES)
def test_logits_of_any_float_type_are_worked_with_in_32_bits_or_in_64(reading, dtype, loss):
    torch.manual_seed(0)
    labels = some_labels(reading)
    logits = (torch.randn(7, 100) * 4).to(dtype).requires_grad_()
    found = LOSSES[loss](logits, labels, temperature=3.0)
    expected = dense_soft_loss(logits, labels.dense(100), 3.0, loss)
    wide = dtype == torch.float64
    assert found.dtype == (torch.float64 if wide else torch.float32)
    assert torch.allclose(found.double(), expected, rtol=1e-12 if wide else 1e-5, atol=1e-6)
    found_gradient, wanted = gradient_of(found, logits), gradient_of(expected, logits)
    assert found_gradient.dtype == dtype
    assert torch.allclose(found_gradient, wanted, rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_labels_may_be_probabilities_of_any_float_type_and_get_no_gradient(dtype):
    torch.manual_seed(0)
    probs = torch.randn(7, 100).softmax(1).to(dtype).requires_grad_()
    logits = torch.randn(7, 100, requires_grad=True)
    for name, loss in LOSSES.items():
        found = loss(logits, probs)
        assert torch.allclose(found.double(), dense_soft_loss(logits, probs, loss=name), atol=1e-5)
        found.sum().backward()
    assert probs.grad is None


@pytest.mark.parametrize("loss", LOSSES.values())
@pytest.mark.parametrize("reading", ["full", "topk5"])
def test_a_reduction_is_over_crops(loss, reading):
    torch.manual_seed(0)
    labels, logits = some_labels(reading), torch.randn(7, 100)
    each = loss(logits, labels)
    assert each.shape == (7,)
    assert torch.equal(loss(logits, labels, reduction="mean"), each.mean())
    assert torch.equal(loss(logits, labels, reduction="sum"), each.sum())


@pytest.mark.parametrize("reading", READINGS)
def test_a_student_that_agrees_has_no_divergence_and_the_entropy_of_the_label(reading):
    torch.manual_seed(0)
    labels = some_labels(reading)
    own = labels.dense(100).clamp_min(1e-30).log()
    assert kl_divergence(own, labels).abs().max() < 1e-4
    entropy = torch.special.entr(labels.dense(100).double()).sum(1)
    assert torch.allclose(soft_cross_entropy(own, labels).double(), entropy, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from([1, 2, 10, 400]), st.floats(0, 1), st.booleans())
def test_any_kept_classes_and_any_share_give_the_dense_loss(seed, classes, share, each):
    rng = np.random.default_rng(seed)
    crops, kept = int(rng.integers(0, 5)), int(rng.integers(1, classes + 1))
    index = np.array([rng.permutation(classes)[:kept] for _ in range(crops)], np.int64)
    weights = rng.random((crops, kept + 1)) ** 4
    weights[:, -1] *= classes > kept and rng.integers(2)
    weights /= weights.sum(axis=1, keepdims=True)
    labels = SoftLabels(
        torch.from_numpy(index.reshape(crops, kept)),
        torch.from_numpy(weights[:, :-1]).float(),
        torch.from_numpy(weights[:, -1] / max(1, classes - kept)).float(),
    )
    logits = torch.from_numpy(
        rng.normal(size=(crops, classes)) * 10.0 ** rng.integers(-2, 3)
    ).float()
    shares = torch.from_numpy(rng.random(crops)).float() if each else share
    mix = Mix(torch.from_numpy(rng.permutation(crops)), shares)
    logits.requires_grad_()
    found = soft_cross_entropy(logits, labels, mix=mix)
    expected = dense_soft_loss(logits, mixed_probs(labels.dense(classes), mix))
    scale = 1 + logits.detach().abs().amax() if crops else 1
    assert torch.allclose(found.double(), expected, rtol=1e-4, atol=1e-5 * float(scale))
    wanted = gradient_of(expected, logits)
    assert torch.allclose(gradient_of(found, logits), wanted, atol=1e-5)


def test_the_share_of_all_views_may_be_a_tensor():
    """As a random generator of torch gives it."""
    labels, logits, partner = some_labels("topk5"), torch.randn(7, 100), torch.randperm(7)
    found, expected = (
        soft_cross_entropy(logits, labels, mix=Mix(partner, share))
        for share in (torch.tensor(0.75), 0.75)
    )
    assert torch.equal(found, expected)


@pytest.mark.parametrize("reading", READINGS)
def test_large_logits_have_the_loss_of_the_dense_form(reading):
    torch.manual_seed(0)
    labels, logits = some_labels(reading), torch.randn(7, 100) * 1e4
    expected = dense_soft_loss(logits, labels.dense(100))
    assert torch.allclose(soft_cross_entropy(logits, labels).double(), expected, rtol=1e-5)


@pytest.mark.parametrize("sparse", [True, False])
def test_a_class_that_neither_student_nor_label_gives_weight_costs_nothing(sparse):
    """0 · log 0 is 0: a trainer may mask outputs by -inf."""
    index, value = torch.tensor([[0, 3, 1]]), torch.tensor([[0.75, 0.25, 0.0]])
    labels = SoftLabels(index, value, torch.zeros(1))
    logits = torch.tensor([[1.0, -torch.inf, -torch.inf, 2.0]], requires_grad=True)
    given_labels = labels if sparse else labels.dense(4)
    expected = dense_soft_loss(logits[:, [0, 3]], value[:, :2])
    for name, loss in LOSSES.items():
        found = loss(logits, given_labels)
        assert found.item() == pytest.approx(
            expected.item() - (name == "kl") * torch.special.entr(value).sum().item()
        )
        q = logits.detach().softmax(1)
        assert torch.allclose(gradient_of(found, logits), q - labels.dense(4), atol=1e-6)


@pytest.mark.parametrize("reading", ["topk5", "topk5-smooth", "smooth"])
def test_no_dense_target_is_built(reading):
    """21,841 classes: what the loss keeps for its gradient is one tensor of the logits' size at most."""
    labels, logits = some_labels(reading, 64, 21_841), torch.randn(64, 21_841, requires_grad=True)
    kept = {}

    def remember(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
        kl_divergence(logits, labels, mix=some_mix("each", 64)).sum()
    assert sum(kept.values()) < 1.1 * logits.untyped_storage().nbytes()


class Calls(TorchDispatchMode):
    """The names of the operators that are called."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


def test_labels_of_a_mix_share_the_sum_of_all_classes():
    """The exponentials of all classes are summed once, however many labels a view has."""
    labels, logits = some_labels("topk5"), torch.randn(7, 100)

    def sums(mix):
        with Calls() as calls:
            soft_cross_entropy(logits, labels, mix=mix)
        return calls.names.count("logsumexp")

    assert sums(None) == sums(some_mix("whole")) == 1


def test_the_loss_of_sparse_labels_refuses_a_second_derivative():
    logits = torch.randn(7, 100, requires_grad=True)
    loss = soft_cross_entropy(logits, some_labels("topk5")).sum()
    with pytest.raises(SoftLabelError, match=r"give labels\.dense\(num_classes\)"):
        torch.autograd.grad(loss, logits, create_graph=True)
    loss = soft_cross_entropy(logits, some_labels("topk5").dense(100)).sum()
    (gradient,) = torch.autograd.grad(loss, logits, create_graph=True)
    gradient[0, 0].backward()
    assert logits.grad[0].abs().sum() > 0


@pytest.mark.parametrize("reading", ["full", "topk5-smooth"])
def test_autocast_changes_nothing(reading):
    torch.manual_seed(0)
    labels, features = some_labels(reading), torch.randn(7, 16)
    head, mix = torch.nn.Linear(16, 100), some_mix("each")
    with torch.autocast("cpu", torch.bfloat16):
        logits = head(features)
        inside = soft_cross_entropy(logits, labels, mix=mix, temperature=2.0)
        inside_kl = kl_divergence(logits, labels, mix=mix)
    assert logits.dtype == torch.bfloat16
    assert torch.equal(inside, soft_cross_entropy(logits, labels, mix=mix, temperature=2.0))
    assert torch.equal(inside_kl, kl_divergence(logits, labels, mix=mix))
    inside.mean().backward()
    assert head.weight.grad.isfinite().all()


def test_the_name_at_the_top_is_the_same_function():
    assert fkd.soft_cross_entropy is soft_cross_entropy
