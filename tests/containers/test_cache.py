"""The index of a container is kept, and used only while its files are the same."""

import os

import numpy as np
import pytest
from helpers.sources import write_tar

from fkd.archives import indexing
from fkd.machine import cache_folder
from fkd.sources import list_images

FILES = [(f"{kind}/{n}.jpg", b"%d" % n * 9) for kind in "ab" for n in range(3)]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("FKD_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def scans(monkeypatch):
    """Count how often an archive is read through."""
    made = []
    scan = indexing.SCANS[".tar"]
    monkeypatch.setitem(indexing.SCANS, ".tar", lambda *a: made.append(1) or scan(*a))
    return made


def test_an_archive_is_read_through_once(tmp_path, scans):
    path = write_tar(tmp_path / "x.tar", FILES)
    assert list_images(path).paths == list_images(path).paths
    assert len(scans) == 1
    assert cache_folder() == tmp_path / "cache"


def test_an_archive_that_changed_is_read_again(tmp_path, scans):
    path = write_tar(tmp_path / "x.tar", FILES)
    list_images(path)
    write_tar(path, [*FILES, ("b/9.jpg", b"new")])
    assert len(list_images(path)) == 7
    os.utime(path, ns=(1, 1))
    list_images(path)
    assert len(scans) == 3


def test_a_file_of_class_names_belongs_to_the_index(tmp_path):
    path = write_tar(tmp_path / "x.tar", [("a.jpg", b"x"), ("a.cls", b"1")])
    assert list_images(path).classes == ("1",)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    assert list_images(path).classes == ("cat", "dog")


def damage(path, how):
    content = bytearray(path.read_bytes())
    if how == "cut short":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        content[len(content) // 2] ^= 255
        path.write_bytes(content)
    elif how == "emptied":
        path.write_bytes(b"")
    else:
        with np.load(path) as kept:
            arrays = dict(kept)
        arrays["piece"] = arrays["piece"] + 7
        np.savez(path, **arrays)


@pytest.mark.parametrize("how", ["cut short", "flipped", "emptied", "out of range"])
def test_an_index_that_is_damaged_is_made_again(tmp_path, cache, scans, how):
    path = write_tar(tmp_path / "x.tar", FILES)
    expected = [list_images(path).read(n) for n in range(6)]
    damage(next(cache.rglob("*.npz")), how)
    images = list_images(path)
    assert [images.read(n) for n in range(6)] == expected
    assert len(scans) == (1 if how == "nothing" else 2)


def test_without_a_cache_the_index_is_made_each_time(tmp_path, cache, capsys, scans):
    cache.write_text("a file in the way")
    path = write_tar(tmp_path / "x.tar", FILES)
    assert len(list_images(path)) == len(list_images(path)) == 6
    assert len(scans) == 2
    assert "warning: the index of the images cannot be kept" in capsys.readouterr().err


def test_a_user_without_a_home_keeps_nothing(tmp_path, monkeypatch, capsys):
    for name in ("FKD_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(os.path, "expanduser", lambda path: path)
    assert len(list_images(write_tar(tmp_path / "x.tar", FILES))) == len(FILES)
    assert "cannot be kept" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["x.tar"]
