"""Views that are mixed with a partner's, as the teacher saw them: which pixels each needs, and when.

What is decoded for a step is what it visits and the partners of its crops, each once. A partner's view
that is a view of the step itself, as it is where pairs are visited side by side, is not rendered again.
The others are rendered beside the batch, and nobody trains on them.

Legend: B views of a decoded batch, E views beside it, n decoded images.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Size, as_size, sides_of
from fkd.views import Boxes, Flips, Mixes, Sizes, blend_views

Numbers = NDArray[np.int64]
Pair = tuple[int, int]  # two decoded images, which may be one


@dataclass(frozen=True)
class OtherImages:
    """What is known of all N images of a store: `sizes` u16 [N, 2], `classes` int64 [N] or None."""

    sizes: Sizes
    classes: Numbers | None


@dataclass(frozen=True)
class MixedRows:
    """How the B views of a decoded batch are mixed.

    `mixes` [B] says with what, and `partner` int64 [B] with which of the n decoded images. `targets`
    int64 [B] are the partners' classes, -1 where they have none, and `own_share` f32 [B] is what a view
    has of its own image.
    """

    mixes: Mixes
    partner: Numbers
    targets: Tensor
    own_share: Tensor

    @classmethod
    def of(cls, mixes: Mixes, partner: Numbers, classes: Numbers | None) -> "MixedRows":
        """Take the partners' classes out of those of all images of the store, int64 [N]."""
        absent = np.full(len(partner), -1, np.int64)
        targets = absent if classes is None else classes[mixes.image].astype(np.int64)
        return cls(mixes, partner, torch.from_numpy(targets), torch.from_numpy(mixes.own_share))


