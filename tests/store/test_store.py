"""The store: what is committed is read back, what is not whole is refused by name."""

import json
import shutil

import numpy as np
import pytest
from helpers.folders import label_config
from helpers.stores import (
    NUM_CLASSES,
    block_files,
    change_attributes,
    make_spec,
    make_store,
    random_block,
    read_all,
    read_everything,
)

from fkd import LabelStore, Scheme, label_images
from fkd.errors import StoreError
from fkd.format import (
    check_replaceable,
)
from fkd.images import ImageList
from fkd.store import (
    Block,
)
from fkd.views import SAMPLER


@pytest.mark.parametrize("scheme", ["full", "hard", "smooth", "topk3", "topk50"])
@pytest.mark.parametrize(("n", "m", "block"), [(11, 6, 4), (3, 1, None), (9, 7, 9)])
def test_what_is_committed_is_read_back(tmp_path, scheme, n, m, block):
    store, blocks = make_store(tmp_path / "s.zarr", n, m, Scheme.parse(scheme), block)
    for number, wrote in enumerate(blocks):
        read = store.read_block(number)
        assert np.array_equal(read.box, wrote.box)
        assert np.array_equal(read.flip, wrote.flip)
        assert np.array_equal(read.size, wrote.size)
        assert read.kept.keys() == wrote.kept.keys()
        for name, values in wrote.kept.items():
            assert np.array_equal(read.kept[name], values), name
    assert store.image_paths()[2] == "c/002ü.jpg"
    assert store.class_names()[-1] == f"class {NUM_CLASSES - 1}"
    assert store.num_bytes().tolist() == list(range(1, n + 1))


@pytest.mark.parametrize("scheme", ["full", "topk3"])
def test_drawn_boxes_are_those_committed_and_take_no_bytes(tmp_path, scheme):
    """A full store of 11 crops has 3 chunks of them, each with a hash."""
    kind = Scheme.parse(scheme)
    store, blocks = make_store(tmp_path / "s.zarr", 11, 11, kind, sampler=SAMPLER)
    assert store.spec.num_chunks == (3 if scheme == "full" else 1)
    assert not {"box", "flip"} & set(store.stored_bytes())
    box, flip = (np.concatenate([getattr(b, name) for b in blocks]) for name in ("box", "flip"))
    for slots in ([5], [9, 10, 0, 1], list(range(11))):
        slab = store.read_crops(slots)
        assert np.array_equal(slab.box, box[:, slots])
        assert np.array_equal(slab.flip, flip[:, slots])
    slab = store.read_images(range(3, 9), 7)
    assert np.array_equal(slab.box, box[3:9, :7])
    assert np.array_equal(slab.flip, flip[3:9, :7])


def test_another_hash_of_boxes_is_refused_where_they_are_read(tmp_path):
    """Sealed, so that only drawing tells: chunk 1 of block 2 was labelled with another box."""
    path, full = tmp_path / "s.zarr", Scheme("full")
    _, blocks = make_store(path, m=11, scheme=full, skip=(2,), sampler=SAMPLER)
    blocks[2].box[1, 6, 0] ^= 1
    LabelStore.open(path, writable=True).commit_block(2, blocks[2])
    store = LabelStore.open(path)
    store.read_crops([0, 1, 2, 3])
    store.read_images(range(8), 11)
    for crops in ([4], [7, 8]):
        with pytest.raises(StoreError, match=r"block 2: the boxes that this machine draws.*crop 4"):
            store.read_crops(crops)
    store.read_crops([8, 9, 10])


def test_a_pass_reads_its_crops_of_all_images_and_wraps(tmp_path):
    store, blocks = make_store(tmp_path / "s.zarr", m=6)
    box = np.concatenate([b.box for b in blocks])
    index = np.concatenate([b.kept["index"] for b in blocks])
    for slots in ([0, 1, 2], [5], [4, 5, 0, 1], list(range(6))):
        slab = store.read_crops(slots)
        assert np.array_equal(slab.box, box[:, slots])
        assert np.array_equal(slab.kept["index"], index[:, slots])
        assert slab.target.tolist() == list(range(11))


def test_many_blocks_are_read_in_parts(tmp_path):
    store, blocks = make_store(tmp_path / "s.zarr", n=41, block=2)
    assert store.spec.num_blocks == 21
    code = np.concatenate([b.kept["code"] for b in blocks])
    assert np.array_equal(store.read_crops([2, 3]).kept["code"], code[:, 2:4])


