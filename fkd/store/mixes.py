"""How the views of a store are mixed: drawn by its policy, or read where another program drew them."""

from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from fkd.errors import BlockError, StoreError
from fkd.store.segment import Segment, by_images
from fkd.store.store import LabelStore
from fkd.views import (
    OTHER_VIEWS,
    Mixes,
    Partners,
    draw_mixes,
    draw_shares,
    hash_mixes,
    outside,
    partners,
)

Places = NDArray[np.int64]

_SIDE, _WHOLE = 65_535, 256  # the most that a hole reaches to, and that a share is
_ARRAYS = ("partner", "partner_box", "partner_flip", "share", "hole")


class StoredMixes:
    """What each view of a store is mixed with; make it with `StoredMixes.of_store`.

    It keeps the sizes, numbers and content hashes of all images.
    """

    def __init__(self, store: LabelStore) -> None:
        """Use `of_store`."""
        self._spec, self._where = store.spec, str(store.path)
        self._sizes, self._numbers = store.sizes(), store.image_numbers()
        self._content = store.content_hashes()
        self._done = store.finished_crops() > 0
        self._groups = by_images(store.segments)
        self._compared: set[tuple[int, int, int]] = set()

    @classmethod
    def of_store(cls, store: LabelStore) -> "StoredMixes | None":
        """Return those of a store, None where its views are not mixed."""
        return cls(store) if store.spec.mixes else None

    @property
    def in_pairs(self) -> bool:
        """Whether a partner's partner is the image itself, so that both are best visited together."""
        return self._spec.views.mix.mixes

    def partners(self, images: Places, crops: Places) -> Places:
        """Return what images, int64 [n], are paired with in crops, int64 [m]: int64 [n, m].

        It is so although a view may not be mixed. A store of which mixes are stored has no pairs.
        """
        found = np.empty((len(images), len(crops)), np.int64)
        seed, groups = self._spec.views.seed, crops // self._spec.views.mix.period
        for run in (segments[0].images for segments in self._groups):
            rows = (images >= run.start) & (images < run.stop)
            own = images[rows, None] - run.start
            found[rows] = partners(seed, groups, len(run), own) + run.start
        return found

    def known(self, images: Places, crops: Places) -> NDArray[np.bool_]:
        """Say of which images, int64 [n], all partners in crops, int64 [m], are labelled: bool [n]."""
        if not self.in_pairs:
            return np.ones(len(images), np.bool_)
        found: NDArray[np.bool_] = np.all(self._done[self.partners(images, crops)], axis=1)
        return found

    def shares(self, images: Places, crops: Places) -> tuple[Places, NDArray[np.float32]]:
        """Return partners int64 [n, m] of crops of labelled images, and the views' own shares f32 [n, m].

        With a partner that is not labelled yet, a view counts as mixed. Drawn mixes are not compared with
        their hash.
        """
        if not self.in_pairs:
            mixes = self.of(images, crops)
            return mixes.image, mixes.own_share
        views, other = self._spec.views, self.partners(images, crops)
        share, hole = draw_shares(views.mix, views.seed, self._numbers[images], crops)
        mixes = replace(Mixes.none(other), share=share, hole=hole)
        absent = self._done[other] & (self._sizes[other] == 0).any(axis=-1)
        alone = absent | (other == images[:, None])
        return other, np.where(alone, np.float32(1), mixes.own_share)

    def of(self, images: Places, crops: Places) -> Mixes:
        """Return how crops, int64 [m], of images, int64 [n], are mixed: [n, m].

        Raises `BlockError` for what is not as it was labelled, and `StoreError` where a partner is not
        labelled yet. A chunk of which some are not is not compared with its hash.
        """
        self._require_all(images, crops)
        return self._drawn(images, crops) if self.in_pairs else self._read(images, crops)

    def require(self, images: range, crops: range) -> None:
        """Raise what `of` raises of a run of crops of a run of images."""
        self._require_all(np.array(images), np.array(crops))

    def _require_all(self, images: Places, crops: Places) -> None:
        for number, segments in enumerate(self._groups):
            run = segments[0].images
            own = images[(images >= run.start) & (images < run.stop)]
            for part, segment in enumerate(segments):
                some = crops[(crops >= segment.crops.start) & (crops < segment.crops.stop)]
                self._require(segment, (number, part), own, some)

    def _drawn(self, images: Places, crops: Places) -> Mixes:
        other, spec = self.partners(images, crops), self._spec
        missing = other[~self._done[other]]
        if len(missing):
            raise StoreError(
                f"{self._where}: image {int(missing[0])}, with which views are mixed, is not labelled "
                "yet; run `fkd label` to go on"
            )
        sizes = self._sizes[other]
        sizes[(self._sizes[images] == 0).any(axis=1)] = 0  # without labels, there is nothing to mix
        found = Partners(other, self._numbers[other], sizes)
        return draw_mixes(spec.views, spec.sampler, images, self._numbers[images], crops, found)

    def _read(self, images: Places, crops: Places) -> Mixes:
        """Read what is stored of a run of each block, and take some rows and columns of it."""
        segment = self._groups[0][0]  # nothing is added to a store of which mixes are stored
        found = Mixes.none(np.repeat(images[:, None], len(crops), axis=1))
        if not found.share.size:
            return found
        columns = slice(int(crops.min()), int(crops.max()) + 1)
        block_of = images // segment.spec.block_images
        for number in np.unique(block_of).tolist():
            places = np.flatnonzero(block_of == number)
            some = images[places]
            rows = slice(int(some.min()), int(some.max()) + 1)
            image, *others = (segment.reader.arrays.read(name, rows, columns) for name in _ARRAYS)
            whole = Mixes(image.astype(np.int64), *others)
            found[places] = whole[(some - rows.start)[:, None], crops - columns.start]
        return found

    def _require(
        self, segment: Segment, at: tuple[int, int], images: Places, crops: Places
    ) -> None:
        """Raise `BlockError` unless these views are mixed as they were labelled; look at a chunk once."""
        spec, first = segment.spec, segment.images.start
        blocks = np.unique((images - first) // spec.block_images).tolist()
        chunks = np.unique((crops - segment.crops.start) // spec.chunk_crops).tolist()
        for number, chunk in product(blocks, chunks):
            place = (*at, number * spec.num_chunks + chunk)
            if place in self._compared:
                continue
            segment.reader.require_sealed([number])
            start = chunk * spec.chunk_crops
            stop = min(start + spec.chunk_crops, spec.num_crops)
            rows = np.array(spec.block_range(number)) + first
            columns = np.arange(start, stop) + segment.crops.start
            if not self.known(rows, columns).all():
                continue
            if self.in_pairs:
                self._require_drawn(segment, number, chunk, self._drawn(rows, columns))
            else:
                self._require_plausible(segment, number, self._read(rows, columns))
            self._compared.add(place)

    def _require_drawn(self, segment: Segment, number: int, chunk: int, mixes: Mixes) -> None:
        """Raise `BlockError` unless a chunk's mixes, drawn now, are those that were labelled."""
        assert self._content is not None
        row = segment.reader.arrays.read("mix_hash", slice(number, number + 1)).reshape(-1)
        drawn = hash_mixes(mixes, self._content[mixes.image], segment.spec.chunk_crops)
        if int(drawn[0]) != int(row[chunk]):
            what = f"{OTHER_VIEWS}, or images that views are mixed with are others now"
            raise BlockError(segment.reader.where, number, what)

    def _require_plausible(self, segment: Segment, number: int, mixes: Mixes) -> None:
        """Refuse what no program writes that mixes views."""
        rows = segment.spec.block_range(number)
        wild = mixes.image >= len(self._sizes)
        partner = np.where(wild, 0, mixes.image)
        shape = partner.size
        beyond = outside(mixes.box.reshape(shape, 1, 4), self._sizes[partner].reshape(shape, 2))
        far = mixes.hole[..., :2].astype(np.int64) + mixes.hole[..., 2:] > _SIDE
        absent = (self._sizes[partner] == 0).any(axis=-1)
        wild |= mixes.share > _WHOLE
        wild |= far.any(axis=-1)
        wild |= mixes.mixed & (beyond.reshape(partner.shape) | absent)
        labelled = self._sizes[rows.start : rows.stop].max(axis=1)[:, None] > 0
        wild |= labelled & ~mixes.mixed & (mixes.image != np.array(rows)[:, None])
        if wild.any():
            image = rows.start + int(wild.any(axis=1).argmax())
            raise segment.reader.implausible(image, "a view is mixed with what is no view")
