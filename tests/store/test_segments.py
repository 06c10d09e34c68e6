"""A store that grows: more crops, more images, no finished byte written again."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.stores import TOP3, make_once, make_spec, random_block

from fkd import LabelStore, Scheme
from fkd.checking.blocks import check_blocks
from fkd.errors import BlockError, StoreError
from fkd.format.attributes import digest
from fkd.images import ImageList
from fkd.info import info_lines
from fkd.store import Block, InspectedStore, growth
from fkd.views import SAMPLERS


def listed(first, count):
    paths = [f"a/{n:03}.jpg" for n in range(first, first + count)]
    zeros = np.zeros(count, np.int64)
    return ImageList("/images", paths, zeros, zeros + 5, ("a",))


def names(spec):
    return [f"class{n}" for n in range(spec.num_classes)]


def made(path, n, m, block=3, sampler="random-resized-crop-2"):
    """Return a store of n images and m crops, complete, and the blocks that it was made of."""
    spec = make_spec(n, m, TOP3, block, sampler=sampler)
    images = listed(0, n)
    store = LabelStore.create(path, spec, images, images.targets, names(spec))
    rng = np.random.default_rng(0)
    blocks = [random_block(spec, number, rng) for number in range(spec.num_blocks)]
    for number, block_ in enumerate(blocks):
        store.commit_block(number, block_)
    return blocks


def columns(block, crops):
    """Return some crops of a block, as a segment of more crops takes them."""
    kept = {name: values[:, crops] for name, values in block.kept.items()}
    return replace(block, box=block.box[:, crops], flip=block.flip[:, crops], kept=kept)


def grown(tmp_path, sampler="random-resized-crop-2"):
    """Return a store of 8 crops at once, and one that began with 5."""
    make_once(tmp_path, make_grown, sampler)
    return [LabelStore.open(tmp_path / name) for name in ("whole.zarr", "parts.zarr")]


def make_grown(tmp_path, sampler):
    blocks = made(tmp_path / "whole.zarr", 7, 8, sampler=sampler)
    spec = make_spec(7, 5, TOP3, 3, sampler=sampler)
    images = listed(0, 7)
    store = LabelStore.create(tmp_path / "parts.zarr", spec, images, images.targets, names(spec))
    for number, block in enumerate(blocks):
        store.commit_block(number, columns(block, slice(0, 5)))
    store.add_crops(8)
    store = LabelStore.open(tmp_path / "parts.zarr", writable=True)
    assert store.pending_blocks() == [3, 4, 5]
    for number, block in enumerate(blocks):
        store.commit_block(3 + number, columns(block, slice(5, 8)))


def assert_equal(one, other):
    for name in ("box", "flip", "size", "target"):
        assert (getattr(one, name) == getattr(other, name)).all(), name
    for name, values in one.kept.items():
        assert (values == other.kept[name]).all(), name


@pytest.mark.parametrize("sampler", ["random-resized-crop-2", "random-resized-crop-1", "stored"])
def test_a_grown_store_reads_as_one_labelled_at_once(tmp_path, sampler):
    whole, parts = grown(tmp_path, sampler)
    assert (parts.spec.num_crops, parts.num_blocks, whole.num_blocks) == (8, 6, 3)
    for crops in (range(8), range(4, 7), range(6, 8), range(2)):
        assert_equal(parts.read(range(1, 7), crops), whole.read(range(1, 7), crops))
    assert_equal(parts.read_crops([6, 7, 0, 1]), whole.read_crops([6, 7, 0, 1]))


def test_growing_writes_no_finished_byte_again(tmp_path):
    made(tmp_path / "labels.zarr", 7, 4)
    files = [f for f in (tmp_path / "labels.zarr").rglob("*") if f.is_file()]
    before = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in files}
    LabelStore.open(tmp_path / "labels.zarr", writable=True).add_crops(8)
    assert {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in files} == before


def test_more_images_are_a_segment_with_all_crops(tmp_path):
    _, store = grown(tmp_path)
    store = LabelStore.open(store.path, writable=True)
    more = listed(7, 4)
    store.add_images(more, more.targets, "sha256:1")
    store = LabelStore.open(store.path, writable=True)
    assert (store.spec.num_images, store.spec.num_crops) == (11, 8)
    assert store.block(6).images == range(7, 11)
    spec = store.segments[2].spec
    block = random_block(spec, 0, np.random.default_rng(5))
    crops = np.arange(8)
    draw = SAMPLERS[spec.sampler].draw
    block.box[:], block.flip[:] = draw(spec.views, np.arange(7, 11), crops, block.size)
    store.commit_block(6, block)
    store = LabelStore.open(store.path)
    assert list(store.image_paths())[5:9] == [f"a/00{n}.jpg" for n in range(5, 9)]
    assert (store.read(range(7, 11), range(8)).box == block.box).all()
    assert_equal(store.read_block(6), store.read(range(7, 11), range(8)))
    assert not InspectedStore.open(store.path).strange_files()


def test_ragged_segments_count_as_the_least_and_are_evened_out(tmp_path):
    _, store = grown(tmp_path)
    more = listed(7, 4)
    store = LabelStore.open(store.path, writable=True)
    store.add_images(more, more.targets, "sha256:1")
    store = LabelStore.open(store.path, writable=True)
    store.add_crops(10)
    shutil.rmtree(store.path / "segment-4")  # a kill between the two
    (store.path / "nowhere").symlink_to("nothing")  # no reason to say nothing of the rest
    assert dict(info_lines(store.path))["labelled"].startswith("54.9% (6 of 10 blocks)")
    (store.path / "nowhere").unlink()
    store = LabelStore.open(store.path, writable=True)
    assert store.spec.num_crops == 8
    store.add_crops(10)
    store = LabelStore.open(store.path)
    assert store.spec.num_crops == 10
    assert len(store.segments) == 5


def test_fewer_crops_are_refused(tmp_path):
    made(tmp_path / "labels.zarr", 7, 4)
    with pytest.raises(StoreError, match="has 4 crops an image, more than --crops 3"):
        LabelStore.open(tmp_path / "labels.zarr", writable=True).add_crops(3)


def test_crops_of_other_images_are_refused(tmp_path):
    _, store = grown(tmp_path)
    InspectedStore.open(store.path, writable=True).unseal([1])
    inspected = InspectedStore.open(store.path)
    assert inspected.readable_blocks() == [0, 2, 3, 5]  # of 4 no image is known
    assert check_blocks(inspected, 1, None) == []
    again = LabelStore.open(store.path, writable=True)
    block = random_block(store.segments[0].spec, 1, np.random.default_rng(7))
    again.commit_block(1, block)
    with pytest.raises(BlockError, match="segment-1: block 1: its crops are of other images"):
        LabelStore.open(store.path).read_block(4)


def changed(folder, **values):
    content = json.loads((folder / "zarr.json").read_text())
    content["attributes"]["fkd"] |= values
    content["attributes"]["sha256"] = digest(content["attributes"]["fkd"])
    (folder / "zarr.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"root": "abc"}, "was added to another store"),
        ({"first_crop": 6}, "begins at crop 6, where 5 are labelled"),
        ({"temperature": 2.0}, "has other settings"),
        ({"amp": "bf16"}, "has other settings"),
        ({"images_root": "/others"}, "has other settings"),
    ],
)
def test_a_segment_that_does_not_belong_is_refused(tmp_path, values, words):
    _, store = grown(tmp_path)
    changed(store.path / "segment-1", **values)
    with pytest.raises(StoreError, match=f"segment-1 {words}"):
        LabelStore.open(store.path)


def test_a_segment_is_no_store(tmp_path):
    _, store = grown(tmp_path)
    with pytest.raises(StoreError, match="is a segment of a label store"):
        LabelStore.open(store.path / "segment-1")


def test_a_lost_file_of_a_segment_is_refused(tmp_path):
    _, store = grown(tmp_path)
    (store.path / "segment-1" / "zarr.json").write_text("{")
    with pytest.raises(StoreError, match="segment-1 is no segment of a label store"):
        LabelStore.open(store.path)


def test_what_was_added_is_not_behind_a_link(tmp_path):
    _, store = grown(tmp_path)
    (store.path / "segment-1").rename(tmp_path / "elsewhere")
    (store.path / "segment-1").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StoreError, match="segment-1 is a link, and a store has none"):
        LabelStore.open(store.path)


def test_a_segment_that_is_lost_is_missed(tmp_path):
    """Without it the store would be taken for a smaller one."""
    _, store = grown(tmp_path)
    LabelStore.open(store.path, writable=True).add_crops(9)
    (store.path / "segment-1").rename(tmp_path / "kept")
    with pytest.raises(StoreError, match=r"segment-1/zarr.json is missing, though segment-2/zarr"):
        LabelStore.open(store.path)
    shutil.rmtree(store.path / "segment-2")
    (tmp_path / "kept").rename(store.path / "segment-1")
    (store.path / "segment-1" / "zarr.json").unlink()
    with pytest.raises(StoreError, match=r"is missing, though segment-1/done/zarr.json is there"):
        LabelStore.open(store.path)


def test_numbered_images_are_drawn_by_their_numbers(tmp_path):
    whole, _ = grown(tmp_path)
    rows = [1, 4, 6]
    images = listed(0, 7).take(np.array(rows))
    spec = replace(make_spec(3, 8, TOP3, 3, sampler=whole.spec.sampler), numbered=True)
    store = LabelStore.create(tmp_path / "some.zarr", spec, images, images.targets, names(spec))
    slab = whole.read(range(7), range(8))
    block = Block.empty(store.spec, 0)
    block.size[:], block.content_hash[:] = slab.size[rows], whole.content_hashes()[rows]
    block.box[:], block.flip[:] = slab.box[rows], slab.flip[rows]
    for name, values in slab.kept.items():
        block.kept[name][:] = values[rows]
    block.image_number = np.array(rows, np.uint64)
    store.commit_block(0, block)
    some = LabelStore.open(store.path)
    assert some.image_numbers().tolist() == rows
    assert (some.read_block(0).box == slab.box[rows]).all()
    assert whole.image_numbers().tolist() == list(range(7))


def test_dense_labels_are_added_in_segments_whose_blocks_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(growth, "_BLOCK_BYTES", 5 * 3 * (2 * 40 + 9))  # five crops of three images
    spec = make_spec(7, 2, Scheme("full"), 3)
    images = listed(0, 7)
    store = LabelStore.create(tmp_path / "s.zarr", spec, images, images.targets, names(spec))
    store.add_crops(14)
    grown = LabelStore.open(tmp_path / "s.zarr")
    runs = [range(2), range(2, 7), range(7, 12), range(12, 14)]
    assert [segment.crops for segment in grown.segments] == runs
    assert grown.spec.num_crops == 14
