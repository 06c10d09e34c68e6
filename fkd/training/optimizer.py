"""The optimizer of a run, and its learning rate at a step."""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from fkd.config import Optim


def learning_rate(
    step: int,
    *,
    peak: float,
    total_steps: int,
    warmup_steps: int = 0,
    floor: float = 0.0,
    constant: bool = False,
) -> float:
    """Return the rate of step 0 … total_steps - 1.

    A linear warm-up, then half a cosine from `peak` down to `floor`, or `peak` for ever.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if constant:
        return peak
    done = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return floor + (peak - floor) * 0.5 * (1 + math.cos(math.pi * done))


def build_optimizer(settings: Optim, *students: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer of all students; the learning rate is set at every step.

    On CUDA it is a fused one: a few kernels a step, and with fp16 no wait for what the scaler found.
    """
    groups = [group for student in students for group in _groups(settings, student)]
    parameters = [p for group in groups for p in group["params"]]
    fused = _fused(parameters)
    if settings.optimizer == "sgd":
        sgd = torch.optim.SGD(groups, lr=0.0, momentum=settings.momentum, fused=fused)
        if fused and settings.momentum:
            # The fused kernel leaves them as memory was where fp16's first gradients are not finite.
            for parameter in parameters:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    kind = torch.optim.AdamW if settings.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=0.0, betas=(settings.momentum, 0.999), fused=fused)


def _groups(settings: Optim, student: nn.Module) -> list[dict[str, Any]]:
    """Return a student's weights by how they decay."""
    parameters = [p for p in student.parameters() if p.requires_grad]
    flat = [p for p in parameters if p.dim() < 2 and not settings.decay_norms]
    decayed = [p for p in parameters if p.dim() >= 2 or settings.decay_norms]
    groups = [{"params": decayed, "weight_decay": settings.weight_decay}]
    return groups + ([{"params": flat, "weight_decay": 0.0}] if flat else [])


def _fused(parameters: Sequence[nn.Parameter]) -> bool | None:
    """Return torch's setting for a fused optimizer where all weights are on CUDA, else its default."""
    return True if all(p.device.type == "cuda" for p in parameters) else None
