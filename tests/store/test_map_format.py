"""Maps of labels on disk: which attributes there may be, and what is done with others."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import zarr
from helpers.stores import change_attributes, make_spec, make_store, read_all

from fkd import LabelStore, Scheme
from fkd.errors import ConfigError, StoreError
from fkd.format import plan_layout

ROOT = Path(__file__).parents[2]
MAPS = {"grid": (2, 3), "unlabelled": True}


@pytest.mark.parametrize("scheme", ["topk2-coarse-std", "full", "full-8bit"])
def test_what_is_written_is_read_position_by_position(tmp_path, scheme):
    store, blocks = make_store(tmp_path / "s.zarr", scheme=Scheme.parse(scheme), **MAPS)
    slab = read_all(store)
    for name, values in slab.kept.items():
        assert np.array_equal(values, np.concatenate([b.kept[name] for b in blocks])), name
    some = store.read_images(range(3, 9), 5)
    assert all(np.array_equal(v, slab.kept[name][3:9, :5]) for name, v in some.kept.items())


@pytest.mark.parametrize(
    "changes",
    [
        {"grid": [2] * 40},
        {"grid": []},
        {"grid": "2x3"},
        {"grid": [2, 0]},
        {"grid": [2, True]},
        {"grid": [2, 3.0]},
        {"grid": [2**20, 2]},
        {"grid": [2**10, 2**10 + 1]},
        {"unlabelled": False},
        {"format_version": 2},
        {"scheme": {"kind": "samples", "k": 2}},
        {"block_images": 65_536, "grid": [2**10, 2**10]},
    ],
    ids=str,
)
def test_other_grids_than_a_labeller_writes_are_refused(tmp_path, changes):
    make_store(tmp_path / "s.zarr", **MAPS)
    change_attributes(tmp_path / "s.zarr", sign=True, **changes)
    with pytest.raises(StoreError, match=r"damaged|a newer fkd knows"):
        read_all(LabelStore.open(tmp_path / "s.zarr"))


def test_a_store_of_single_labels_says_nothing_of_grids(tmp_path):
    make_store(tmp_path / "s.zarr")
    assert "grid" not in (tmp_path / "s.zarr/zarr.json").read_text()


def test_zarr_and_the_page_of_the_format_read_a_golden_store():
    """Chunk by chunk, of which a block of the five images has two: of four crops, and of two."""
    page = (ROOT / "docs/store-format.md").read_text("utf-8")
    reader: dict = {}
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.S)[1], reader)
    path = ROOT / "tests/golden/topk3-map-v3.zarr"
    group, kept = zarr.open_group(path, mode="r"), LabelStore.open(path).read_crops(range(6)).kept
    for images in (slice(0, 3), slice(3, 5)):
        for crops in (slice(0, 4), slice(4, 6)):
            packed = (group[name][images, crops] for name in ("index", "code"))
            found = reader["unpack"](*packed, 3, 4, 12)
            for values, name in zip(found, ("index", "code"), strict=True):
                true = kept[name][images, crops]
                assert np.array_equal(values.transpose(3, 1, 2, 0).reshape(true.shape), true)


def test_blocks_of_large_maps_have_few_images():
    spec = replace(make_spec(5000, 20, Scheme("topk", 5), classes=150), grid=(128, 128))
    planned = plan_layout(spec)
    assert planned.block_images * 20 * planned.labels.num_bytes <= 2**28
    assert plan_layout(replace(spec, grid=(512, 512))).block_images >= 1
    with pytest.raises(ConfigError, match="for each crop of a block; choose a smaller one"):
        plan_layout(replace(spec, grid=(512, 512)), 4096)
