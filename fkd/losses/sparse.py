"""Cross-entropy to sparse labels: targets of shape [B, C] are never built.

Legend: B crops, C classes, K kept classes; p the soft label, z the logits, q their softmax.
"""

from typing import Any

import torch
from torch import Tensor

from fkd.errors import SoftLabelError


def sparse_cross_entropy(
    logits: Tensor, norm: Tensor, index: Tensor, value: Tensor, tail: Tensor
) -> Tensor:
    """Return -Σ_c p_c log q_c, [B], for logits [B, C] and the fields of sparse labels of their precision.

    `norm` [B] is log Σ exp z, which several labels may share. A class of no probability costs nothing,
    also where its logit is -inf. A second derivative is refused: with `create_graph`, the backward pass
    raises `SoftLabelError`.
    """
    loss: Tensor = _SparseCrossEntropy.apply(logits, norm, index, value, tail)
    return loss


class _SparseCrossEntropy(torch.autograd.Function):
    """Cross-entropy to K kept probabilities and a tail; its gradient is the one tensor [B, C] it makes.

    With log q_c = z_c - log Σ exp z, K logits are gathered, and the classes that are not kept enter as
    one sum. The gradient is q · Σ p - p.
    """

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, norm: Tensor, index: Tensor, value: Tensor, tail: Tensor
    ) -> Tensor:
        kept = logits.gather(1, index)
        others = logits.shape[1] - index.shape[1]
        ctx.save_for_backward(logits, norm, index, value, tail)
        soft = torch.where(value > 0, value * (norm[:, None] - kept), 0.0).sum(dim=1)
        rest = tail * (others * norm - (logits.sum(dim=1) - kept.sum(dim=1)))
        return soft + torch.where(tail > 0, rest, 0.0)

    @staticmethod
    def backward(ctx: Any, of_loss: Tensor) -> tuple[Tensor, None, None, None, None]:
        if torch.is_grad_enabled() and not torch.compiler.is_compiling():
            raise SoftLabelError(
                "the loss of sparse labels has no second derivative, for which create_graph asks; give "
                "labels.dense(num_classes) as labels"
            )
        logits, norm, index, value, tail = ctx.saved_tensors
        mass = value.sum(dim=1) + tail * (logits.shape[1] - index.shape[1])
        gradient = (logits - norm[:, None]).exp_()
        gradient.mul_(mass[:, None]).sub_(tail[:, None])
        gradient.scatter_add_(1, index, tail[:, None] - value)
        return gradient.mul_(of_loss[:, None]), None, None, None, None
