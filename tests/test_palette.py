"""Palettes: ids of one image's crops as small numbers, and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkd.palette import apply_palette, build_palette


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 5), st.integers(1, 70_000), st.data())
def test_ids_come_back(n, m, k, classes, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    ids = rng.integers(0, classes, (n, m, k), dtype=np.uint32)
    palette, slot = build_palette(ids, min(classes, m * k))
    assert np.array_equal(apply_palette(palette, slot), ids)
    assert np.array_equal(apply_palette(palette, slot[:, :1]), ids[:, :1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_the_most_frequent_class_comes_first(dtype):
    ids = np.array([[[7, 9], [9, 3], [9, 7]]], dtype)
    palette, slot = build_palette(ids, 6)
    assert palette.tolist() == [[9, 7, 3, 0, 0, 0]]
    assert slot.tolist() == [[[1, 0], [0, 2], [0, 1]]]
    assert palette.dtype == slot.dtype == dtype
