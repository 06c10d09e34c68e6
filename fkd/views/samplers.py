"""The rules that draw views, by the names that stores have of them.

A store is continued, checked and replayed by its own rule, and a rule never changes. `STORED` names
none: the boxes of such a store come from elsewhere.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fkd.config import ViewPolicy
from fkd.views import draw, draw_philox
from fkd.views.boxes import Boxes, Flips, Sizes

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Sampler:
    """Draws crops, int64 [m], of images, int64 [n], of sizes u16 [n, 2]: u16 [n, m, 4], bool [n, m].

    `rule` never changes. An `exact` one gives the same numbers on every machine, so that a store need not
    hold them.
    """

    rule: Callable[[ViewPolicy, Places, Places, Sizes], tuple[Boxes, Flips]]
    exact: bool

    def draw(
        self, policy: ViewPolicy, images: Places, crops: Places, sizes: Sizes
    ) -> tuple[Boxes, Flips]:
        """Draw views by the rule; what it says of flips counts where the policy has them."""
        boxes, flips = self.rule(policy, images, crops, sizes)
        return boxes, flips if policy.flip else np.zeros_like(flips)


SAMPLER = "random-resized-crop-2"
STORED = "stored"
SAMPLERS = {
    "random-resized-crop-1": Sampler(draw_philox.draw_views, exact=False),
    SAMPLER: Sampler(draw.draw_views, exact=True),
}


def sample_views(
    policy: ViewPolicy,
    image_index: int,
    num_crops: int,
    height: int,
    width: int,
    sampler: str = SAMPLER,
) -> tuple[Boxes, Flips]:
    """Draw the first `num_crops` views of one image: boxes u16 [M, 4] and flips bool [M].

    The distribution is torchvision's RandomResizedCrop followed by a coin for the horizontal flip.
    View j depends on (seed, image index, j) and the image's size alone: never on M, on the batch or
    on the process that draws it.
    """
    images, crops = np.array([image_index]), np.arange(num_crops)
    size = np.array([[height, width]], np.uint16)
    boxes, flips = SAMPLERS[sampler].draw(policy, images, crops, size)
    return boxes[0], flips[0]
