"""The student's loss, from the sparse form of the soft labels: targets of shape [B, C] are never built.

Legend: B crops, C classes, K kept classes; p the soft label, q the student's softmax, T its temperature.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from fkd.errors import SoftLabelError
from fkd.labels.soft import SoftLabels


def soft_cross_entropy(logits: Tensor, labels: SoftLabels) -> Tensor:
    """Return -Σ_c p_c log q_c per crop, f32 [B], for student logits [B, C] of any float type.

    Raises `SoftLabelError` for logits that cannot belong to the labels.
    """
    require_fit(logits, labels)
    logits = logits.float()
    if labels.index is None:
        return -(labels.value * logits.log_softmax(dim=1)).sum(dim=1)
    loss: Tensor = _SparseCrossEntropy.apply(logits, labels.index, labels.value, labels.tail)
    return loss


def require_fit(outputs: Tensor, labels: SoftLabels) -> None:
    """Raise `SoftLabelError` unless `outputs` are floats [B, C] on the device of labels of B crops."""
    if outputs.dim() != 2 or not outputs.is_floating_point():
        kind = str(outputs.dtype).removeprefix("torch.")
        raise SoftLabelError(
            f"outputs are {kind} {list(outputs.shape)}; give floats of shape [crops, classes]"
        )
    labels.require_shape(*outputs.shape)
    if outputs.device != labels.value.device:
        raise SoftLabelError(
            f"outputs are on {outputs.device}, soft labels on {labels.value.device}; move the labels by "
            "labels.to(device)"
        )


class _SparseCrossEntropy(torch.autograd.Function):
    """Cross-entropy to K kept probabilities and a tail; its gradient is the one tensor [B, C] it makes.

    With z the logits, log q_c = z_c - log Σ exp z: K logits are gathered, and the classes that are not
    kept enter as one sum. The gradient is q · Σ p - p.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, index: Tensor, value: Tensor, tail: Tensor) -> Tensor:
        norm = logits.logsumexp(dim=1)
        kept = logits.gather(1, index)
        others = logits.shape[1] - index.shape[1]
        ctx.save_for_backward(logits, norm, index, value, tail)
        soft = (value * (norm[:, None] - kept)).sum(dim=1)
        return soft + tail * (others * norm - (logits.sum(dim=1) - kept.sum(dim=1)))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_loss: Tensor) -> tuple[Tensor, None, None, None]:
        logits, norm, index, value, tail = ctx.saved_tensors
        mass = value.sum(dim=1) + tail * (logits.shape[1] - index.shape[1])
        gradient = (logits - norm[:, None]).exp_()
        gradient.mul_(mass[:, None]).sub_(tail[:, None])
        gradient.scatter_add_(1, index, tail[:, None] - value)
        return gradient.mul_(of_loss[:, None]), None, None, None
