"""Wrote the golden stores and expected.json: `python tests/golden/make_golden.py`.

Not run again while the format stays: the stores are old on purpose. It writes the newest ones alone.
"""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from fkd import LabelStore, Preprocessing, Scheme, ViewPolicy
from fkd.config import VectorScheme
from fkd.format import (
    StoreSpec,
    TargetRecord,
    TeacherRecord,
    plan_layout,
)
from fkd.images import REASONS, ImageList, fingerprint
from fkd.labels import quantize, restore, row_fidelity
from fkd.originals import probe
from fkd.store import (
    Block,
)
from fkd.views import RENDERER, SAMPLER, label_draws, sample_views

HERE = Path(__file__).parent
CROPS, CLASSES, BLOCK = 6, 12, 3
SIZES = [(375, 500), (64, 48), (65_535, 2700), (0, 0), (1, 1)]
DAMAGED = 3
PATHS = ["ant/1.jpg", "ant/ü 2.png", "bee/\udcff.jpg", "bee/deep/4.jpg", "cat/5.webp"]
TARGETS = np.array([0, 0, 1, 1, 11])
CLASS_NAMES = ["ant", "bee", *(f"class {n}" for n in range(2, 10)), "größe", "cat"]


# Vectors of each scheme: where the numbers are never below 0, components are of their roots.
TARGETS_OF = {
    "topk3-vectors": (
        TargetRecord("mid", "layer3", "mean", VectorScheme("int8"), (5,)),
        TargetRecord("map", "layer2", "none", VectorScheme("f16"), (2, 2, 3)),
        TargetRecord("scaled", "layer1", "none", VectorScheme("int8"), (2, 2, 2)),
        TargetRecord("small", "features", "auto", VectorScheme("pca", 4), (7,)),
    ),
    "none": (TargetRecord("output", "", "auto", VectorScheme("pca", 3), (6,)),),
}


# Maps of 3 x 4 labels of each view, of images that had masks.
MAPS = {"grid": (3, 4), "unlabelled": True, "masks": True}


def make_images(unlabelled=False):
    num_bytes = np.array([48_211, 7010, 2**31 + 5, 17, 70])
    targets, names = (np.full(5, -1), ()) if unlabelled else (TARGETS, ("ant", "bee", "cat"))
    return ImageList(Path("/images/train"), PATHS, targets, num_bytes, names)


def make_spec(scheme, views, images, sampler, targets=(), **maps):
    spec = StoreSpec(
        num_images=len(PATHS),
        num_crops=CROPS,
        num_classes=CLASSES,
        scheme=scheme,
        views=views,
        sampler=sampler,
        renderer=RENDERER,
        probe=probe("bilinear"),
        size=224,
        interpolation="bilinear",
        temperature=1.0,
        teachers=(
            TeacherRecord("resnet18", f"sha256:{'a' * 64}", f"sha256:{'b' * 64}", Preprocessing()),
        ),
        images_root=str(images.root),
        fingerprint=fingerprint(images.paths, images.num_bytes),
        versions={"fkd": "0.1.0", "torch": "2.15.0", "torchvision": "0.29.2"}
        | {"pillow": "13.0.0", "numpy": "2.4.6", "zarr": "3.1.6"},
        created="2026-11-21T00:00:00+00:00",
        format_version=3,
        targets=targets,
        **maps,
    )
    return plan_layout(spec, BLOCK)


def make_probs(rng, grid=()):
    """Return teacher probabilities f32 [N, M, *grid, C], flat to sharp; the first crop is one-hot."""
    sharpness = np.linspace(0, 6, CROPS).reshape(-1, *(1,) * len(grid), 1)
    logits = rng.normal(size=(len(PATHS), CROPS, *grid, CLASSES)) * sharpness
    probs = np.exp(logits - logits.max(axis=-1, keepdims=True))
    probs /= probs.sum(axis=-1, keepdims=True)
    probs[0, 0] = np.eye(CLASSES)[7]
    return torch.from_numpy(probs.astype(np.float32))


def make_vectors(rng, targets):
    """Return what layers say of all crops, f32 [N, M, …] by target; `small` are never below 0."""
    said = {t.name: rng.normal(size=(len(PATHS), CROPS, *t.shape)) for t in targets}
    for name, values in said.items():
        values[0, 1] = 0
        values[:, 2] *= 1000 if name == "map" else 1
        said[name] = torch.from_numpy((abs(values) if name == "small" else values).astype("f4"))
    return said


