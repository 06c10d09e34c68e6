"""Small label stores, and what is done to them."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fkd import LabelStore, Preprocessing, Scheme, ViewPolicy
from fkd.format import (
    StoreSpec,
    TeacherRecord,
    library_versions,
    now,
    plan_layout,
)
from fkd.format.attributes import digest
from fkd.images import ImageList
from fkd.originals import probe
from fkd.store import (
    Block,
)
from fkd.views import SAMPLERS, Mixes, Partners, draw_mixes, partners

NUM_CLASSES = 40
TOP3 = Scheme("topk", 3)
BY_BLOCK = ("view_hash", "box", "flip", "palette", "slot", "code", "size", "status", "content_hash")
BY_BLOCK += ("fidelity",)


def make_spec(n, m, scheme, block=None, classes=NUM_CLASSES, sampler="stored"):
    spec = StoreSpec(
        num_images=n,
        num_crops=m,
        num_classes=classes,
        scheme=scheme,
        views=ViewPolicy(),
        sampler=sampler,
        renderer="torch-antialias-uint8-1",
        probe=probe("bilinear"),
        size=32,
        interpolation="bilinear",
        temperature=1.0,
        teachers=(TeacherRecord("resnet18", "sha256:0", "sha256:0", Preprocessing(32)),),
        images_root="/images",
        fingerprint="sha256:0",
        versions=library_versions(),
        created=now(),
    )
    return plan_layout(spec, block)


def random_block(spec, number, rng):
    block = Block.empty(spec, number)
    n, m = block.flip.shape
    block.size[:] = rng.integers(1, 60_000, block.size.shape)
    if spec.sampler in SAMPLERS:
        images = np.array(spec.block_range(number))
        draw = SAMPLERS[spec.sampler].draw
        block.box[:], block.flip[:] = draw(spec.views, images, np.arange(m), block.size)
    else:
        _random_views(block, rng)
    block.content_hash[:] = rng.integers(1, 2**63, n)
    if block.truth_hash is not None:
        block.truth_hash[:] = rng.integers(1, 2**63, n)
    # Of maps each position has a label of its own.
    for name, values in (block.kept | spec.labels.rows(block.kept)).items():
        if name.startswith("vector.") and values.dtype == np.int8:
            values[:] = rng.integers(-127, 128, values.shape)
        elif name.startswith(("vector.", "scale.")):
            values[:] = rng.random(values.shape)
        elif name == "log_prob":
            values[:] = -rng.random(values.shape)
        elif name == "code":
            values[:] = np.sort(rng.integers(0, 256, values.shape), axis=2)
        else:
            drawn = rng.random((*values.shape[:2], spec.num_classes)).argsort(2)
            values[:] = drawn[..., : values.shape[2]]
    return block


def _random_views(block, rng):
    n, m = block.flip.shape
    block.box[..., 2:] = rng.integers(1, block.size[:, None].astype(int) + 1, (n, m, 2))
    block.box[..., :2] = rng.integers(0, block.size[:, None].astype(int) - block.box[..., 2:] + 1)
    block.flip[:] = rng.random((n, m)) < 0.5


def _mix(spec, blocks, rng):
    """Say of all blocks with what their views are mixed: as the seed draws it, or at random."""
    n, m = spec.num_images, spec.num_crops
    size, content = (
        np.concatenate([getattr(b, f) for b in blocks]) for f in ("size", "content_hash")
    )
    images, crops = np.arange(n), np.arange(m)
    if spec.stored_mixes:
        whom = rng.integers(0, n, (n, m))
        mixes = Mixes.none(whom)
        mixes.box[..., 2:] = rng.integers(1, size[whom].astype(int) + 1)
        mixes.share[:] = rng.integers(0, 256, (n, m))
        mixes.hole[:] = rng.integers(0, 2**15, (n, m, 4))
    else:
        whom = partners(spec.views.seed, crops // spec.views.mix.period, n, images[:, None])
        other = Partners(whom, whom, size[whom])
        mixes = draw_mixes(spec.views, spec.sampler, images, images, crops, other)
    for number, block in enumerate(blocks):
        block.mixes = mixes[list(spec.block_range(number))]
        block.partner_content = content[block.mixes.image]


_MADE = {}  # the files of a folder, and what was said of them, by how they were made


def make_once(path, make, *how):
    """Make what is at `path` by `make(path, *how)`, or write the same files where that was done before.

    A store is written block by block, each made sure of on the disk; its files are there at once.
    """
    known = _MADE.get((make, *how))
    if known is None:
        about = make(path, *how)
        places = {place.relative_to(path): place for place in path.rglob("*")}
        content = {name: p.read_bytes() if p.is_file() else None for name, p in places.items()}
        _MADE[make, *how] = content, about
        return copy.deepcopy(about)
    content, about = known
    path.mkdir(parents=True, exist_ok=True)
    for name, data in content.items():  # a folder comes before what is in it
        (path / name).mkdir() if data is None else (path / name).write_bytes(data)
    return copy.deepcopy(about)


def make_store(path, n=11, m=6, scheme=TOP3, block=4, skip=(), sampler="stored", **changes):
    """Make a store of random labels; return it, and the blocks that it was made of.

    A test of how a store is written calls `write_store`.
    """
    how = n, m, scheme, block, tuple(skip), sampler, tuple(sorted(changes.items()))
    blocks = make_once(path, write_store, *how)
    return LabelStore.open(path), blocks


def write_store(path, n=11, m=6, scheme=TOP3, block=4, skip=(), sampler="stored", changes=()):
    rng = np.random.default_rng(0)
    images = ImageList(
        path, [f"c/{i:03}ü.jpg" for i in range(n)], np.zeros(n, int), np.arange(n) + 1, ("c",)
    )
    names = [f"class {i}" for i in range(NUM_CLASSES)]
    spec = replace(make_spec(n, m, scheme, block, sampler=sampler), **dict(changes))
    learned = {
        name: kept.fit(torch.from_numpy(rng.random((9, kept.num_numbers), np.float32)))
        for name, kept in spec.vectors.items()
    }
    targets = None if spec.unlabelled else np.arange(n) % NUM_CLASSES
    store = LabelStore.create(path, spec, images, targets, names, constants=learned)
    blocks = [random_block(spec, number, rng) for number in range(spec.num_blocks)]
    if spec.mixes:
        _mix(spec, blocks, rng)
    for number, block in enumerate(blocks):
        if number not in skip:
            store.commit_block(number, block)
    return blocks


def begin_older(store, path, version=2, **changes):
    """Make an empty store like `store`, as an fkd of that format version began it."""
    paths, num_bytes = store.image_paths(), store.num_bytes()
    images = ImageList(Path(store.spec.images_root), paths, store.targets(), num_bytes, ("c",))
    spec = replace(store.spec, sampler="random-resized-crop-1", format_version=version, **changes)
    return LabelStore.create(path, spec, images, store.targets(), store.class_names())


def block_files(path):
    """Return the object of each per-block array for block 1, by array name."""
    found = {}
    for name in BY_BLOCK:
        where = path / name / "c" / "1"
        if not where.exists():
            continue
        found[name] = where if where.is_file() else next(f for f in where.rglob("*") if f.is_file())
    return found


def read_all(store):
    store.labelled_images()
    return store.read_crops(range(store.spec.num_crops))


def read_everything(path):
    store = LabelStore.open(path)
    return store.image_paths(), store.class_names(), store.num_bytes(), read_all(store)


def change_attributes(path, *, sign, **changes):
    file = path / "zarr.json"
    content = json.loads(file.read_text())
    content["attributes"]["fkd"].update(changes)
    if sign:
        content["attributes"]["sha256"] = digest(content["attributes"]["fkd"])
    file.write_text(json.dumps(content))


def blocks_of(store):
    return [store.read_block(number) for number in range(store.spec.num_blocks)]


def same_labels(one, other):
    for a, b in zip(blocks_of(one), blocks_of(other), strict=True):
        assert np.array_equal(a.box, b.box)
        assert np.array_equal(a.flip, b.flip)
        for name in a.kept:
            gap = np.abs(a.kept[name].astype(float) - b.kept[name].astype(float))
            assert gap.max() <= (1 if name == "code" else 0)
