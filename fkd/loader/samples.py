"""A few of a store's crops, spread over its images: to estimate what all of them would say.

What is taken is a function of the store and of counts alone, and no generator is touched.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import ViewFormat
from fkd.images import ImageList
from fkd.labels import Quantized
from fkd.originals import LabelledImages
from fkd.store import LabelStore, Toning
from fkd.views import (
    SAMPLER,
    SAMPLERS,
    Pending,
    RenderPool,
    ahead,
    render_views,
    sample_views,
)

# Labels are read at so many places of a store, of so many images each, and so many crops of an image.
_PLACES, _IMAGES, _CROPS = 16, 8, 32


@dataclass(frozen=True)
class LabelSample:
    """Quantized labels of B crops of `num_images` images, by name [B, …], and class ids, int64 [B]."""

    kept: Quantized
    targets: Tensor
    num_images: int


def sample_batches(
    pool: RenderPool,
    store: LabelStore,
    images: ImageList,
    count: int,
    batch_size: int,
    format: ViewFormat | None = None,
    chosen: NDArray[np.int64] | None = None,
) -> Iterator[Tensor]:
    """Yield views of about `count` stored crops, uint8 [b, 3, H, W], in batches of at most `batch_size`.

    They are rendered as in the store, or in `format`, and not mixed with each other. Images are spread
    over all that have labels, or over those `chosen`, int64 [n], and come in a random order. Fewer images
    give more crops of each, as far as the store has them; those of one image are in one batch, however
    many they are.
    """
    spec, sizes, numbers = store.spec, store.sizes(), store.image_numbers()
    labelled = store.labelled_images() if chosen is None else chosen
    # Boxes that no rule draws are not worth reading for an estimate: others of their policy do.
    sampler = spec.sampler if spec.sampler in SAMPLERS else SAMPLER
    format = format or ViewFormat(spec.size, spec.interpolation)
    files, toning = LabelledImages(images, store.content_hashes()), Toning.of_store(store)
    crops = min(spec.num_crops, -(-count // len(labelled)))
    visits = min(len(labelled), -(-count // crops))
    spread = labelled[np.linspace(0, len(labelled) - 1, visits).round().astype(np.int64)]
    mixed = np.random.default_rng(0).permutation(spread)

    def submit(part: list[int]) -> Pending[Tensor]:
        views = pool.empty_views(len(part) * crops, format.size)

        def draw(row: int, image_index: int) -> None:
            height, width = sizes[image_index].tolist()
            boxes, flips = sample_views(
                spec.views, int(numbers[image_index]), crops, height, width, sampler
            )
            out = views[row * crops : (row + 1) * crops]
            pixels = files.decode(image_index, sizes[image_index])
            render_views(pixels, boxes, flips, out, format.interpolation, spec.views.fit)
            toning.change_all(out, image_index, np.arange(crops))

        return Pending([pool.submit(draw, *place) for place in enumerate(part)], lambda: views)

    parts = np.array_split(mixed, -(-visits // max(1, batch_size // crops)))
    return ahead(submit(part.tolist()) for part in parts)


def sample_labels(store: LabelStore, chosen: NDArray[np.int64] | None = None) -> LabelSample:
    """Read the labels of some thousand crops at most, of all images or of those `chosen`, int64 [n]."""
    spec = store.spec
    run = min(_IMAGES, spec.num_images)
    taken = np.ones(spec.num_images, np.bool_)
    places = min(_PLACES, spec.num_images // run)
    starts = np.linspace(0, spec.num_images - run, places).round().astype(np.int64)
    if chosen is not None and len(chosen) < spec.num_images:
        taken = np.isin(np.arange(spec.num_images), chosen)
        spread = chosen[np.linspace(0, len(chosen) - 1, places).round().astype(np.int64)]
        starts = np.unique(spread // run * run)
    kept: dict[str, list[Tensor]] = {}
    targets, num_images = [], 0
    for start in starts.tolist():
        stop = min(start + run, spec.num_images)
        slab = store.read_images(range(start, stop), min(_CROPS, spec.num_crops))
        labelled = slab.size.any(axis=1) & taken[start:stop]
        num_images += int(labelled.sum())
        targets.append(np.repeat(slab.target[labelled], slab.flip.shape[1]))
        for name, values in slab.kept.items():
            rows = values[labelled].reshape(-1, values.shape[2])
            kept.setdefault(name, []).append(torch.from_numpy(rows))
    labels = {name: torch.cat(values) for name, values in kept.items()}
    return LabelSample(labels, torch.from_numpy(np.concatenate(targets)), num_images)