def test_ids_above_a_palette_tier_and_above_u16(tmp_path):
    spec = make_spec(2, 300, Scheme("topk", 3), classes=70_000)
    images = ImageList(tmp_path, ["c/a.jpg", "c/b.jpg"], np.zeros(2, int), np.ones(2, int), ("c",))
    names = [str(i) for i in range(70_000)]
    store = LabelStore.create(tmp_path / "s", spec, images, np.array([0, 69_999]), names)
    block = random_block(make_spec(2, 300, Scheme("topk", 3)), 0, np.random.default_rng(1))
    block.kept["index"][:] = np.random.default_rng(2).integers(0, 70_000, (2, 300, 3))
    store.commit_block(0, block)
    slab = LabelStore.open(tmp_path / "s").read_crops([299])
    assert np.array_equal(slab.kept["index"], block.kept["index"][:, 299:])
    assert slab.target[1] == 69_999


def test_unfinished_blocks_are_never_readable(tmp_path):
    store, _ = make_store(tmp_path / "s.zarr", skip=(1,))
    assert store.pending_blocks() == [1]
    with pytest.raises(StoreError, match="1 of 3 blocks"):
        store.read_crops([0])
    with pytest.raises(StoreError, match="block 1 is not labelled"):
        store.read_block(1)
    store.read_block(2)


def test_a_block_of_zeros_is_written_all_the_same(tmp_path):
    store, _ = make_store(tmp_path / "s.zarr", skip=(0, 1, 2))
    store = LabelStore.open(tmp_path / "s.zarr", writable=True)
    for number in range(3):
        store.commit_block(number, Block.empty(store.spec, number))
    assert not store.read_block(1).box.any()
    for name in ("box", "flip", "slot", "code", "palette", "status", "size"):
        assert (
            list((store.path / name / "c" / "1").rglob("*"))
            or (store.path / name / "c" / "1").is_file()
        )


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
@pytest.mark.parametrize("name", ["box", "flip", "palette", "slot", "code", "size", "status"])
def test_damage_of_any_block_file_is_found_and_named(tmp_path, name, damage):
    make_store(tmp_path / "s.zarr")
    file = block_files(tmp_path / "s.zarr")[name]
    content = file.read_bytes()
    if damage == "delete":
        file.unlink()
    elif damage == "truncate":
        file.write_bytes(content[: len(content) // 2])
    else:
        middle = len(content) // 3
        flipped = bytes([content[middle] ^ 0x10])
        file.write_bytes(content[:middle] + flipped + content[middle + 1 :])
    with pytest.raises(StoreError, match=f"block 1.*'{name}'"):
        read_all(LabelStore.open(tmp_path / "s.zarr"))


@pytest.mark.parametrize("name", ["path", "class_name", "target", "num_bytes", "done"])
def test_damage_of_other_files_is_found(tmp_path, name):
    make_store(tmp_path / "s.zarr")
    file = next(f for f in sorted((tmp_path / "s.zarr" / name / "c").rglob("*")) if f.is_file())
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    with pytest.raises(StoreError, match="seal" if name == "done" else name):
        read_everything(tmp_path / "s.zarr")


@pytest.mark.parametrize("name", ["box", "slot", "done", "path"])
def test_changed_array_metadata_is_refused(tmp_path, name):
    make_store(tmp_path / "s.zarr")
    file = tmp_path / "s.zarr" / name / "zarr.json"
    content = json.loads(file.read_text())
    content["fill_value"] = 1
    file.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=f"{name}/zarr.json is damaged"):
        LabelStore.open(tmp_path / "s.zarr")
    file.write_text("{")
    with pytest.raises(StoreError, match=f"{name}/zarr.json cannot be read"):
        LabelStore.open(tmp_path / "s.zarr")


def test_changed_attributes_are_refused(tmp_path):
    make_store(tmp_path / "s.zarr")
    change_attributes(tmp_path / "s.zarr", sign=False, num_crops=5)
    with pytest.raises(StoreError, match="damaged attributes"):
        LabelStore.open(tmp_path / "s.zarr")


def test_another_version_is_refused_with_both_numbers(tmp_path):
    make_store(tmp_path / "s.zarr")
    change_attributes(tmp_path / "s.zarr", sign=True, format_version=7)
    with pytest.raises(StoreError, match=r"version 7.*versions 1 to 3"):
        LabelStore.open(tmp_path / "s.zarr")


@pytest.mark.parametrize(
    "changes",
    [
        {"num_images": -1},
        {"num_images": 2**50},
        {"num_crops": "6"},
        {"block_images": 0},
        {"scheme": {"kind": "topk", "k": -3}},
        {"teachers": 5},
        {"format_version": 2, "surprise": 1},
        {"format_version": 2, "scheme": {"kind": "huge", "k": 3}},
    ],
    ids=str,
)
def test_signed_nonsense_is_refused(tmp_path, changes):
    make_store(tmp_path / "s.zarr")
    change_attributes(tmp_path / "s.zarr", sign=True, **changes)
    with pytest.raises(StoreError, match=r"damaged"):
        LabelStore.open(tmp_path / "s.zarr")


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"surprise": 1}, "key 'surprise'"),
        ({"sampler": "mixed-2"}, "sampler 'mixed-2'"),
        ({"scheme": {"kind": "map", "k": 3}}, "scheme 'map'"),
        ({"grid": [4, 4, 4]}, "grid of 3 numbers"),
    ],
    ids=str,
)
def test_what_a_later_version_adds_is_refused_by_name(tmp_path, changes, what):
    make_store(tmp_path / "s.zarr")
    change_attributes(tmp_path / "s.zarr", sign=True, **changes)
    with pytest.raises(StoreError, match=f"has the {what}, which a newer fkd knows; update"):
        LabelStore.open(tmp_path / "s.zarr")


