"""Copies, parts, merged stores and averages of maps have at each position what a teacher would leave."""

import numpy as np
import pytest
import torch
from helpers.copies import KEYS, everything, files, labelled, teacher_probs
from helpers.processes import refused

from fkd import (
    AverageConfig,
    CopyConfig,
    MergeConfig,
    Part,
    average_stores,
    copy_store,
    merge_stores,
)

GRID, POSITIONS = (2, 3), 6


def map_probs(seed=0):
    """Maps f32 [15, 6, G, C], of which each position has another label."""
    return teacher_probs(seed, 15, 6 * POSITIONS).reshape(15, 6, POSITIONS, -1)


def maps(path, scheme, seed=0, **settings):
    return labelled(path, scheme, map_probs(seed), grid=GRID, **settings)


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return maps(tmp_path_factory.mktemp("maps") / "a.zarr", "full", bad=(6,))


def near(found, true):
    """Assert that labels are those that a teacher would have left, but for rounding."""
    assert found.keys() == true.keys()
    assert (found["index"] == true["index"]).mean() > 0.98
    if "code" in true:
        assert np.abs(found["code"].astype(int) - true["code"]).max() <= 1


@pytest.mark.parametrize("scheme", ["topk3", "topk2-coarse", "hard"])
def test_fewer_classes_are_kept_at_each_position(full, tmp_path, scheme):
    copy = copy_store(CopyConfig(full.path, tmp_path / "b.zarr", scheme=scheme))
    fresh = maps(tmp_path / "fresh.zarr", scheme, bad=(6,))
    assert copy.spec.grid == GRID
    near(everything(copy), everything(fresh))
    assert copy.fidelity().kept_shares == pytest.approx(fresh.fidelity().kept_shares, abs=2e-3)
    if scheme != "hard":
        assert copy.fidelity().kl == pytest.approx(fresh.fidelity().kl, abs=2e-3)


def test_a_narrower_copy_of_few_classes_keeps_the_first_ones(tmp_path):
    source = maps(tmp_path / "a.zarr", "topk5")
    copy = everything(copy_store(CopyConfig(source.path, tmp_path / "b.zarr", scheme="topk2")))
    had = everything(source)["index"].reshape(15, 6, POSITIONS, 5)
    assert np.array_equal(copy["index"].reshape(15, 6, POSITIONS, 2), had[..., :2])
    near(copy, everything(maps(tmp_path / "fresh.zarr", "topk2")))


def test_parts_of_images_and_crops_merge_to_the_whole(tmp_path):
    source, parts = maps(tmp_path / "a.zarr", "topk3"), []
    for number, rows in enumerate((range(0, 15, 2), range(1, 15, 2))):
        (tmp_path / f"{number}").write_text("\n".join(KEYS[row] for row in rows))
        part, out = Part(str(tmp_path / f"{number}")), tmp_path / f"{number}.zarr"
        parts.append(copy_store(CopyConfig(source.path, out, part, num_crops=4)).path)
    merged = everything(merge_stores(MergeConfig(tuple(parts), tmp_path / "m.zarr")))
    for name, values in everything(source).items():
        cut = values[:, :4] if values.ndim > 1 and name != "size" else values
        assert np.array_equal(merged[name], cut), name
    zipped = copy_store(CopyConfig(source.path, tmp_path / "a.zarr.zip"))
    assert zipped.digest() == source.digest()
    back = copy_store(CopyConfig(zipped.path, tmp_path / "c.zarr"))
    assert files(back.path) == files(source.path)


def test_the_mean_of_maps_is_that_of_their_positions(full, tmp_path):
    other = maps(tmp_path / "b.zarr", "full", seed=1, block=7)
    stores = (full.path, other.path)
    mean = average_stores(AverageConfig(stores, tmp_path / "m.zarr", (7, 3), "topk5"))
    probs = torch.lerp(map_probs(1), map_probs(0), 0.7)
    fresh = labelled(tmp_path / "fresh.zarr", "topk5", probs, grid=GRID, bad=(6,))
    near(everything(mean), everything(fresh))
    assert mean.fidelity().kl == pytest.approx(fresh.fidelity().kl, abs=1e-3)


def test_maps_of_other_grids_are_not_joined(tmp_path):
    one = maps(tmp_path / "a.zarr", "topk3")
    turned = labelled(tmp_path / "b.zarr", "topk3", map_probs(), grid=(3, 2))
    plain = labelled(tmp_path / "c.zarr", "topk3", unlabelled=True)
    for other, theirs in ((turned, "3x2"), (plain, "none")):
        out = ("--out", tmp_path / "m.zarr")
        line = refused("average", one.path, other.path, *out)
        assert f"the grid of its labels is {theirs}, not 2x3" in line
        assert "the grid of its labels" in refused("merge", one.path, other.path, *out)
    assert not (tmp_path / "m.zarr").exists()
