"""Stores of labels that a teacher could have given, and stores beside those that they were made of."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fkd import LabelStore, Scheme
from fkd.format import plan_layout
from fkd.images import ImageList, fingerprint
from fkd.labels import quantize, row_fidelity
from fkd.views import SAMPLER, SAMPLERS
from helpers.stores import NUM_CLASSES, make_spec

CLASSES = ("ant", "bee", "cow")
KEYS = [f"{name}/{number:02}.jpg" for name in CLASSES for number in range(5)]
CROPS = 6


def teacher_probs(seed=0, n=15, m=CROPS):
    """Labels f32 [n, m, C], from flat to sharp."""
    generator = torch.Generator().manual_seed(seed)
    sharpness = torch.linspace(0.5, 4, n * m).reshape(n, m, 1)
    return (sharpness * torch.randn(n, m, NUM_CLASSES, generator=generator)).softmax(2)


def labelled(
    path, scheme, probs=None, keys=KEYS, block=4, bad=(), skip=(), sampler=SAMPLER, **changes
):
    """Write a store of probabilities [n, m, C] as `fkd label` does; `bad` images have no labels.

    With a `grid` of G positions among the changes, probabilities are [n, m, G, C], and images have no
    classes.
    """
    probs = teacher_probs() if probs is None else probs
    scheme = Scheme.parse(scheme)
    n, m = probs.shape[:2]
    targets, num_bytes = (
        np.array([CLASSES.index(key.split("/")[0]) for key in keys]),
        np.arange(n) + 9,
    )
    images = ImageList(Path("/images"), keys, targets, num_bytes, CLASSES)
    changes |= {"unlabelled": True} if "grid" in changes else {}
    spec = replace(make_spec(n, m, scheme, block, sampler=sampler), **changes)
    spec = plan_layout(replace(spec, fingerprint=fingerprint(keys, num_bytes)), block)
    names = [*CLASSES, *(f"class {number}" for number in range(3, NUM_CLASSES))]
    own = None if spec.unlabelled else targets
    store = LabelStore.create(path, spec, images, own, names)
    for number in range(store.num_blocks):
        if number not in skip:
            rows = store.block(number).images
            store.commit_block(number, _block(store, number, rows, probs, bad))
    return LabelStore.open(path)


def _block(store, number, rows, probs, bad):
    """Fill a block; what an image is follows from its index alone, so that all stores of it agree."""
    block, spec = store.empty_block(number), store.spec
    good = [row for row in rows if row not in bad]
    for row in good:
        rng = np.random.default_rng(row)
        block.size[row - rows.start] = rng.integers(30, 300, 2)
        block.content_hash[row - rows.start] = rng.integers(1, 2**63)
    block.status[[row - rows.start for row in bad if row in rows]] = 3
    drawn = SAMPLERS[SAMPLER].draw(
        spec.views, np.array(rows), np.arange(spec.num_crops), block.size
    )
    block.box[:], block.flip[:] = drawn
    p = probs[good].reshape(-1, probs.shape[-1])
    kept = quantize(p, spec.scheme)
    for name, values in kept.items():
        of_views = values.numpy().reshape(len(good), spec.num_crops, -1)
        block.kept[name][[row - rows.start for row in good]] = of_views
    block.fidelity[:] = row_fidelity(p, kept, spec.scheme).double().mean(0).numpy()
    return block


def everything(store):
    """All that a store says of its views, by name, image by image."""
    spec = store.spec
    slab = store.read(range(spec.num_images), range(spec.num_crops))
    facts = {"box": slab.box, "flip": slab.flip, "size": slab.size, "target": slab.target}
    facts |= slab.kept | {"status": store.status(), "number": store.image_numbers()}
    return facts | {"bytes": store.num_bytes(), "hash": store.content_hashes()}


def assert_part(part, whole, rows, num_crops=CROPS, labels=True):
    """Assert that a store is of these images of another one, with the first crops of each."""
    assert list(part.image_paths()) == [whole.image_paths()[row] for row in rows]
    assert part.class_names() == whole.class_names()
    found, true = everything(part), everything(whole)
    for name, values in true.items():
        if name in found or labels:
            cut = values[rows]
            if cut.ndim > 1 and name != "size":
                cut = cut[:, :num_crops]
            assert np.array_equal(found[name], cut), name


def files(path):
    """All files of a folder, by name, with their bytes."""
    return {f.relative_to(path).as_posix(): f.read_bytes() for f in path.rglob("*") if f.is_file()}