def decoded_once(visited: Numbers, partners: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Return which images of a store are decoded, int64 [n], and the places of both among them.

    The images of `visited` come first, in their order.
    """
    both = np.concatenate([visited, partners])
    numbers, first, inverse = np.unique(both, return_index=True, return_inverse=True)
    order = first.argsort()
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    places = place[inverse]
    return numbers[order], places[: len(visited)], places[len(visited) :]


@dataclass(frozen=True)
class StepViews:
    """Views of decoded images: `image` int64 [n] among these, `crop` int64 [n], `box` and `flip`."""

    image: Numbers
    crop: Numbers
    box: Boxes
    flip: Flips

    def followed_by(self, others: "StepViews") -> "StepViews":
        """Return these and others."""
        return StepViews(
            np.concatenate([self.image, others.image]),
            np.concatenate([self.crop, others.crop]),
            np.concatenate([self.box, others.box]),
            np.concatenate([self.flip, others.flip]),
        )


@dataclass(frozen=True)
class MixPlan:
    """Which views are mixed, and which view each is mixed with; E views beside the batch follow it.

    `mixes` [B] say how. The `rows` int64 [k], rising, are mixed with the views `others` int64 [k].
    `views_beside` are E, and `sides` int64 [E, 2] their height and width.
    """

    mixes: Mixes
    rows: Numbers
    others: Numbers
    views_beside: StepViews
    sides: Numbers

    @classmethod
    def of(cls, views: StepViews, mixed: MixedRows, sides: Numbers) -> "MixPlan":
        """Plan a batch of B views.

        `sides` int64 [B, 2] are the views' height and width, 0 for those that are not rendered.
        """
        image, crop, box, flip = views.image, views.crop, views.box, views.flip
        mixes, rendered = mixed.mixes, sides[:, 0] > 0
        rows = np.flatnonzero(mixes.mixed & rendered)
        own = np.stack([image, crop, *sides.T], axis=1)
        sought = np.stack([mixed.partner, crop, *sides.T], axis=1)[rows]
        others = _found(own, np.flatnonzero(rendered), sought)
        there = (others >= 0) & (box[others] == mixes.box[rows]).all(axis=1)
        there &= flip[others] == mixes.flip[rows]
        alone = rows[~there]
        others[~there] = len(image) + np.arange(len(alone))
        theirs = mixed.partner[alone], crop[alone], mixes.box[alone], mixes.flip[alone]
        return cls(mixes, rows, others, StepViews(*theirs), sides[alone])

    @property
    def sizes_beside(self) -> list[Size]:
        """The sizes of the views beside the batch."""
        return [as_size(*sides) for sides in np.unique(self.sides, axis=0).tolist()]

    def beside(self, size: Size) -> Numbers:
        """Return the numbers of the views of a size beside the batch."""
        alike = (self.sides == sides_of(size)).all(axis=1)
        return np.flatnonzero(alike) + len(self.mixes.share)

    def places(self, rows: Numbers, numbers: Numbers) -> Numbers:
        """Return where among the views `numbers` those are that `rows` are mixed with, or these."""
        place = np.zeros(len(self.mixes.share) + len(self.sides), np.int64)
        place[numbers] = np.arange(len(numbers))
        whom = np.arange(len(self.mixes.share))
        whom[self.rows] = self.others
        return place[whom[rows]]

    def copied(self) -> NDArray[np.bool_]:
        """Return which rows are mixed with a copy, bool [k]: the view may have been mixed by then.

        Of two views that are mixed with each other, one is mixed before the other, and needs no copy.
        """
        whom = np.full(len(self.mixes.share) + len(self.sides), -1, np.int64)
        whom[self.rows] = self.others
        mutual = whom[self.others] == self.rows
        copied: NDArray[np.bool_] = (whom[self.others] >= 0) & ~(mutual & (self.rows < self.others))
        return copied


def _found(own: Numbers, among: Numbers, sought: Numbers) -> Numbers:
    """Return which of the rows `among` of `own` [B, q] is the first like each row of `sought`, or -1."""
    _, inverse = np.unique(np.concatenate([own[among], sought]), axis=0, return_inverse=True)
    kinds = inverse.reshape(-1)
    first = np.full(len(kinds), -1, np.int64)
    first[kinds[: len(among)][::-1]] = among[::-1]
    return first[kinds[len(among) :]]


class Blending:
    """Mixes views in place as soon as threads have rendered both of their images.

    Whoever renders the second one mixes, so nobody waits. Views that are mixed at once are copied just
    for that, into memory that is warm; a view that another one waits for, once it is rendered.
    """

    def __init__(self, plan: MixPlan, image: Numbers, views: Mapping[int, Tensor]) -> None:
        """Take the image of each view, int64 [B + E], and the views by their number."""
        self._mixes, self._views, self._lock = plan.mixes, views, Lock()
        self._with = dict(zip(plan.rows.tolist(), plan.others.tolist(), strict=True))
        pairs = np.sort(np.stack([image[plan.rows], image[plan.others]], axis=1)).tolist()
        pair_of = {row: (one, other) for row, (one, other) in zip(self._with, pairs, strict=True)}
        self._rows: dict[Pair, list[int]] = {}
        self._pairs: dict[int, list[Pair]] = {}
        for row, pair in pair_of.items():
            self._rows.setdefault(pair, []).append(row)
        for pair in self._rows:
            for number in set(pair):
                self._pairs.setdefault(number, []).append(pair)
        self._of_copies = set(plan.rows[plan.copied()].tolist())
        self._waiting: dict[int, set[int]] = {}
        for row in self._of_copies:
            view = self._with[row]
            if pair_of[view] != pair_of[row]:
                self._waiting.setdefault(int(image[view]), set()).add(view)
        self._copies: dict[int, Tensor] = {}
        self._rendered: set[int] = set()

    def note_rendered(self, image: int) -> None:
        """Mix what this image was the last one to be rendered for."""
        for view in self._waiting.get(image, ()):
            self._copies[view] = self._views[view].clone()
        with self._lock:
            self._rendered.add(image)
            ready = [pair for pair in self._pairs.get(image, ()) if self._rendered.issuperset(pair)]
        for pair in ready:
            self._mix(self._rows[pair])

    def _mix(self, rows: list[int]) -> None:
        others = [self._other(row) for row in rows]
        blend_views([self._views[row] for row in rows], others, self._mixes[rows])

    def _other(self, row: int) -> Tensor:
        """Return the pixels that a row is mixed with, as they are before anything is mixed."""
        view = self._with[row]
        if row not in self._of_copies:
            return self._views[view]
        return self._copies[view] if view in self._copies else self._views[view].clone()
