"""Networks that compile in seconds, for what is asked of the order of work and not of its speed."""

import torch
from torch import nn

CLASSES = 10
SMALL_TEACHER, SMALL_STUDENT = (f"{__name__}:{role}" for role in ("teacher", "student"))


def student(num_classes: int) -> nn.Sequential:
    """Return a network of two convolutions with batch norm and dropout, for views of any size."""
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(32, num_classes),
    )


def teacher() -> nn.Module:
    """Return the same network with the same random weights in every process, a little sure of itself."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = student(CLASSES)
    head = model[-1]
    assert isinstance(head, nn.Linear)
    with torch.no_grad():
        head.weight.mul_(20)
    return model
