"""Maps in a store: whichever crops of whichever images are read, their labels are those that went in."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.copies import labelled
from helpers.stores import NUM_CLASSES

from fkd import LabelStore, Scheme
from fkd.errors import ConfigError
from fkd.format import array_layouts, layout, plan_layout
from fkd.labels import quantize

CROPS, GRID, G = 6, (3, 5), 15


def probs(seed=0):
    logits = 2 * torch.randn(
        15, CROPS, G, NUM_CLASSES, generator=torch.Generator().manual_seed(seed)
    )
    return logits.softmax(3)


@pytest.mark.parametrize(
    ("scheme", "grid"),
    [("topk3", GRID), ("topk3", (G,)), ("topk2-std", GRID), ("topk50", GRID), ("hard", GRID)],
)
def test_any_run_of_crops_comes_back(tmp_path, monkeypatch, scheme, grid):
    monkeypatch.setattr(layout, "_CHUNK_CELLS", 2 * 4 * G)  # so that chunks have two images
    store = labelled(tmp_path / "s.zarr", scheme, probs(), grid=grid)
    assert array_layouts(store.spec)["index"].chunks[:2] == (2, 4)
    true = quantize(probs().reshape(-1, NUM_CLASSES), store.spec.scheme)
    true = {name: values.numpy().reshape(15, CROPS, -1) for name, values in true.items()}
    opened = LabelStore.open(store.path)
    for images, crops in [(15, CROPS), (1, 1)] + [(3, 2)] * 3:
        for first in range(0, 16 - images, images):
            rows, columns = range(first, first + images), range(CROPS - crops, CROPS)
            kept = opened.read(rows, columns).kept
            for name, values in true.items():
                assert np.array_equal(kept[name], values[rows.start : rows.stop, columns.start :])


def test_ties_of_coarse_codes_are_put_in_order_once(tmp_path):
    store = labelled(tmp_path / "a.zarr", "topk3-coarse", probs(), grid=GRID)
    scheme = Scheme("topk", 3, coarse=True)
    true = quantize(probs().reshape(-1, NUM_CLASSES), scheme)
    kept = store.read(range(15), range(CROPS)).kept
    rows = {name: torch.from_numpy(v.reshape(-1, 3).astype(np.int64)) for name, v in kept.items()}
    assert torch.equal(rows["code"], true["code"].long())
    assert torch.equal(rows["index"].sort()[0], true["index"].sort()[0])
    assert torch.equal(rows["index"][:, 0], true["index"][:, 0])


def test_more_classes_than_bytes_name_are_kept_as_they_are(tmp_path):
    spec = labelled(tmp_path / "a.zarr", "topk3", probs(), grid=GRID).spec
    layouts = array_layouts(replace(spec, num_classes=300))
    assert layouts["index"].dtype == "uint16"
    assert array_layouts(spec)["index"].dtype == "uint8"


def test_maps_that_nobody_could_unpack_are_refused(tmp_path):
    spec = labelled(tmp_path / "a.zarr", "topk3", probs(), grid=GRID).spec
    large = replace(spec, grid=(1024, 1024), num_classes=64)
    assert array_layouts(plan_layout(large))["index"].chunks[:2] == (1, 4)
    with pytest.raises(ConfigError, match=r"--block 1 gives topk3 .* keep less of a view"):
        plan_layout(replace(large, num_classes=65))


def test_images_without_labels_hinder_nobody(tmp_path):
    store = labelled(tmp_path / "s.zarr", "topk3", probs(), grid=GRID, bad=(3,))
    true = quantize(probs()[5].reshape(-1, NUM_CLASSES), Scheme("topk", 3))
    found = store.read(range(5, 6), range(CROPS)).kept["index"].reshape(-1, 3)
    assert np.array_equal(found, true["index"].numpy())
