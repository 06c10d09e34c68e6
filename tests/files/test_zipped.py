"""A zip of a store is read as zarr reads it; one that could be read in two ways is refused."""

import os
import pickle
import struct
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import zarr

from fkd.errors import StoreError
from fkd.files import LocalBlob, Zipped


@pytest.fixture
def archive(tmp_path):
    """An archive by zarr's own ZipStore, of a group with an array in four chunks."""
    path = tmp_path / "labels.zip"
    store = zarr.storage.ZipStore(path, mode="w")
    array = zarr.create_group(store).create_array("x", shape=(40, 5), chunks=(10, 5), dtype="f4")
    array[:] = np.arange(200).reshape(40, 5)
    store.close()
    return path


def made(path, members, **settings):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile tells of doubled names
        with zipfile.ZipFile(path, "w", **settings) as file:
            for name, content in members:
                file.writestr(name, content)
    return path


def refusal(path):
    with pytest.raises(StoreError) as refused:
        Zipped(LocalBlob(path))
    text = str(refused.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_what_zarr_writes_is_read_by_ranges(archive):
    files = Zipped(LocalBlob(archive))
    with zipfile.ZipFile(archive) as file:
        assert sorted(files.keys()) == sorted(file.namelist())
        for name in file.namelist():
            whole = file.read(name)
            assert files.size(name) == len(whole)
            assert files.read(name) == whole
            assert files.read(name, 3, 9) == whole[3:9]
            assert files.read(name, -4) == whole[-4:]
            assert files.read(name, 5, len(whole) + 99) == whole[5:]
            assert files.is_near(name)
            assert files.flaw(name) is None
    assert files.below("x").read("zarr.json") == files.read("x/zarr.json")
    assert sorted(files.below("x").below("c").keys()) == ["0/0", "1/0", "2/0", "3/0"]
    for ask in (files.size, files.read):
        with pytest.raises(FileNotFoundError):
            ask("x/c/9/0")


def test_threads_and_pickles_read_the_same(archive):
    files = Zipped(LocalBlob(archive))
    again = pickle.loads(pickle.dumps(files))
    names = [*files.keys()] * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(files.read, names)) == [again.read(name) for name in names]


def test_members_of_zip64_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(
        zipfile, "ZIP_FILECOUNT_LIMIT", 3
    )  # as if more were too many for a short end
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 40)
    path = made(tmp_path / "many.zip", [(f"c/{n}", str(n) * 50) for n in range(9)])
    assert b"PK\6\6" in path.read_bytes()
    files = Zipped(LocalBlob(path))
    assert len(list(files.keys())) == 9
    assert files.read("c/8") == b"8" * 50
    files.bring([("c/8", 0, None)])


def test_an_archive_that_begins_after_other_bytes_is_read(archive):
    archive.write_bytes(b"#!/bin/sh\n" * 9 + archive.read_bytes())
    assert Zipped(LocalBlob(archive)).read("x/zarr.json")[:1] == b"{"


def test_compressed_members_are_refused(tmp_path):
    path = made(tmp_path / "a.zip", [("zarr.json", "{}" * 99)], compression=zipfile.ZIP_DEFLATED)
    assert "'zarr.json' is compressed" in refusal(path)


def test_doubled_members_are_refused(tmp_path):
    path = made(tmp_path / "a.zip", [("zarr.json", "1"), ("zarr.json", "2")])
    assert "two members 'zarr.json'" in refusal(path)


@pytest.mark.parametrize("name", ["../zarr.json", "/zarr.json", "a//b", "a/./b", "C:/x", "a\\b"])
def test_names_that_lead_out_are_refused(tmp_path, name):
    path = made(tmp_path / "a.zip", [(name, "1")])
    assert "leads out of it" in refusal(path)


def test_a_link_is_named(tmp_path):
    info = zipfile.ZipInfo("done")
    info.create_system, info.external_attr = 3, 0o120777 << 16
    path = made(tmp_path / "a.zip", [(info, "/etc/passwd"), ("zarr.json", "{}")])
    files = Zipped(LocalBlob(path))
    assert "done is a link" in files.flaw("done")
    assert files.flaw("zarr.json") is None


def test_encrypted_members_are_refused(tmp_path):
    path = made(tmp_path / "a.zip", [("zarr.json", "{}")])
    content = bytearray(path.read_bytes())
    content[content.index(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert "encrypted" in refusal(path)


def test_overlapping_members_are_refused(tmp_path):
    path = made(tmp_path / "a.zip", [("a", "1" * 50), ("b", "2" * 50)])
    content = bytearray(path.read_bytes())
    second = content.index(b"PK\1\2", content.index(b"PK\1\2") + 1)
    struct.pack_into("<I", content, second + 42, 10)  # the second begins in the middle of the first
    path.write_bytes(content)
    assert "reaches into what follows it" in refusal(path)


def test_an_archive_cut_short_is_refused(archive):
    whole = archive.read_bytes()
    for count in (0, 10, len(whole) // 2, len(whole) - 1):
        archive.write_bytes(whole[:count])
        assert "no whole zip archive" in refusal(archive)


def test_a_member_elsewhere_than_its_directory_says_is_an_error(archive):
    content = bytearray(archive.read_bytes())
    content[content.index(b"x/c/2/0")] = ord("y")  # the name in the member's own header
    archive.write_bytes(content)
    files = Zipped(LocalBlob(archive))
    with pytest.raises(OSError, match="x/c/2/0 is not where"):
        files.read("x/c/2/0")
    assert files.read("x/c/1/0")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    with pytest.raises(OSError, match="no plain file"):
        LocalBlob(tmp_path / "a.zip")


def test_an_archive_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        LocalBlob(tmp_path / "none.zip")
