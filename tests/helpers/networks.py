"""Networks that take no time: tests of runs and stores name them as a user names a function of theirs."""

import torch
from torch import nn

from fkd import TeacherChoice

TEACHER = "helpers.networks:teacher"
TEACHER_CHOICE = TeacherChoice(TEACHER, size=32)
MAP_TEACHER_CHOICE = TeacherChoice("helpers.networks:map_teacher", size=32)
STUDENT = "helpers.networks:student"


def teacher():
    """Make a teacher of views of 32 px: three classes, of which each view has another favourite."""
    generator = torch.Generator().manual_seed(0)
    head = nn.Linear(3 * 8 * 8, 3)
    head.weight.data = torch.randn(3, 3 * 8 * 8, generator=generator) / 4
    head.bias.data.zero_()
    return nn.Sequential(nn.AvgPool2d(4), nn.Flatten(), head).eval()


def map_teacher():
    """Make a teacher of five classes at each of 8 x 4 positions of a view of 32 px, sure of some."""
    generator = torch.Generator().manual_seed(0)
    colours = nn.Conv2d(3, 5, 1)
    colours.weight.data = 4 * torch.randn(5, 3, 1, 1, generator=generator)
    colours.bias.data.zero_()
    return nn.Sequential(nn.AvgPool2d((4, 8)), colours).eval()


def student(classes):
    """Make a student of views of any size; it has batch norm, so statistics of batches too."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 5, 4, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(16, classes),
    )
