"""Epochs, passes and steps, and which crops a pass uses.

Users speak of epochs, the trainer of steps; the conversion is here alone. An epoch is N views seen.
One pass visits every image once with m crops, so it counts m epochs. Passes follow one another
without a gap: a batch may take its last images from one pass and its first from the next, so no view
is dropped and the step budget is exact for any N, m and batch size.

Where views are mixed with a partner's, partners are visited side by side: then a step decodes hardly an
image that it does not visit.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Visits = tuple[int, NDArray[np.int64]]  # a pass, and positions [n] in the list of labelled images

# The position of each image's partner in a crop, int64 [N]; its own where that one is not of the run.
Pairs = Callable[[int], NDArray[np.int64]]


@dataclass(frozen=True)
class Schedule:
    """The arithmetic of one training run; all counts are exact integers.

    `num_images` is N (images that have labels), `num_crops` M, `crops_per_image` m, `batch_size` B in
    views, a multiple of m. `stagger` is the number of steps between the batches that get an image's m
    crops; with 0 all of them are in one batch. `pairs` says who is visited side by side in a pass that
    begins with a crop; None for no one.
    """

    num_images: int
    num_crops: int
    crops_per_image: int
    batch_size: int
    epochs: float
    seed: int
    stagger: int = 0
    pairs: Pairs | None = field(default=None, repr=False, compare=False)

    @property
    def images_per_batch(self) -> int:
        """Images decoded for one step, B / m."""
        return self.batch_size // self.crops_per_image

    @property
    def total_steps(self) -> int:
        """The step budget: epochs · N / B, rounded to the nearest step, at least one."""
        return max(1, round(self.epochs * self.num_images / self.batch_size))

    @property
    def apart(self) -> int:
        """`stagger`, or less where the run is too short for it; 0 where m is 1."""
        if self.crops_per_image == 1:
            return 0
        return min(self.stagger, (self.total_steps - 1) // (self.crops_per_image - 1))

    @property
    def reach(self) -> int:
        """Steps from an image's first crop to its last."""
        return (self.crops_per_image - 1) * self.apart

    def epoch_at(self, step: int) -> float:
        """Return the epochs seen after `step` steps: views / N."""
        return step * self.batch_size / self.num_images

    def step_at(self, epoch: float) -> int:
        """Return the first step after which `epoch` epochs have been seen."""
        return math.ceil(epoch * self.num_images / self.batch_size - 1e-9)

    def crop_slots(self, pass_index: int) -> NDArray[np.int64]:
        """Return the crop indices, int64 [m], that a pass takes of every image.

        Consecutive passes take consecutive crops, so each is used once before any is used twice. Those
        that the first `reach` steps take from the last steps are the exception.
        """
        start = pass_index * self.crops_per_image
        return (start + np.arange(self.crops_per_image)) % self.num_crops

    def visit_order(self, pass_index: int) -> NDArray[np.int64]:
        """Return the order, int64 [N], in which a pass visits the images: f(seed, pass, pairs) alone.

        It is a random order of images or, with pairs, of these, by the number that it has for the first.
        """
        key = np.random.SeedSequence((self.seed, pass_index))
        order = np.random.Generator(np.random.Philox(key)).permutation(self.num_images)
        if self.pairs is None:
            return order
        partner = self.pairs(int(self.crop_slots(pass_index)[0]))
        first = np.minimum(partner, np.arange(self.num_images))
        return order[first].argsort(kind="stable")

    def batches(
        self, first_step: int = 0, rank: int = 0, num_ranks: int = 1
    ) -> Iterator[Sequence[Visits]]:
        """Yield, for every step from `first_step` on, the images that it takes, pass by pass.

        What a step takes does not depend on where one starts. Of several ranks each takes every
        `num_ranks`-th image of a step, so that together they see what one rank would see alone. Where
        there are pairs each takes a run of images, so that most pairs are one rank's.
        """
        share = self.images_per_batch // num_ranks
        pass_index, seen = divmod(first_step * self.images_per_batch, self.num_images)
        order = self.visit_order(pass_index)[seen:]
        for _ in range(first_step, self.total_steps):
            parts: list[Visits] = []
            taken = 0
            while taken < self.images_per_batch:
                if not len(order):
                    pass_index += 1
                    order = self.visit_order(pass_index)
                run = order[: self.images_per_batch - taken]
                if self.pairs is None:
                    mine = run[(rank - taken) % num_ranks :: num_ranks]
                else:
                    mine = run[max(0, rank * share - taken) : max(0, (rank + 1) * share - taken)]
                if len(mine):
                    parts.append((pass_index, mine))
                order, taken = order[len(run) :], taken + len(run)
            yield parts