def make_block(store, number, probs, said):
    spec = store.spec
    block = Block.empty(spec, number)
    for row, image in enumerate(spec.block_range(number)):
        if image == DAMAGED:
            block.status[row] = REASONS.index("damaged")
            continue
        block.size[row] = SIZES[image]
        block.content_hash[row] = 0x9E3779B97F4A7C15 >> image
        if spec.masks:
            block.truth_hash[row] = 0xD1B54A32D192ED03 >> image
        block.box[row], block.flip[row] = sample_views(spec.views, image, CROPS, *SIZES[image])
        for name, values in kept_of(store, image, probs, said).items():
            block.kept[name][row] = values.numpy()
    block.fidelity[:] = mean_fidelity_of(spec, number, probs)
    return block


def kept_of(store, image, probs, said):
    """Return what is kept of an image's labels and vectors."""
    spec, kept = store.spec, {}
    if spec.labels.there:
        rows = quantize(probs[image].flatten(0, -2), spec.scheme, draws_of(spec, image))
        kept |= {name: values.reshape(CROPS, -1) for name, values in rows.items()}
    for name, vectors in said.items():
        kept |= store.vectors(name).quantize(vectors[image])
    return kept


def draws_of(spec, image):
    """Return the numbers by which classes of an image's labels are drawn, where that is done."""
    if spec.scheme.kind != "samples":
        return None
    return torch.from_numpy(label_draws(spec.views.seed, np.full(CROPS, image), np.arange(CROPS)))


def mean_fidelity_of(spec, number, probs):
    if spec.scheme.kind in ("none", "samples"):
        return np.nan
    labelled = [image for image in spec.block_range(number) if image != DAMAGED]
    rows = probs[labelled].flatten(0, -2)
    return row_fidelity(rows, quantize(rows, spec.scheme), spec.scheme).double().mean(0).numpy()


def make_store(path, scheme, views, rng, sampler, targets=(), **maps):
    """Write a store and return what it holds, as JSON values; labels as fkd restores them."""
    images, probs = make_images(bool(maps)), make_probs(rng, maps.get("grid", ()))
    spec = make_spec(scheme, views, images, sampler, targets, **maps)
    said = make_vectors(rng, targets)
    learned = {name: kept.fit(said[name].flatten(0, 1)) for name, kept in spec.vectors.items()}
    shutil.rmtree(path, ignore_errors=True)
    own = None if maps else TARGETS
    store = LabelStore.create(path, spec, images, own, CLASS_NAMES, constants=learned)
    blocks = [make_block(store, number, probs, said) for number in range(spec.num_blocks)]
    for number, block in enumerate(blocks):
        store.commit_block(number, block)
    expected = {"path": PATHS, "class_name": CLASS_NAMES, "target": images.targets.tolist()}
    expected["num_bytes"] = images.num_bytes.tolist()
    for name in ("size", "status", "content_hash", "box", "flip", *(["truth_hash"] * bool(maps))):
        expected[name] = np.concatenate([getattr(b, name) for b in blocks]).tolist()
    if scheme.kind not in ("none", "samples"):
        expected["fidelity"] = [b.fidelity.tolist() for b in blocks]
    # As it is read: classes of equal coarse codes, and samples, change places when they are packed.
    kept = store.read_crops(range(CROPS)).kept
    expected |= {name: values.tolist() for name, values in kept.items()}
    of_labels = spec.labels.rows(kept) if maps else kept
    rows = {name: torch.from_numpy(v.reshape(-1, v.shape[2])) for name, v in of_labels.items()}
    for name in spec.vectors:
        vectors = store.vectors(name).restore(rows)
        expected[f"restored {name}"] = np.round(vectors.double().numpy(), 6).tolist()
    if scheme.kind == "none":
        return expected
    whole = str(replace(scheme, coarse=False))
    narrower = () if scheme.kind == "samples" else ("topk3-smooth", "topk2", "smooth")
    for reading in (whole, *narrower):
        labels = restore(rows, scheme, Scheme.parse(reading), CLASSES)
        dense = labels.dense(CLASSES).reshape(probs.shape)
        expected[f"dense {reading}"] = np.round(dense.double().numpy(), 9).tolist()
    return expected


def main():
    views, rng = ViewPolicy(ratio=(0.5, 2.0)), np.random.default_rng(27)
    expected = json.loads((HERE / "expected.json").read_text("utf-8"))
    path = HERE / "topk3-map-v3.zarr"
    expected[path.name] = make_store(path, Scheme("topk", 3), views, rng, SAMPLER, **MAPS)
    stores = []
    for store, values in expected.items():
        lines = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in values.items())
        stores.append(f"{json.dumps(store)}: {{\n{lines}\n}}")
    (HERE / "expected.json").write_text("{\n" + ",\n".join(stores) + "\n}\n", "utf-8")


if __name__ == "__main__":
    main()
