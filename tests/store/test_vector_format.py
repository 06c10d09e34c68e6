"""The published format of vectors: docs/store-format.md says what is on disk, and how it is restored."""

import hashlib
import json
import re
from dataclasses import replace
from math import ceil, prod
from pathlib import Path

import numpy as np
import pytest
import zarr
from helpers.stores import make_spec

from fkd import LabelStore, Scheme
from fkd.config import VectorScheme
from fkd.format import TargetRecord, array_layouts, plan_layout

GOLDEN = Path(__file__).parents[1] / "golden"
PAGE = (Path(__file__).parents[2] / "docs/store-format.md").read_text("utf-8")
EXPECTED = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
STORES = ["topk3-vectors-v3.zarr", "none-v3.zarr"]
ROW = r"^\| (\w+) \| `(\w+)\.NAME` \| (\w+) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$"


def rows_of(keep):
    kind = "pcaN" if keep.startswith("pca") else keep
    return [row[1:] for row in re.findall(ROW, PAGE, flags=re.M) if row[0] == kind]


def target(keep, shape, name="v"):
    return TargetRecord(name, "layer3", "auto", VectorScheme.parse(keep), shape)


def planned(n, m, record, scheme="topk3", block=None):
    spec = replace(make_spec(n, m, Scheme.parse(scheme)), targets=(record,))
    return plan_layout(spec, block)


@pytest.mark.parametrize(
    "spec",
    [
        planned(1_281_167, 200, target("int8", (1280,))),
        planned(1_281_167, 200, target("pca256", (1280,)), "none"),
        planned(700, 45, target("pca1024", (768,)), "none"),
        planned(9, 3, target("f16", (7,)), block=4),
        planned(5000, 10, target("int8", (512, 14, 14)), "none"),
        planned(90, 30, target("f16", (64, 28, 28)), "full"),
    ],
    ids=lambda spec: f"{spec.targets[0].keep}-{spec.targets[0].shape}-{spec.num_crops}",
)
def test_the_page_lists_every_array_of_vectors(spec):
    (record,) = spec.targets
    b, q, m = spec.block_images, spec.chunk_crops, spec.num_crops
    numbers = prod(record.shape)
    names = {"N": spec.num_images, "M": m, "B": b, "Q": q, "R": ceil(m / q) * q, "L": numbers}
    names |= {"A": record.shape[0] if len(record.shape) > 1 else 1, "F": min(4, q)}
    names |= {"E": ceil(names["R"] / names["F"]) * names["F"], "1": 1}
    names["W"] = min(record.keep.size, numbers)
    found = {n: a for n, a in array_layouts(spec).items() if "." in n}
    said = rows_of(str(record.keep))
    assert {f"{array}.v" for array, *_ in said} == {*found}
    for array, dtype, shape, chunk, shard, _ in said:
        wide = names[shape.split(", ")[-1]] * np.dtype(dtype).itemsize
        crops = names[chunk.split(", ")[1]] if shard != "–" else 1
        most = max(1, 2**22 // (crops * wide))
        names["H"] = max(g for g in range(1, b + 1) if b % g == 0 and g <= most)
        of_page = [
            None if text == "–" else tuple(names[word] for word in text.split(", "))
            for text in (shape, chunk, shard)
        ]
        layout = found[f"{array}.v"]
        assert (layout.dtype, layout.shape, layout.chunks, layout.shards) == (dtype, *of_page), (
            array
        )


@pytest.mark.parametrize("name", STORES)
def test_the_page_names_their_codecs(name):
    for record in LabelStore.open(GOLDEN / name).spec.targets:
        for array, *_, codecs in rows_of(str(record.keep)):
            file = GOLDEN / name / f"{array}.{record.name}" / "zarr.json"
            assert codec_words(json.loads(file.read_text())) == codecs, array


def codec_words(metadata):
    codecs = metadata["codecs"]
    if codecs[0]["name"] == "sharding_indexed":
        codecs = codecs[0]["configuration"]["codecs"]
    words = []
    for codec in codecs[:-1]:
        how = codec.get("configuration", {})
        if codec["name"] == "transpose":
            words.append("transpose " + " ".join(map(str, how["order"])))
        elif codec["name"] == "blosc":
            words.append(f"blosc {how['cname']} {how['clevel']} {how['shuffle']}")
        elif codec["name"] == "zstd":
            words.append(f"zstd {how['level']}")
    return ", ".join(words)


@pytest.mark.parametrize("name", STORES)
def test_vectors_of_a_golden_store_are_restored_as_ever_and_as_the_page_says(name):
    store, group = LabelStore.open(GOLDEN / name), zarr.open_group(GOLDEN / name, mode="r")
    assert {key.split()[1] for key in EXPECTED[name] if key.startswith("restored")} == {
        *store.spec.vectors
    }
    for said in group.attrs["fkd"]["targets"]:
        target, shape = said["name"], said["shape"]
        read = {a: group[f"{a}.{target}"][:] for a, *_ in rows_of(said["keep"])}
        values = read["vector"].astype(np.float64)
        if said["keep"] == "int8":
            codes = values.reshape(5, 6, read["scale"].shape[2], -1)
            values = codes * read["scale"].astype(np.float64)[..., None]
        elif said["keep"].startswith("pca"):
            values = read["mean"] + read["step"] * values @ read["rotation"].astype(np.float64)
            values = np.maximum(values, 0) ** 2 if read["root"][0] else values
        expected = np.array(EXPECTED[name][f"restored {target}"])
        assert expected.shape[1:] == tuple(shape)
        assert np.abs(values.reshape(expected.shape) - expected).max() < 1e-5, target


@pytest.mark.parametrize("name", STORES)
def test_what_was_learned_has_the_hash_of_the_page(name):
    group = zarr.open_group(GOLDEN / name, mode="r")
    for said in group.attrs["fkd"]["targets"]:
        if not said["keep"].startswith("pca"):
            assert "constants" not in said
            continue
        digest = hashlib.sha256()
        for array in ("mean", "root", "rotation", "step"):
            digest.update(f"{array}.{said['name']}".encode() + b"\0")
            digest.update(group[f"{array}.{said['name']}"][:].tobytes())
        assert said["constants"] == f"sha256:{digest.hexdigest()}"
