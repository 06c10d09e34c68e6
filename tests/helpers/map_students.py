"""Students of maps that take no time, by the names that a user gives to functions."""

from torch import nn

STUDENT, COARSE = "helpers.map_students:student", "helpers.map_students:coarse"
PLAIN = "helpers.map_students:plain"


def student(classes):
    """Make a student of views of any size: a map of 8 × 8 at 32 px, with batch norm."""
    return _stack(classes, 2)


def coarse(classes):
    """Make one of a map of 4 × 4 at 32 px."""
    return _stack(classes, 4)


def plain(classes):
    """Make one without batch norm, which answers a view alike beside any others."""
    return nn.Sequential(nn.Conv2d(3, 8, 5, 4, 2), nn.ReLU(), nn.Conv2d(8, classes, 1))


def _stack(classes, stride):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 12, 3, stride, 1, bias=False),
        nn.BatchNorm2d(12),
        nn.ReLU(),
        nn.Conv2d(12, classes, 1),
    )
