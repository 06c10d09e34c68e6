"""The published format: golden stores open for ever, and docs/store-format.md says what is on disk."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from math import ceil
from pathlib import Path

import numpy as np
import pytest
import torch
import zarr
from helpers.stores import make_spec, make_store

from fkd import LabelStore, Scheme, ViewPolicy
from fkd.arrays.array_metadata import metadata
from fkd.config import MixPolicy
from fkd.format.layout import array_layouts
from fkd.images import REASONS, ImageList, fingerprint
from fkd.views import SAMPLER, STORED, sample_views

GOLDEN = Path(__file__).parents[1] / "golden"
PAGE = (Path(__file__).parents[2] / "docs" / "store-format.md").read_text("utf-8")
EXPECTED = json.loads((GOLDEN / "expected.json").read_text("utf-8"))
STORES = list(EXPECTED)
MAP_ROW = r"^\| (?:ids|codes|deviation|all classes) \| `(\w+)` \| .+ \| (.+?) \|$"
TOPK, ROW = "topk3-v3.zarr", r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \| (.+?) \| (.+?) \|$"


def restored(store, reading, crops):
    """Return what fkd restores of some crops of all images."""
    kept = store.read_crops(crops).kept
    rows = {name: torch.from_numpy(v.reshape(-1, v.shape[2])) for name, v in kept.items()}
    return store.spec.labels.restore(rows, Scheme.parse(reading))


@pytest.mark.parametrize("name", STORES)
def test_a_golden_store_gives_what_it_gave_when_it_was_made(name):
    store, expected = LabelStore.open(GOLDEN / name), EXPECTED[name]
    slab = store.read_crops(range(6))
    for field in ("box", "flip", "size", "target"):
        assert getattr(slab, field).tolist() == expected[field], field
    for field, values in slab.kept.items():
        assert values.tolist() == expected[field], field
    hashes = store.content_hashes()
    assert (hashes is None) == name.endswith("-v1.zarr")
    assert hashes is None or hashes.tolist() == expected["content_hash"]
    truth = store.truth_hashes()
    assert (None if truth is None else truth.tolist()) == expected.get("truth_hash")
    fidelity = store.fidelity()
    assert (fidelity is not None) == ("fidelity" in expected)
    unknown = name.startswith(("samples", "none"))
    assert ("fidelity" in expected) == (name.endswith("-v3.zarr") and not unknown)
    if fidelity is not None:  # blocks of 3 and 1 labelled images
        blocks = np.array(expected["fidelity"])
        assert [fidelity.kl, fidelity.quantization, *fidelity.kept_shares] == pytest.approx(
            (3 * blocks[0] + blocks[1]) / 4
        )
    assert store.image_paths() == expected["path"]
    assert store.num_bytes().tolist() == expected["num_bytes"]
    assert list(store.class_names()) == expected["class_name"]
    assert store.status().tolist() == expected["status"] == [0, 0, 0, REASONS.index("damaged"), 0]
    assert store.spec.fingerprint == fingerprint(store.image_paths(), store.num_bytes())


@pytest.mark.parametrize("scheme", ["full", "hard", "smooth", "topk3"])
def test_metadata_is_told_without_zarr(scheme, tmp_path):
    """What fkd expects of an array's zarr.json is what zarr writes into it."""
    sampler = SAMPLER if scheme == "hard" else STORED
    store, _ = make_store(tmp_path / "s.zarr", scheme=Scheme.parse(scheme), sampler=sampler)
    for name, layout in array_layouts(store.spec).items():
        assert json.loads((store.path / name / "zarr.json").read_text()) == metadata(layout), name


def test_what_zarr_takes_for_the_same_is_not_refused(tmp_path):
    """Another zarr may leave out what has a default, and write more than is needed."""
    store, _ = make_store(tmp_path / "s.zarr")
    before = store.read_crops(range(3))
    for name in ("box", "status"):
        file = store.path / name / "zarr.json"
        content = json.loads(file.read_text())
        del content["storage_transformers"]
        file.write_text(json.dumps(content, indent=2))
    after = LabelStore.open(store.path).read_crops(range(3))
    assert np.array_equal(after.box, before.box)


