"""The cache of pieces: bounded, checked, and of use where nothing can be written."""

import os
import time

import pytest

from fkd.errors import ConfigError
from fkd.files import Pieces

OBJECT, OTHER = "ab" * 32, "cd" * 32


def files_of(folder):
    return [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]


def test_a_damaged_piece_is_not_there(tmp_path):
    pieces = Pieces(tmp_path, 2**20, 100)
    pieces.write(OBJECT, 3, b"x" * 100)
    assert pieces.read(OBJECT, 3, 100) == b"x" * 100
    (path,) = files_of(tmp_path)
    whole = path.read_bytes()
    for damaged in (whole[:-1] + b"y", whole[:50], b"", whole + b"x"):
        path.write_bytes(damaged)
        assert pieces.read(OBJECT, 3, 100) is None
        assert not pieces.has(OBJECT, 3)


def test_the_least_recently_used_go_first(tmp_path):
    pieces = Pieces(tmp_path, 64 * 1000, 1000)
    for number in range(60):
        pieces.write(OBJECT, number, b"x" * 1000)
        os.utime(tmp_path / OBJECT[:2] / OBJECT / str(number), (0, time.time() - 5000 + number))
    assert pieces.read(OBJECT, 0, 1000)  # used again, long after it came
    for number in range(8):
        pieces.write(OTHER, number, b"y" * 1000)
    assert sum(path.stat().st_size for path in files_of(tmp_path)) <= 68_000
    assert pieces.has(OBJECT, 0)
    assert not pieces.has(OBJECT, 1)
    assert all(pieces.has(OTHER, number) for number in range(8))


def test_what_a_killed_process_left_goes_too(tmp_path):
    pieces = Pieces(tmp_path, 10_000, 1000)
    pieces.write(OBJECT, 0, b"x" * 1000)
    left = tmp_path / OBJECT[:2] / OBJECT / ".1.77.99"
    left.write_bytes(b"x" * 9000)
    os.utime(left, (0, 0))
    pieces.write(OBJECT, 1, b"x" * 1000)
    assert not left.exists()
    assert pieces.has(OBJECT, 0)


def test_where_nothing_can_be_written_pieces_are_in_memory(tmp_path, capsys):
    (tmp_path / "file").write_text("no folder")
    pieces = Pieces(tmp_path / "file" / "pieces", 2**20, 100)
    pieces.write(OBJECT, 0, b"x" * 100)
    assert pieces.read(OBJECT, 0, 100) == b"x" * 100
    assert pieces.has(OBJECT, 0)
    pieces.forget(OBJECT, [0])
    assert not pieces.has(OBJECT, 0)


def test_the_environment_bounds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("FKD_CACHE", str(tmp_path))
    monkeypatch.setenv("FKD_CACHE_GIB", "0")
    pieces = Pieces.usual()
    pieces.write(OBJECT, 0, b"x")
    assert not files_of(tmp_path)
    assert pieces.read(OBJECT, 0, 1) == b"x"
    monkeypatch.setenv("FKD_CACHE_GIB", "lots")
    with pytest.raises(ConfigError, match="FKD_CACHE_GIB is 'lots'"):
        Pieces.usual()
