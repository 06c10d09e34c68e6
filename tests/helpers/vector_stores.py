"""Stores that keep vectors beside the labels of another one, or instead of them."""

from dataclasses import replace
from pathlib import Path

import torch

from fkd import LabelStore, Scheme
from fkd.config import VectorScheme
from fkd.format import plan_layout
from fkd.format.records import TargetRecord
from fkd.images import ImageList
from fkd.store import Block
from fkd.vectors import KeptVectors

OUTPUT, MID = (5,), (4, 3, 3)  # shapes of a vector and of a map


def some_vectors(store, shape, seed=0):
    """Draw vectors of all crops, f32 [N, M, *shape], of which those of an image are alike."""
    generator = torch.Generator().manual_seed(seed)
    n, m = store.spec.num_images, store.spec.num_crops
    of_images = torch.randn(n, 1, *shape, generator=generator)
    return of_images + 0.3 * torch.randn(n, m, *shape, generator=generator)


def with_vectors(store, path, labels=True, keep="f16", **vectors):
    """Write the store `path`, with `vectors` f32 [N, M, …] by name, of the views of another one."""
    kept = {
        name: KeptVectors(name, VectorScheme(keep), tuple(values.shape[2:]))
        for name, values in vectors.items()
    }
    targets = tuple(
        TargetRecord(name, name, "auto", one.scheme, one.shape) for name, one in kept.items()
    )
    scheme = store.spec.scheme if labels else Scheme("none")
    spec = plan_layout(replace(store.spec, scheme=scheme, targets=targets), store.spec.block_images)
    where, classes = Path(store.spec.images_root), store.targets()
    images = ImageList(where, store.image_paths(), classes, store.num_bytes(), store.class_names())
    made = LabelStore.create(path, spec, images, classes, store.class_names())
    for number in range(spec.num_blocks):
        stored, rows = store.read_block(number), spec.block_range(number)
        here = slice(rows.start, rows.stop)
        block = Block.empty(spec, number)
        block.box, block.flip, block.size = stored.box, stored.flip, stored.size
        block.content_hash = store.content_hashes()[here]
        if labels:
            block.kept |= stored.kept
        for name, values in vectors.items():
            arrays = kept[name].quantize(values[here].flatten(0, 1))
            block.kept |= {
                array: numbers.reshape(*block.flip.shape, -1).numpy()
                for array, numbers in arrays.items()
            }
        made.commit_block(number, block)
    return LabelStore.open(path)
