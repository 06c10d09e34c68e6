"""The sparse loss is the dense loss, and its mix with the class id."""

import pytest
import torch
from torch.nn import functional

from fkd import Scheme
from fkd.losses import distillation_loss, soft_cross_entropy
from fkd.softlabels import quantize, restore


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


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_hard_weight_mixes_in_the_class(weight):
    torch.manual_seed(0)
    top, targets = Scheme("topk", 3), torch.tensor([0, 1, 2, 3])
    labels = restore(quantize(torch.randn(4, 9).softmax(1), top), top, top, 9)
    logits = torch.randn(4, 9)
    hard = functional.cross_entropy(logits, targets)
    expected = (1 - weight) * soft_cross_entropy(logits, labels).mean() + weight * hard
    assert torch.allclose(distillation_loss(logits, labels, targets, weight), expected)
