"""Tables of images, as Hugging Face's `datasets` and others write them."""

import json

import numpy as np
import pyarrow as pa

from fkd.containers import ContainedImages


def some_bytes(lengths, seed=0):
    """Return texts of these lengths, of which no two are alike."""
    rng = np.random.default_rng(seed)
    return [rng.bytes(length) for length in lengths]


def image_table(images, labels, *, paths=None, names=None, **columns):
    """Return a table as `datasets` has it: a struct of bytes and path, and a label of declared names."""
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    paths = paths or [None] * len(images)
    rows = [{"bytes": image, "path": path} for image, path in zip(images, paths, strict=True)]
    table = pa.table({"image": pa.array(rows, kind), "label": pa.array(labels), **columns})
    if names is None:
        return table
    features = {"image": {"_type": "Image"}, "label": {"names": names, "_type": "ClassLabel"}}
    info = {"info": {"features": features}}
    return table.replace_schema_metadata({"huggingface": json.dumps(info)})


def contents(root, index):
    """Return the bytes of all images of an index, by key."""
    images = ContainedImages.of(root, index)
    return {key: bytes(images.read(row)) for row, key in enumerate(index.keys)}


def class_of(index):
    """Return the class of every image of an index, by key."""
    return {key: index.classes[label] for key, label in zip(index.keys, index.labels, strict=True)}


def damaged(content, seeds, near_end=0):
    """Return copies of a file's bytes with a few of them changed, half of these near its end."""
    for seed in seeds:
        rng = np.random.default_rng(seed)
        copy = bytearray(content)
        first = max(0, len(copy) - near_end) if near_end and seed % 2 else 0
        for _ in range(1 + seed % 3):
            copy[rng.integers(first, len(copy))] ^= 1 << int(rng.integers(8))
        yield copy
