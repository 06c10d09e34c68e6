"""Networks that compile in seconds, for what is asked of the order of work and not of its speed."""

from collections.abc import Callable

import torch
from torch import nn

from fkd.models import crnn, svtr

from .drawn import CHARACTERS
from .drawn import CLASSES as MAP_CLASSES

CLASSES = 10
SMALL_TEACHER, MAP_TEACHER, READER, MIXING_READER = (
    f"{__name__}:{role}" for role in ("teacher", "map_teacher", "reader", "mixing_reader")
)
SMALL_STUDENT, MAP_STUDENT, LINE_STUDENT = (
    f"{__name__}:{role}" for role in ("student", "map_student", "line_student")
)


def student(num_classes: int) -> nn.Sequential:
    """Return a network of two convolutions with batch norm and dropout, for views of any size."""
    return nn.Sequential(
        *_convolutions(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(32, num_classes),
    )


def map_student(num_classes: int) -> nn.Sequential:
    """Return one that says a map, [B, C, h, w], of a quarter of the sides of its views."""
    return nn.Sequential(*_convolutions(), nn.Dropout(0.1), nn.Conv2d(32, num_classes, 1))


def line_student(num_classes: int) -> nn.Module:
    """Return one that says a line, [B, T, C], of a frame for each eight pixels of its views' width."""
    return _Columns(num_classes)


class _Columns(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.columns = nn.Sequential(nn.Conv2d(3, 32, 8, stride=8), nn.ReLU())
        self.head = nn.Linear(32, num_classes)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return logits of views, f32 [B, 3, H, W]."""
        logits: torch.Tensor = self.head(self.columns(pixels).mean(dim=2).transpose(1, 2))
        return logits


def _convolutions() -> list[nn.Module]:
    return [
        nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, stride=2, padding=1),
        nn.ReLU(),
    ]


def teacher() -> nn.Module:
    """Return the network of a student with the same random weights in every process."""
    return _sure(lambda: student(CLASSES))


def map_teacher() -> nn.Module:
    """Return such a teacher of maps."""
    return _sure(lambda: map_student(len(MAP_CLASSES)))


def reader() -> nn.Module:
    """Return such a teacher of lines, [B, T, C], with LSTM."""
    return _sure(lambda: crnn(len(CHARACTERS)))


def mixing_reader() -> nn.Module:
    """Return such a teacher of lines with attention."""
    return _sure(lambda: svtr(len(CHARACTERS)))


def _sure(build: Callable[[], nn.Module]) -> nn.Module:
    """Build a network with random weights whose answers differ from view to view.

    A layer's random weights and an activation behind it leave some tenth of a variance of 1.
    """
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
    *_, head = (part for part in model.modules() if isinstance(part, (nn.Linear, nn.Conv2d)))
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d) and part.running_var is not None:
            part.running_var.fill_(0.1)
    with torch.no_grad():
        head.weight.mul_(20)
    return model
