"""Batches that are being filled: crops decoded together go to the batches of their own steps."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Size
from fkd.labels import Quantized
from fkd.loader.mixing import MixedRows, OtherImages, StepViews, decoded_once
from fkd.loader.picks import Bools
from fkd.loader.sizes import SizePlan
from fkd.losses import MixedTargets, Targets
from fkd.machine import upload
from fkd.store import Slab
from fkd.views import Boxes, Flips, Mixes, RenderPool


@dataclass(frozen=True)
class StudentBatch:
    """Views for the student, uint8 [B, 3, H, W], their quantized labels and class ids.

    The m views of an image stand in a row; with a selection, those of them that are picked. Where they
    are dealt to several batches (`fkd.loader.stagger`), the views of a share stand together.
    `targets` int64 [B] are the images' classes, -1 where they have none. `masks`, uint8 [B, H, W], are
    numbers of classes at each pixel of a view, `fkd.config.IGNORED` where there is none; None where they
    are not asked for, as `texts` are, int64 [B, L], which `fkd.truth.Texts.rows` describes.
    `image_index` and `crop_index`, int64 [B], say which stored crop of which image a view is. `decoded`
    int64 [n] names the images that were decoded for the step.

    Where a store's views are mixed, `partner_targets` int64 [B] are the classes of the images that views
    are mixed with, and `own_share` f32 [B] is the share of a view that is of its own image.
    """

    views: Tensor
    kept: Quantized
    targets: Tensor
    image_index: NDArray[np.int64]
    crop_index: NDArray[np.int64]
    decoded: NDArray[np.int64]
    partner_targets: Tensor | None = None
    own_share: Tensor | None = None
    masks: Tensor | None = None
    texts: Tensor | None = None

    def to(self, device: torch.device) -> "StudentBatch":
        """Return the batch on a device. It is copied whole: a GPU would wait for a part of it."""
        kept = {name: upload(values, device) for name, values in self.kept.items()}
        views, targets = upload(self.views, device), upload(self.targets, device)
        masks = None if self.masks is None else upload(self.masks, device)
        texts = None if self.texts is None else upload(self.texts, device)
        moved = replace(self, views=views, kept=kept, targets=targets, masks=masks, texts=texts)
        if self.partner_targets is None or self.own_share is None:
            return moved
        theirs, share = upload(self.partner_targets, device), upload(self.own_share, device)
        return replace(moved, partner_targets=theirs, own_share=share)

    def truth(self, rows: slice = slice(None)) -> Targets:
        """Return the classes of some of the views: of mixed ones, two in shares; or masks, or texts."""
        if self.masks is not None:
            return self.masks[rows]
        if self.texts is not None:
            return self.texts[rows]
        partner, share = self.partner_targets, self.own_share
        if partner is None or share is None:
            return self.targets[rows]
        return MixedTargets(self.targets[rows], partner[rows], share[rows])


@dataclass(frozen=True)
class Crops:
    """The crops of one decoded batch, B of n images, in the order of its rows.

    `visited` int64 [n] are the images and `sides` int64 [n, 2] their height and width; `image` int64 [B]
    says which of them a row is a crop of, and `crop` int64 [B] which one. `box`, `flip`, `kept` and
    `targets` are of the rows, too, and so is `mixed`, None where views are not mixed: then some of the
    images are partners that are not visited.
    """

    visited: NDArray[np.int64]
    sides: NDArray[np.int64]
    image: NDArray[np.int64]
    crop: NDArray[np.int64]
    box: Boxes
    flip: Flips
    kept: Quantized
    targets: Tensor
    mixed: MixedRows | None = None

    @classmethod
    def of(
        cls,
        visited: NDArray[np.int64],
        slots: NDArray[np.int64],
        slab: Slab,
        picked: Bools,
        shares: int,
        mixed: tuple[Mixes, OtherImages] | None = None,
    ) -> "Crops":
        """Take the picked crops, bool [n, m], from the images' rows of a slab, [n, m, …].

        `slots` int64 [n, m] are the numbers of these crops among the stored ones. Crops are dealt to
        the shares in turn. Each share stands in one piece of memory. `mixed` says with what they are
        mixed, [n, m].
        """
        image, crop = picked.nonzero()
        order = np.arange(len(image)).reshape(-1, shares).T.ravel()
        image, crop = image[order], crop[order]
        crops = cls(
            visited,
            slab.size.astype(np.int64),
            image,
            slots[image, crop],
            slab.box[image, crop],
            slab.flip[image, crop],
            {name: torch.from_numpy(values[image, crop]) for name, values in slab.kept.items()},
            torch.from_numpy(slab.target[image]),
        )
        if mixed is None:
            return crops
        mixes, others = mixed
        return crops._mixed_by(mixes[image, crop], others)

    def _mixed_by(self, mixes: Mixes, others: OtherImages) -> "Crops":
        """Return these crops as views that are mixed, [B], with images that are decoded, too."""
        partner = np.where(mixes.mixed, mixes.image, self.visited[self.image])
        visited, place, theirs = decoded_once(self.visited, partner)
        return replace(
            self,
            visited=visited,
            sides=others.sizes[visited].astype(np.int64),
            image=place[self.image],
            mixed=MixedRows.of(mixes, theirs, others.classes),
        )

    @property
    def views(self) -> StepViews:
        """The views that are rendered of them."""
        return StepViews(self.image, self.crop, self.box, self.flip)

    @property
    def num_pixels(self) -> NDArray[np.int64]:
        """Pixels of each image, int64 [n]."""
        pixels: NDArray[np.int64] = self.sides.prod(axis=1)
        return pixels


@dataclass(frozen=True)
class Decoded:
    """A batch as it was decoded, share by share.

    A share's views are in the batch that it belongs to, or in `apart`: uint8 [B / m, 3, H, W] by share.
    """

    crops: Crops
    apart: Mapping[int, Tensor]


class Room:
    """The batches of steps to come, uint8 [B, 3, H, W], which threads fill.

    A share of what is decoded is rendered straight to its place in the batch of its own step. So are
    masks, uint8 [B, H, W], where they are asked for.
    """

    def __init__(
        self,
        pool: RenderPool,
        sizes: SizePlan,
        num_views: int,
        shares: int,
        apart: int,
        steps: range,
    ) -> None:
        """Make room for batches of `num_views` views, for `steps` alone."""
        self._pool, self._sizes, self._num_views = pool, sizes, num_views
        self._shares, self._apart, self._steps = shares, apart, steps
        self._open: dict[int, Tensor] = {}
        self._open_masks: dict[int, Tensor] = {}
        self._next = steps.start

    def rows(self, share: int) -> slice:
        """Return the rows of a share, both in what is decoded and in its batch."""
        each = self._num_views // self._shares
        return slice(share * each, (share + 1) * each)

    def sizes(self, step: int) -> dict[int, Size]:
        """Return the size of each share of what is decoded for a step.

        Shares are left out that belong to steps before the first or after the last.
        """
        at = {share: step + share * self._apart for share in range(self._shares)}
        return {share: self._sizes.at(s) for share, s in at.items() if s in self._steps}

    def place(self, step: int, share: int) -> Tensor:
        """Return where the views of a share belong that are decoded for `step`."""
        at = step + share * self._apart
        if at not in self._open:
            self._open[at] = self._pool.empty_views(self._num_views, self._sizes.at(at))
        return self._open[at][self.rows(share)]

    def masks(self, step: int, share: int) -> Tensor:
        """Return where the masks of a share belong that are decoded for `step`."""
        at = step + share * self._apart
        if at not in self._open_masks:
            self._open_masks[at] = self._pool.empty_masks(self._num_views, self._sizes.at(at))
        return self._open_masks[at][self.rows(share)]

    def close(self, decoded: Sequence[Decoded]) -> StudentBatch:
        """Return the batch of the next step: share 0 of the first decoded, share 1 of the second, …."""
        views, masks = self._open.pop(self._next, None), self._open_masks.pop(self._next, None)
        self._next += 1
        first = decoded[0].crops
        kept, targets, image, crop = (
            first.kept,
            first.targets,
            first.visited[first.image],
            first.crop,
        )
        if len(decoded) > 1:
            dealt_out = [(one.crops, self.rows(share)) for share, one in enumerate(decoded)]
            kept = {n: torch.cat([crops.kept[n][rows] for crops, rows in dealt_out]) for n in kept}
            targets = torch.cat([crops.targets[rows] for crops, rows in dealt_out])
            image = np.concatenate([c.visited[c.image[rows]] for c, rows in dealt_out])
            crop = np.concatenate([crops.crop[rows] for crops, rows in dealt_out])
        if any(one.apart for one in decoded):
            views = self._gathered(decoded, views)
        assert views is not None
        mixed = self._truth_of_mixes([one.crops.mixed for one in decoded])
        batch = StudentBatch(views, kept, targets, image, crop, first.visited, *mixed)
        return batch if masks is None else replace(batch, masks=masks)

    def _truth_of_mixes(self, shares: Sequence[MixedRows | None]) -> tuple[Tensor, ...]:
        """Return the partners' classes and the own shares of a batch's views; nothing of plain ones."""
        mixed = [one for one in shares if one is not None]
        if len(mixed) < 2:
            return tuple(part for one in mixed for part in (one.targets, one.own_share))
        rows = [self.rows(share) for share in range(len(mixed))]
        targets = torch.cat([one.targets[few] for one, few in zip(mixed, rows, strict=True)])
        own = torch.cat([one.own_share[few] for one, few in zip(mixed, rows, strict=True)])
        return targets, own

    def _gathered(self, decoded: Sequence[Decoded], filled: Tensor | None) -> Tensor:
        """Put shares together on the device, some of which threads may have rendered."""
        parts = [one.apart.get(share) for share, one in enumerate(decoded)]
        if len(parts) == 1 and parts[0] is not None:
            return parts[0]
        views = []
        for share, part in enumerate(parts):
            if part is None:
                assert filled is not None
                part = filled[self.rows(share)]
            views.append(upload(part, self._pool.device))
        return torch.cat(views)
