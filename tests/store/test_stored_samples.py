"""Samples in a store: read as they were drawn, and refused where a stranger's steps lead astray."""

import tracemalloc

import numpy as np
import pytest
from helpers.stores import NUM_CLASSES, change_attributes, make_store, write_store

from fkd import LabelStore, Scheme
from fkd.arrays.packing import pack_palettes, unpack_palettes
from fkd.errors import BlockError, StoreError
from fkd.labels import fidelity_fault
from fkd.store import InspectedStore, writer

FOUR = Scheme("samples", 4)


@pytest.mark.parametrize("count", [1, 4, 40])
def test_samples_come_back(tmp_path, count):
    rng = np.random.default_rng(count)
    index = rng.integers(0, NUM_CLASSES, (11, 6, count), dtype=np.uint32)
    index[3], index[4] = 0, NUM_CLASSES - 1
    _, blocks = make_store(tmp_path / "s.zarr", scheme=Scheme("samples", count))
    store = InspectedStore.open(tmp_path / "s.zarr", writable=True)
    for number, block in enumerate(blocks):
        block.kept["index"][:] = index[store.spec.block_range(number)]
        store.commit_block(number, block)
    read = LabelStore.open(tmp_path / "s.zarr")
    for crops in ([0, 1, 2, 3, 4, 5], [5, 0], [2]):
        kept = read.read_crops(crops).kept
        assert list(kept) == ["index"]
        expected = np.sort(index[:, crops], axis=2)
        assert np.array_equal(np.sort(kept["index"], axis=2), expected)
    assert "code" not in read.stored_bytes()


def test_palettes_come_back():
    rng = np.random.default_rng(0)
    for classes, dtype in ((256, np.uint8), (1000, np.uint16), (70_000, np.uint32)):
        palette = rng.integers(0, classes, (9, 40)).astype(dtype)
        palette[:, 30:] = 0
        packed = pack_palettes(palette, classes)
        assert packed.dtype == dtype
        assert int(packed.max()) < classes
        assert np.array_equal(unpack_palettes(packed[:, :7].copy(), classes), palette[:, :7])
        assert np.array_equal(unpack_palettes(packed, classes), palette)


@pytest.mark.parametrize("steps", [[0, 0, 0, 24], [20, 250, 20, 0], [255] * 4, [23, 255, 2, 0]])
def test_steps_past_the_palette_are_refused(tmp_path, monkeypatch, steps):
    """Also those that come back to it modulo 256: slots of rising order never fall."""
    monkeypatch.setattr(
        writer, "pack_slots", lambda slot, _: np.zeros_like(slot) + np.array(steps, slot.dtype)
    )
    write_store(tmp_path / "s.zarr", scheme=FOUR)  # of 24 draws an image
    store = LabelStore.open(tmp_path / "s.zarr")
    with pytest.raises(BlockError, match=r"image 0: a slot is [\d,]+, past the palette"):
        store.read_crops(range(6))


def test_whatever_a_palette_holds_names_classes_that_there_are(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "pack_palettes", lambda palette, _: np.full_like(palette, 255))
    write_store(tmp_path / "s.zarr", scheme=FOUR)
    store = LabelStore.open(tmp_path / "s.zarr")
    assert int(store.read_crops(range(6)).kept["index"].max()) < NUM_CLASSES


def test_palettes_come_back_in_little_memory():
    """A stranger's block may have 2^30 ids of 16 bits, whose sums in 64 would be 8 GiB."""
    steps = np.ones((4096, 1000), np.uint16)
    tracemalloc.start()
    unpack_palettes(steps, 1000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 24 * 2**20  # all at once would take 65 MB
    assert steps[4095, 998:].tolist() == [999, 0]


def test_samples_say_nothing_of_fidelity():
    assert fidelity_fault(np.full(6, np.nan, np.float32), FOUR) is None
    assert fidelity_fault(np.ones(6, np.float32), FOUR) == "samples have none"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 2}, "samples are of version 3"),
        ({"scheme": {"kind": "samples", "k": 257}}, "the N of samplesN is 257"),
        ({"scheme": {"kind": "samples", "k": 4, "step": 0.125}}, "has no coarse form"),
        (
            {"scheme": {"kind": "samples", "k": 4, "of": 2}},
            "has the key 'scheme.of', which a newer",
        ),
        ({"views": {"grid": 3}}, "has the key 'views.grid', which a newer fkd knows"),
    ],
)
def test_attributes_that_no_labeller_writes(tmp_path, changes, words):
    make_store(tmp_path / "s.zarr", scheme=FOUR)
    change_attributes(tmp_path / "s.zarr", sign=True, **changes)
    with pytest.raises(StoreError, match=words):
        LabelStore.open(tmp_path / "s.zarr")