def test_opening_nothing_or_another_folder(tmp_path):
    with pytest.raises(StoreError, match="does not exist"):
        LabelStore.open(tmp_path / "none.zarr")
    with pytest.raises(StoreError, match="not a label store"):
        LabelStore.open(tmp_path)


def test_overwrite_leaves_other_folders_alone(tmp_path):
    (tmp_path / "photos").mkdir()
    with pytest.raises(StoreError, match="left alone"):
        check_replaceable(tmp_path / "photos")
    make_store(tmp_path / "s.zarr")
    check_replaceable(tmp_path / "s.zarr")
    (tmp_path / "s.zarr" / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match=r"holds notes.txt, which is no part .* left alone"):
        check_replaceable(tmp_path / "s.zarr")


def test_a_moved_store_still_reads(shared_store, tmp_path):
    moved = tmp_path / "mit Leerzeichen ä.zarr"
    shutil.copytree(shared_store.path, moved)
    assert np.array_equal(LabelStore.open(moved).read_block(0).box, shared_store.read_block(0).box)


def test_blocks_committed_by_one_writer_are_seen_by_another(image_folder, tmp_path):
    store = label_images(label_config(image_folder, tmp_path / "a.zarr", block_images=5))
    assert LabelStore.open(tmp_path / "a.zarr").pending_blocks() == []
    assert store.spec.num_blocks == 4


@pytest.mark.parametrize("name", ["box", "flip", "palette", "slot", "code"])
def test_an_empty_shard_is_never_read_as_zeros(tmp_path, name):
    make_store(tmp_path / "s.zarr")
    block_files(tmp_path / "s.zarr")[name].write_bytes(b"")
    with pytest.raises(StoreError, match=f"block 1.*'{name}'"):
        read_all(LabelStore.open(tmp_path / "s.zarr"))


def test_what_a_power_cut_left_of_a_block_is_written_anew(tmp_path):
    _, blocks = make_store(tmp_path / "s.zarr")
    for file in [*block_files(tmp_path / "s.zarr").values()]:
        file.write_bytes(b"torn")
    (tmp_path / "s.zarr" / "done" / "c" / "1" / "0").write_bytes(b"")
    store = LabelStore.open(tmp_path / "s.zarr", writable=True)
    assert store.pending_blocks() == [1]
    assert store.num_bad() == 0
    store.commit_block(1, blocks[1])
    assert np.array_equal(LabelStore.open(tmp_path / "s.zarr").read_block(1).box, blocks[1].box)


@pytest.mark.parametrize("name", ["path", "class_name", "target", "num_bytes"])
@pytest.mark.parametrize("damage", ["delete", "empty"])
def test_lost_lists_are_never_read_as_zeros(tmp_path, name, damage):
    make_store(tmp_path / "s.zarr")
    file = tmp_path / "s.zarr" / name / "c" / "0"
    file.unlink() if damage == "delete" else file.write_bytes(b"")
    with pytest.raises(StoreError, match=f"array '{name}'.* is (missing|empty)"):
        read_everything(tmp_path / "s.zarr")
