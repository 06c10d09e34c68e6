"""Stores whose views are mixed, with the labels of a plain one, and what their views are by hand."""

from dataclasses import replace

import numpy as np
import torch
import torchvision
from PIL import Image
from torchvision.transforms.v2 import functional

from fkd import LabelStore
from fkd.config import MixPolicy
from fkd.sources import list_images
from fkd.store import Block
from fkd.views import Mixes, Partners, draw_mixes, partners
from helpers.mixed import mixed_by_hand

UNUSABLE = 5  # an image that has no labels


def mixed_store(path, plain, folder, *, unusable=False, **policy):
    """Write a store of the images of `plain` in blocks of 7, whose views are mixed in pairs."""
    mix = MixPolicy(**({"mixup": 1.0, "cutmix": 1.0, "period": 3} | policy))
    spec = replace(plain.spec, views=replace(plain.spec.views, mix=mix))
    n, crops = spec.num_images, np.arange(spec.num_crops)
    size, images = plain.sizes(), np.arange(n)
    if unusable:
        size[UNUSABLE] = 0
    whom = partners(spec.views.seed, crops // mix.period, n, images[:, None])
    sides = size[whom]
    sides[size[:, 0] == 0] = 0
    other = Partners(whom, whom, sides)
    mixes = draw_mixes(spec.views, spec.sampler, images, images, crops, other)
    return written(path, plain, folder, spec, mixes, size)


def store_of_stored_mixes(path, plain, folder, rng):
    """Write such a store of arbitrary partners, whose boxes are no crops of theirs, as importers do."""
    spec = replace(plain.spec, sampler="stored", stored_mixes=True)
    size = plain.sizes()
    shape = spec.num_images, spec.num_crops
    mixes = Mixes.none(np.repeat(np.arange(shape[0])[:, None], shape[1], axis=1))
    mixes.image[:] = rng.integers(0, shape[0], shape)
    sides = size[mixes.image].astype(int)
    mixes.box[..., 2:] = rng.integers(1, sides + 1)
    mixes.box[..., :2] = rng.integers(0, sides - mixes.box[..., 2:] + 1)
    mixes.flip[:], mixes.share[:] = rng.random(shape) < 0.5, rng.integers(0, 257, shape)
    mixes.hole[..., 2:] = rng.integers(0, 2, (*shape, 1)) * rng.integers(1, 65_536, (*shape, 2))
    mixes.hole[..., :2] = rng.integers(0, 65_536 - mixes.hole[..., 2:].astype(int))
    plainly = rng.random(shape) < 0.2
    none = Mixes.none(np.repeat(np.arange(shape[0])[:, None], shape[1], axis=1))
    for name in ("image", "box", "flip", "share", "hole"):
        getattr(mixes, name)[plainly] = getattr(none, name)[plainly]
    return written(path, plain, folder, spec, mixes, size)


def written(path, plain, folder, spec, mixes, size):
    """Write a store with the boxes and labels of `plain`; an image of no size has none."""
    spec = replace(spec, block_images=7, chunk_crops=4)
    images, slab = list_images(folder / "train"), plain.read_crops(range(spec.num_crops))
    names, hashes = plain.class_names(), plain.content_hashes()
    gone = size[:, 0] == 0
    hashes[gone] = 0
    store = LabelStore.create(path, spec, images, slab.target, names)
    for number in range(spec.num_blocks):
        rows = list(spec.block_range(number))
        kept = {name: values[rows] for name, values in slab.kept.items()}
        block = Block(
            np.where(gone[rows, None, None], 0, slab.box[rows]),
            slab.flip[rows] & ~gone[rows, None],
            size[rows],
            gone[rows].astype(np.uint8),
            hashes[rows],
            kept,
            mixes=mixes[rows],
            partner_content=hashes[mixes.image[rows]],
        )
        store.commit_block(number, block)
    return LabelStore.open(path), mixes


def view_by_hand(path, box, flip, size):
    """Decode with Pillow, crop and resize with torchvision: uint8 [3, size, size]."""
    pixels = torch.from_numpy(np.array(Image.open(path).convert("RGB"))).permute(2, 0, 1)
    mode = torchvision.transforms.InterpolationMode.BILINEAR
    top, left, height, width = (int(edge) for edge in box)
    view = functional.resized_crop(
        pixels, top, left, height, width, [size, size], interpolation=mode, antialias=True
    )
    return (view.flip(-1) if flip else view).numpy()


def all_views_by_hand(store, mixes, folder, size):
    """Return every view of a store as a student should see it, [N, M, 3, size, size]."""
    slab, images = store.read_crops(range(store.spec.num_crops)), list_images(folder / "train")
    shape = slab.flip.shape
    views = np.zeros((*shape, 3, size, size), np.uint8)
    for image, crop in np.ndindex(shape):
        if not slab.size[image].all():
            continue
        box, flip = slab.box[image, crop], slab.flip[image, crop]
        own = view_by_hand(images.name(image), box, flip, size)
        one = mixes[image, crop]
        if mixes.mixed[image, crop]:
            partner = images.name(int(one.image))
            other = view_by_hand(partner, one.box, one.flip, size)
            own = mixed_by_hand(own[None], other[None], mixes[image, [crop]])[0]
        views[image, crop] = own
    return views
