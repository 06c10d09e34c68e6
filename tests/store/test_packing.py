"""Packing: every rearrangement has an exact inverse, and does what makes it small."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fkd.arrays.packing import (
    pack_boxes,
    pack_codes,
    pack_ids,
    pack_ranks,
    sort_ties,
    unpack_boxes,
    unpack_codes,
    unpack_ids,
    unpack_ranks,
)


@given(st.integers(1, 4), st.integers(1, 9), st.integers(1, 5), st.integers(1, 70_000), st.data())
def test_ids_come_back(n, m, k, classes, data):
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    ids = rng.integers(0, classes, (n, m, k), dtype=np.uint32)
    palette, slot = pack_ids(ids, min(classes, m * k))
    assert np.array_equal(unpack_ids(palette, slot), ids)
    assert np.array_equal(unpack_ids(palette, slot[:, :1]), ids[:, :1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_the_most_frequent_class_comes_first(dtype):
    ids = np.array([[[7, 9], [9, 3], [9, 7]]], dtype)
    palette, slot = pack_ids(ids, 6)
    assert palette.tolist() == [[9, 7, 3, 0, 0, 0]]
    assert slot.tolist() == [[[1, 0], [0, 2], [0, 1]]]
    assert palette.dtype == slot.dtype == dtype


def test_any_boxes_come_back():
    rng = np.random.default_rng(0)
    box = rng.integers(0, 2**16, (50, 300, 4)).astype(np.uint16)
    box[0, :, 2] = np.arange(65_236, 65_536)
    size = rng.integers(0, 2**16, (50, 2)).astype(np.uint16)
    packed = pack_boxes(box, size)
    assert packed.dtype == np.uint16
    assert np.array_equal(unpack_boxes(packed.copy(), size), box)


def test_sides_become_what_is_above_their_bounds():
    size, box = np.array([[300, 400]], np.uint16), np.array([[[7, 9, 101, 80]]], np.uint16)
    assert pack_boxes(box, size).tolist() == [[[7, 9, 300 - 101, 80 - 75]]]


def test_codes_become_steps():
    code = np.array([[[3, 3, 9, 255]]], np.uint8)
    assert pack_codes(code).tolist() == [[[3, 0, 6, 246]]]
    assert np.array_equal(unpack_codes(pack_codes(code)), code)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
@pytest.mark.parametrize("k", [1, 2, 5, 16])
def test_places_among_what_is_left_come_back(dtype, k):
    rng = np.random.default_rng(k)
    slot = rng.permuted(np.broadcast_to(np.arange(40, dtype=dtype), (3, 50, 40)), axis=2)[..., :k]
    places = pack_ranks(slot)
    assert places.dtype == dtype
    assert np.array_equal(unpack_ranks(places), slot)
    assert np.array_equal(unpack_ranks(places[:, 7:9]), slot[:, 7:9])


def test_a_place_counts_past_the_classes_of_earlier_ranks():
    slot = np.array([[[2, 0, 3, 1], [0, 1, 2, 3]]], np.uint8)
    assert pack_ranks(slot).tolist() == [[[2, 0, 1, 0], [0, 0, 0, 0]]]


def test_ties_stand_in_the_order_of_the_palette_and_the_first_rank_stays():
    slot = np.array([[[9, 7, 5, 6, 1]]], np.uint8)
    code = np.array([[[0, 0, 2, 2, 2]]], np.uint8)  # of ranks 2 to 5, and of the tail
    assert sort_ties(slot, code).tolist() == [[[9, 5, 7, 1, 6]]]
