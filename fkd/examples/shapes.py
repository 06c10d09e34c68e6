"""The outlines of the objects in example images."""

import math
from collections.abc import Callable

Outline = list[tuple[float, float]]  # x, y; the object fills the unit circle
Shape = tuple[Outline, Outline]  # body, hole (empty where there is none)

TAU = 2 * math.pi


# The classes. Each shape takes one number in 0..1 that makes it slimmer or fuller; neighbours look
# alike on purpose (ring and crescent, star and flower and gear), so that a soft label says more.


def _polar(radius: Callable[[float], float], steps: int = 80) -> Outline:
    """The closed curve of a radius that depends on the angle."""
    angles = [TAU * i / steps for i in range(steps)]
    return [(radius(a) * math.cos(a), radius(a) * math.sin(a)) for a in angles]


def _mirror(half: Outline) -> Outline:
    """A right half from top to bottom, closed by its mirror image."""
    return half + [(-x, y) for x, y in reversed(half)]


def _disc(radius: float, shift: float = 0.0) -> Outline:
    return [(x + shift, y) for x, y in _polar(lambda _: radius)]


def _spiral(full: float) -> Outline:
    """Two and a quarter turns of a band that widens outwards."""
    turns = [2.25 * TAU * i / 90 for i in range(91)]
    edges = [
        [(r * math.cos(a), r * math.sin(a)) for a in turns for r in (a * share / turns[-1],)]
        for share in (1.0, 0.72 - 0.12 * full)
    ]
    return edges[0] + edges[1][::-1]


def _cross(full: float) -> Outline:
    arm = 0.22 + 0.14 * full
    return _mirror([(arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm), (arm, 1)])


def _arrow(full: float) -> Outline:
    shaft = 0.14 + 0.14 * full
    return _mirror([(0, -1), (0.75, -0.1), (shaft, -0.1), (shaft, 1)])


def _heart(full: float) -> Outline:
    def point(a: float) -> tuple[float, float]:
        lobes = 13 * math.cos(a) - 5 * math.cos(2 * a) - 2 * math.cos(3 * a) - math.cos(4 * a)
        return (0.85 + 0.15 * full) * math.sin(a) ** 3, -(lobes + 2.5) / 15

    return [point(TAU * i / 60) for i in range(60)]


def _bolt(full: float) -> Outline:
    upper = [(0.5 - 0.2 * full, -1.0), (-0.5, 0.15), (0.05, 0.15 + 0.1 * full)]
    return upper + [(-x, -y) for x, y in upper]


SHAPES: dict[str, Callable[[float], Shape]] = {
    "arrow": lambda full: (_arrow(full), []),
    "bolt": lambda full: (_bolt(full), []),
    "crescent": lambda full: (_disc(1), _disc(0.85 - 0.1 * full, 0.42)),
    "cross": lambda full: (_cross(full), []),
    "flower": lambda full: (
        _polar(lambda a: 0.65 + 0.35 * math.cos(5 * a)),
        _disc(0.1 + 0.15 * full),
    ),
    "gear": lambda full: (
        _polar(lambda a: 0.78 if math.sin(9 * a) > 0 else 1),
        _disc(0.3 + 0.2 * full),
    ),
    "heart": lambda full: (_heart(full), []),
    "ring": lambda full: (_disc(1), _disc(0.75 - 0.25 * full)),
    "spiral": lambda full: (_spiral(full), []),
    "star": lambda full: (
        _polar(lambda a: 1 if round(a / TAU * 10) % 2 else 0.35 + 0.15 * full, 10),
        [],
    ),
}
CLASSES = tuple(SHAPES)