def test_chunks_without_shards_are_what_zarr_reads(tmp_path):
    store, _ = make_store(tmp_path / "s.zarr", n=11, block=4)
    found = {
        "status": store.status(),
        "size": store.sizes(),
        "content_hash": store.content_hashes(),
    }
    found |= {"target": store.targets(), "num_bytes": store.num_bytes()}
    for name, values in found.items():
        expected = zarr.open_array(store.path / name, mode="r")[:]
        assert np.array_equal(values, expected), name
    assert np.array_equal(store.read_images(range(3, 10), 2).size, found["size"][3:10])


@pytest.mark.parametrize("name", STORES)
def test_every_reading_of_a_golden_store_stays(name):
    readings = [key.removeprefix("dense ") for key in EXPECTED[name] if key.startswith("dense ")]
    assert len(readings) == {"samples2-v3.zarr": 1, "none-v3.zarr": 0}.get(name, 4)
    for reading in readings:
        dense = restored(LabelStore.open(GOLDEN / name), reading, range(6)).dense(12)
        expected = np.array(EXPECTED[name][f"dense {reading}"]).reshape(-1, 12)
        assert np.abs(dense.numpy() - expected).max() < 1e-6, reading


@pytest.mark.parametrize("name", STORES)
def test_the_format_does_not_drift(name, tmp_path):
    spec, expected = LabelStore.open(GOLDEN / name).spec, EXPECTED[name]
    images = ImageList(
        Path(spec.images_root), expected["path"], None, np.array(expected["num_bytes"]), ()
    )
    store = LabelStore.open(GOLDEN / name)
    targets = None if spec.unlabelled else np.array(expected["target"])
    LabelStore.create(
        *(tmp_path / "s", spec, images, targets, expected["class_name"]),
        constants={vectors: store.vectors(vectors).constants for vectors in spec.vectors},
    )
    written, golden = (
        {str(f.relative_to(root)): json.loads(f.read_text()) for f in root.rglob("zarr.json")}
        for root in (tmp_path / "s", GOLDEN / name)
    )
    assert written == golden


def page_table():
    return re.findall(ROW, PAGE, flags=re.M)


def narrowest(count):
    return next(f"uint{bits}" for bits in (8, 16, 32) if count <= 2**bits)


