"""Cells of maps: any numbers come back, and those of a smooth map become far fewer bytes."""

import re
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd.arrays.lattice import steps
from fkd.arrays.packing_cells import (
    pack_cell_codes,
    pack_cell_ids,
    unpack_cell_codes,
    unpack_cell_ids,
)
from fkd.config import Scheme
from fkd.labels import quantize

MAPS = st.tuples(st.integers(1, 9), st.integers(1, 9))
GRIDS = st.one_of(MAPS, st.tuples(st.integers(1, 20)))
CLASSES = 7


@settings(deadline=None)
@given(MAPS)
def test_every_cell_is_in_one_step_and_its_neighbours_in_earlier_ones(grid):
    known = np.zeros(grid, bool)
    for step in steps(grid):
        for rows, columns in step.near:
            assert known[np.ix_(rows, columns)].all()
        assert not known[np.ix_(step.rows, step.columns)].any()
        known[np.ix_(step.rows, step.columns)] = True
    assert known.all()


@settings(deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 4), GRIDS, st.integers(0, 99))
def test_any_codes_come_back(n, m, k, grid, seed):
    shape = n, m, int(np.prod(grid)) * k
    code = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    assert np.array_equal(unpack_cell_codes(pack_cell_codes(code, grid), grid), code)


@settings(deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 5),
    GRIDS,
    st.sampled_from([5, 64, 65, 256, 300]),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_ids_come_back(n, k, grid, classes, with_codes, seed):
    rng, cells = np.random.default_rng(seed), n * int(np.prod(grid))
    ids = rng.random((cells, classes)).argsort(axis=1)[:, :k].reshape(n, 1, -1)
    ids = ids.astype(np.uint8 if classes <= 256 else np.uint16)
    code = rng.integers(0, 256, ids.shape).astype(np.uint8) if with_codes else None
    packed = pack_cell_ids(ids, code, grid, classes)
    assert packed.dtype == ids.dtype
    assert np.array_equal(unpack_cell_ids(packed, code, grid, classes), ids)


def test_ids_of_equal_codes_may_change_places_and_no_others():
    ids, code = _labels(_smooth_maps((2, 3), (9, 12)), Scheme("topk", 4, coarse=True))
    grid = (9, 12)
    packed = pack_cell_ids(ids, code, grid, CLASSES, sort_ties=True)
    back = unpack_cell_ids(packed, code, grid, CLASSES)
    was, now, codes = (values.reshape(-1, 4) for values in (ids, back, code))
    assert np.array_equal(was[:, 0], now[:, 0])
    moved = (was != now)[:, 1:]
    tied = codes[:, :-1] == np.roll(codes[:, :-1], 1, axis=1)
    tied[:, 0] = False
    assert moved.any()
    assert not moved[~(tied | np.roll(tied, -1, axis=1))].any()
    assert np.array_equal(pack_cell_ids(back, code, grid, CLASSES, sort_ties=True), packed)


def test_the_page_of_the_format_unpacks_them():
    page = (Path(__file__).parents[2] / "docs" / "store-format.md").read_text("utf-8")
    reader: dict = {}
    exec(re.findall(r"```python\n(.*?)```", page, flags=re.S)[1], reader)
    for grid, scheme in [((9, 12), "topk3"), ((4, 1), "topk1-smooth"), ((5, 6), "topk7-coarse")]:
        ids, code = _labels(_smooth_maps((2, 3), grid), Scheme.parse(scheme))
        packed = pack_cell_ids(ids, code, grid, CLASSES), pack_cell_codes(code, grid)
        found = reader["unpack"](*packed, *grid, CLASSES)
        for values, true in zip(found, (ids, code), strict=True):
            assert np.array_equal(values.transpose(3, 1, 2, 0).reshape(true.shape), true)


def test_what_is_written_does_not_drift():
    numbers = np.arange(2 * 3 * 35 * 2, dtype=np.uint64).reshape(2, 3, 70)
    ids, code = (numbers * 2654435761 >> 7) % 5, (numbers * 40503 >> 9) % 256
    ids[..., 1::2] = (ids[..., ::2] + 1 + numbers[..., ::2] % 4) % 5
    ids, code = ids.astype(np.uint8), code.astype(np.uint8)
    found = pack_cell_codes(code, (5, 7)), pack_cell_ids(ids, code, (5, 7), 5)
    assert [zlib.crc32(packed.tobytes()) for packed in found] == [3496761691, 3075212740]


def test_a_place_past_all_classes_is_the_id_of_none():
    packed = np.full((1, 1, 6), 9, np.uint8)
    assert (unpack_cell_ids(packed, None, (2, 3), 5) == 255).all()


@pytest.mark.parametrize(("scheme", "most"), [(Scheme("topk", 3), 0.85), (Scheme("hard"), 0.85)])
def test_smooth_maps_become_fewer_bytes(scheme, most):
    grid = (33, 33)
    ids, code = _labels(_smooth_maps((8, 2), grid), scheme)
    plain, packed = [ids], [pack_cell_ids(ids, code, grid, CLASSES)]
    if code is not None:
        plain.append(code)
        packed.append(pack_cell_codes(code, grid))
    ranks = ids.shape[2] // (33 * 33)
    planes = [values.reshape(-1, ranks).T.tobytes() for values in plain]
    assert _compressed(values.tobytes() for values in packed) < most * _compressed(planes)


def _compressed(parts):
    return sum(len(zlib.compress(part, 9)) for part in parts)


def _smooth_maps(shape, grid):
    """Return probabilities f32 [B, C] of cells of maps in which classes change slowly."""
    torch.manual_seed(0)
    views = int(np.prod(shape))
    coarse = 3 * torch.randn(views, CLASSES, 4, 4)
    fine = torch.nn.functional.interpolate(coarse, grid, mode="bicubic", align_corners=True)
    noisy = fine + 0.2 * torch.randn_like(fine)
    return shape, noisy.softmax(dim=1).permute(0, 2, 3, 1).reshape(-1, CLASSES)


def _labels(maps, scheme):
    """Return ids and codes u8 [n, m, G · K] of maps as a store keeps them."""
    shape, rows = maps
    kept = {
        name: values.numpy().reshape(*shape, -1) for name, values in quantize(rows, scheme).items()
    }
    return kept["index"].astype(np.uint8), kept.get("code")
