"""Damage to a store, swept over its bytes: what is read is what was committed, or an error."""

import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import pytest
from helpers.stores import block_files, make_store, read_everything, write_store

from fkd import LabelStore
from fkd.errors import StoreError

WHOLE = ["path", "class_name", "target", "num_bytes"]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A complete store that no test may change, and all that it holds."""
    path = tmp_path_factory.mktemp("pristine") / "s.zarr"
    make_store(path)
    return path, read_everything(path)


@pytest.fixture
def store(pristine, tmp_path):
    return shutil.copytree(pristine[0], tmp_path / "s.zarr")


def same(one, other):
    """Say whether two results of `read_everything` are equal."""
    fields = ("box", "flip", "size", "target")
    return (
        one[:2] == other[:2]
        and np.array_equal(one[2], other[2])
        and all(np.array_equal(getattr(one[3], f), getattr(other[3], f)) for f in fields)
        and all(np.array_equal(one[3].kept[k], v) for k, v in other[3].kept.items())
    )


def read_or_refuse(path):
    try:
        return read_everything(path)
    except StoreError:
        return None


@pytest.mark.parametrize("name", ["box", "flip", "palette", "slot", "code", "size", "status"])
def test_no_flipped_byte_is_read_as_something_else(pristine, store, name):
    """The ends hold headers and checksums, the middle holds data; 12 places a file."""
    file = block_files(store)[name]
    content = file.read_bytes()
    for place in sorted(set(np.linspace(0, len(content) - 1, 12).astype(int).tolist())):
        damaged = bytearray(content)
        damaged[place] ^= 0x01
        file.write_bytes(damaged)
        found = read_or_refuse(store)
        assert found is None or same(found, pristine[1]), f"byte {place} of {len(content)}"
    file.write_bytes(content)
    assert same(read_everything(store), pristine[1])


@pytest.mark.parametrize("name", ["box", "flip", "palette", "slot", "code", "size", "status"])
@pytest.mark.parametrize("left", [1, -1])
def test_a_file_cut_anywhere_is_refused(store, name, left):
    file = block_files(store)[name]
    file.write_bytes(file.read_bytes()[:left])
    with pytest.raises(StoreError, match=f"block 1.*'{name}'"):
        read_everything(store)


@pytest.mark.parametrize("name", ["box", "flip", "palette", "slot", "code"])
def test_a_shard_cut_to_nothing_is_refused(store, name):
    """What a power cut leaves of a file whose name reached the disk before its content."""
    block_files(store)[name].write_bytes(b"")
    with pytest.raises(StoreError, match=f"block 1.*'{name}'"):
        read_everything(store)


@pytest.mark.parametrize("name", ["size", "status"])
def test_a_chunk_cut_to_nothing_is_refused(store, name):
    block_files(store)[name].write_bytes(b"")
    with pytest.raises(StoreError, match=f"block 1.*'{name}'"):
        read_everything(store)


def test_no_changed_byte_of_the_attributes_is_believed(pristine, store):
    """Every 23rd byte of the root's zarr.json; a change of white space alone may pass."""
    file, spec = store / "zarr.json", LabelStore.open(pristine[0]).spec
    content = file.read_bytes()
    for place in range(0, len(content), 23):
        damaged = bytearray(content)
        damaged[place] ^= 0x02
        file.write_bytes(damaged)
        try:
            found = LabelStore.open(store).spec
        except StoreError:
            continue
        assert found == spec, f"byte {place}: {content[place - 20 : place + 20]}"


@pytest.mark.parametrize("name", ["box", "target", "done"])
def test_an_array_of_another_shape_is_refused(store, name):
    file = store / name / "zarr.json"
    content = json.loads(file.read_text())
    content["shape"][0] += 1
    file.write_text(json.dumps(content))
    with pytest.raises(StoreError, match=f"{name}/zarr.json is damaged"):
        LabelStore.open(store)


@pytest.mark.parametrize("lost", ["zarr.json", "code/zarr.json", "target/zarr.json"])
def test_lost_metadata_is_refused(store, lost):
    (store / lost).unlink()
    with pytest.raises(StoreError):
        LabelStore.open(store)


@pytest.mark.parametrize("name", WHOLE)
def test_a_lost_file_of_the_whole_store_is_no_zeros(store, name):
    shutil.rmtree(store / name / "c")
    with pytest.raises(StoreError, match=name):
        read_everything(store)


def test_a_reader_sees_a_commit_when_it_opens_again(tmp_path):
    make_store(tmp_path / "s.zarr", skip=(2,))
    reader = LabelStore.open(tmp_path / "s.zarr")
    writer = LabelStore.open(tmp_path / "s.zarr", writable=True)
    blocks = make_store(tmp_path / "other.zarr")[1]
    writer.commit_block(2, blocks[2])
    assert reader.pending_blocks() == [2]
    again = LabelStore.open(tmp_path / "s.zarr")
    assert again.pending_blocks() == []
    assert np.array_equal(again.read_block(2).box, blocks[2].box)


def test_a_store_that_cannot_be_made_leaves_nothing(tmp_path):
    """A file in the way stops every user, root too."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(StoreError, match="cannot be created"):
        write_store(tmp_path / "file" / "s.zarr")
    assert [p.name for p in tmp_path.rglob("*")] == ["file"]


def test_a_pipe_in_the_place_of_a_seal_is_not_waited_for(store):
    """The fuzzer found a reader that opened it, and waited for ever."""
    seal = store / "done" / "c" / "0" / "0"
    seal.unlink()
    os.mkfifo(seal)
    assert LabelStore.open(store).pending_blocks() == [0]
    with pytest.raises(StoreError, match="no plain file"):
        LabelStore.open(store, writable=True)


def test_what_another_labeller_moves_away_meanwhile_is_no_fault(store):
    """A part is written beside its place and renamed into it, while a second labeller looks around."""
    script = "import os, sys\nwhile True: open(sys.argv[1], 'w').close(); os.unlink(sys.argv[1])"
    part = store / "content_hash" / "c" / "7.00.partial"
    with subprocess.Popen([sys.executable, "-c", script, str(part)]) as writer:
        try:
            deadline = time.monotonic() + 60
            while not part.exists():
                assert time.monotonic() < deadline
            for _ in range(100):
                LabelStore.open(store, writable=True)
        finally:
            writer.kill()