def said_by_the_page(spec):
    """Work out the page's table of arrays for a store of this spec."""
    n, m, c, k = (
        spec.num_images,
        spec.num_crops,
        spec.num_classes,
        spec.scheme.kept(spec.num_classes),
    )
    b, q, p = spec.block_images, spec.chunk_crops, min(spec.num_classes, m * k)
    tier = min(p, 256)
    names = {"N": n, "M": m, "C": c, "K": k, "B": b, "Q": q, "P": p, "T": tier, "L": ceil(n / b)}
    names["J"] = ceil(m / q)
    names |= {"R": ceil(m / q) * q, "V": ceil(p / tier) * tier if p else 0, "u": narrowest}
    most = max(1, 2**22 // (2 * q * c))
    names["G"] = max(g for g in range(1, b + 1) if b % g == 0 and g <= most)
    names |= {"path_bytes": spec.path_bytes, "class_name_bytes": spec.class_name_bytes}
    names |= {"class_title_bytes": spec.class_title_bytes}
    kind = spec.scheme.kind
    absent = {"palette", "slot", "code"} if kind == "full" else {"log_prob"}
    absent |= {"log_code"}  # of a full scheme that is coarse
    absent |= {"code"} if kind == "hard" else set()
    absent |= set() if spec.scheme.deviation else {"deviation"}
    absent |= {"target"} if spec.unlabelled else set()
    absent |= set() if spec.class_title_bytes else {"class_title"}
    drawn = spec.format_version == 3 and spec.sampler == "random-resized-crop-2"
    absent |= {"box", "flip"} if drawn else {"view_hash"}
    absent |= set() if spec.views.mix.mixes else {"mix_hash"}
    stored = {"partner", "partner_box", "partner_flip", "share", "hole"}
    absent |= set() if spec.stored_mixes else stored
    absent |= {"fidelity"} if spec.format_version < 3 else set()
    absent |= set() if spec.numbered and not spec.first_crop else {"image_number"}
    absent |= set() if spec.masks and not spec.first_crop else {"mask_hash"}
    absent |= set() if spec.texts and not spec.first_crop else {"text_hash"}
    of_images = {"size", "status", "content_hash", "target", "num_bytes", "path"}
    absent |= of_images if spec.first_crop else {"image_hash"}
    absent |= {"class_name", "class_title"} if spec.root else set()

    def numbers(text):
        return None if text == "–" else tuple(names[word] if word in names else int(word)
                                              for word in text.split(", "))  # fmt: skip

    return {
        array: (
            narrowest(names[dtype[2]]) if dtype.startswith("u(") else dtype,
            *map(numbers, (shape, chunk, shard)),
        )
        for array, dtype, shape, chunk, shard, _ in page_table()
        if array not in absent
    }


@pytest.mark.parametrize(
    "spec",
    [
        make_spec(1_281_167, 200, Scheme("topk", 10), classes=1000),
        make_spec(700, 45, Scheme("topk", 3), classes=70_000),
        make_spec(9, 7, Scheme("topk", 50), block=4),
        make_spec(700, 45, Scheme("topk", 5, coarse=True, deviation=True), classes=1000),
        make_spec(5000, 10, Scheme("full"), classes=1000),
        make_spec(90, 30, Scheme("full"), classes=21_841),
        make_spec(300, 300, Scheme("hard")),
        make_spec(300, 50, Scheme("smoothing"), classes=300),
        replace(make_spec(300, 50, Scheme("topk", 3)), unlabelled=True, class_title_bytes=99),
        make_spec(5000, 11, Scheme("full"), sampler="random-resized-crop-2"),
        replace(
            make_spec(300, 9, Scheme("hard"), sampler="random-resized-crop-2"), format_version=2
        ),
        replace(make_spec(300, 8, Scheme("topk", 3)), numbered=True),
        replace(make_spec(300, 8, Scheme("topk", 3)), root="a", first_crop=8),
        replace(make_spec(300, 8, Scheme("topk", 3)), root="a", first_image=300),
        replace(
            make_spec(900, 16, Scheme("topk", 3), sampler=SAMPLER),
            views=ViewPolicy(mix=MixPolicy(cutmix=1)),
        ),
        replace(make_spec(900, 17, Scheme("topk", 3)), stored_mixes=True),
        replace(make_spec(300, 18, Scheme("topk", 3)), masks=True, unlabelled=True),
        replace(make_spec(300, 8, Scheme("topk", 3)), masks=True, root="a", first_crop=9),
    ],
    ids=lambda spec: (
        f"{spec.scheme}-{spec.num_classes}-{spec.class_title_bytes}-{spec.sampler[-1]}"
        f"-{spec.num_crops}-{spec.first_crop}-{spec.first_image}"
    ),
)
def test_the_page_lists_every_array_as_it_is_laid_out(spec):
    layouts = array_layouts(spec)
    found = {n: (a.dtype, a.shape, a.chunks, a.shards) for n, a in layouts.items()}
    assert said_by_the_page(spec) == found
    assert [n for n, *_ in page_table() if n in found] == list(found)


def codec_words(metadata):
    """Put an array's codecs in the page's words, after checking that CRC-32C ends them."""
    codecs = metadata["codecs"]
    if codecs[0]["name"] == "sharding_indexed":
        codecs = codecs[0]["configuration"]["codecs"]
    assert codecs[-1] == {"name": "crc32c"}
    words = []
    for codec in codecs[:-1]:
        name, how = codec["name"], codec.get("configuration", {})
        if name == "transpose":
            words.append("transpose " + " ".join(map(str, how["order"])))
        elif name == "blosc":
            words.append(f"blosc {how['cname']} {how['clevel']} {how['shuffle']}")
        elif name == "zstd":
            words.append(f"zstd {how['level']}")
    return ", ".join(words)


@pytest.mark.parametrize("name", STORES)
def test_the_page_names_the_codecs_of_every_array(name):
    said = {array: codecs for array, *_, codecs in page_table()}
    if "-v3" not in name:
        said["palette"] = "blosc zstd 5 shuffle"
    if "-map-" in name:
        said |= dict(re.findall(MAP_ROW, PAGE, flags=re.M))
    for file in (GOLDEN / name).glob("*/zarr.json"):
        if "." in file.parent.name:  # of vectors, see test_vector_format
            continue
        assert codec_words(json.loads(file.read_text())) == said[file.parent.name], file


def test_the_pages_attributes_are_those_of_a_golden_store_and_all_explained():
    example = json.loads(re.search(r"```json\n(.*?)```", PAGE, flags=re.S)[1])
    assert example == json.loads((GOLDEN / TOPK / "zarr.json").read_text())["attributes"]
    content = example["fkd"]
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    assert hashlib.sha256(text.encode()).hexdigest() == example["sha256"]
    table = PAGE[PAGE.index("| key | meaning |") : PAGE.index("## Arrays")]
    cells = re.findall(r"^\| (`.+?`) \|", table, flags=re.M)
    assert {key for cell in cells for key in re.findall(r"`(\w+)`", cell)} == {
        *content, "probes", "part", "unlabelled", "class_title_bytes",
        "numbered", "weights", "made_by", "root", "first_image", "first_crop", "stored_mixes",
        "targets", "masks", "texts", "grid",
    }  # fmt: skip


def test_the_pages_boxes_are_drawn():
    """Among them the last seed, sides of 65,535, images of one pixel, and some that no attempt fits."""
    rows = re.findall(r"^\| (\d+(?: \| \d+){9}) \|$", PAGE, flags=re.M)
    assert len(rows) >= 12
    for row in rows:
        seed, image, crop, height, width, *box, flip = map(int, row.split(" | "))
        boxes, flips = sample_views(ViewPolicy(seed), image, crop + 1, height, width)
        assert (boxes[crop].tolist(), int(flips[crop])) == (box, flip)


def test_the_page_explains_every_status():
    rows = re.findall(r"^\| (\d) \| ([a-z ]+?)(?::| \|)", PAGE, flags=re.M)
    assert [(int(code), word) for code, word in rows] == list(enumerate(REASONS))


@pytest.mark.parametrize("name", STORES)
def test_a_seal_is_a_hash_over_the_files_in_the_pages_order(name):
    blockwise = [
        array
        for array, _, _, chunk, _, _ in page_table()
        if chunk[:2] in ("B,", "G,", "B") or array in ("view_hash", "mix_hash", "fidelity")
    ]
    vectors = [
        field.name for field in LabelStore.open(GOLDEN / name).spec.fields if "." in field.name
    ]
    blockwise.insert(blockwise.index("palette"), "index")
    before = blockwise.index("size")
    blockwise[before:before] = vectors
    for number, seal in enumerate(zarr.open_group(GOLDEN / name, mode="r")["done"][:]):
        digest = hashlib.sha256()
        for array in blockwise:
            where = GOLDEN / name / array / "c" / str(number)
            for file in [where] if where.is_file() else sorted(where.rglob("*")):
                digest.update(file.read_bytes() if file.is_file() else b"")
        assert seal.tobytes() == digest.digest()


@pytest.mark.parametrize(
    ("name", "given", "crops"),
    [
        ("topk3-v2.zarr", "0, 4, slice(None)", [0, 1, 2, 3]),
        ("topk3-v3.zarr", "0, 6, slice(None)", [0, 1, 2, 3, 4, 5]),
        ("topk3-v3.zarr", "1, 4, slice(3, 6)", [4, 5, 0, 1]),
    ],
)
def test_the_pages_reader_reads_what_fkd_reads(tmp_path, name, given, crops):
    reader = re.search(r"```python\n(.*?)```", PAGE, flags=re.S)[1]
    first, rest = reader.split("\n", 1)
    assert first == 'store = "labels.zarr"'
    assert "0, 4, slice(None)" in rest
    names = ("box", "flip", "ids", "probs", "tail", "usable")
    (tmp_path / "reader.py").write_text(
        "import sys\nsys.modules |= {'torch': None, 'fkd': None}\n"
        f"store = {str(GOLDEN / name)!r}\n{rest.replace('0, 4, slice(None)', given)}"
        f"np.savez('read.npz', {', '.join(f'{n}={n}' for n in names)})\n",
        "utf-8",
    )
    subprocess.run([sys.executable, "reader.py"], cwd=tmp_path, check=True, timeout=120)
    read, store = np.load(tmp_path / "read.npz"), LabelStore.open(GOLDEN / name)
    slab, images = store.read_crops(crops), slice(3, 6) if "3" in given else slice(None)
    shape = slab.flip.shape
    assert np.array_equal(read["box"], slab.box[images])
    assert np.array_equal(read["flip"], slab.flip[images])
    assert np.array_equal(read["ids"], slab.kept["index"][images])
    assert np.array_equal(read["usable"], (store.status() == 0)[images])
    value = restored(store, "topk3", crops).value.numpy().reshape(*shape, 3)
    tail = restored(store, "topk3-smooth", crops).tail.numpy().reshape(shape)
    assert np.abs(read["probs"] - value[images]).max() < 1e-6
    assert np.abs(read["tail"] - tail[images]).max() < 1e-6
