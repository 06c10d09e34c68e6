"""Pieces of remote objects on this machine's disk: bounded, checked, and safe under many processes."""

import fcntl
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from hashlib import sha256
from pathlib import Path

import xxhash

from fkd.amounts import as_bytes
from fkd.errors import ConfigError
from fkd.machine import cache_folder
from fkd.progress import note_once

# A pass of m crops reads one inner chunk of an array and block, of 20 to 200 KB where labels are coded,
# and the next pass its neighbour. Such a piece is little more than the first asks for, and the second
# finds a good part of its own here. A request of this size takes about as long as one for a byte.
PIECE_BYTES = 256 * 2**10

_USUAL_GIB = 20.0
_IN_MEMORY = 128 * 2**20  # of pieces, where no disk takes them
_CHECKSUM = 16
_USED_AGAIN = 600.0  # seconds after which a piece that is read counts as used again
_TO_SHARE = 0.9  # of the bound, once it was passed
_LOOK_AFTER = 1 / 32  # of the bound: what a process writes before it looks at the folder


class Pieces:
    """The pieces of objects, each a file with its XXH3-128 before its bytes.

    `folder` holds at most about `bound` bytes of them: those that were used least recently go first. An
    object is named by a digest of its address and its tag, so a piece of another version is never read.
    Where nothing can be written, a few pieces are kept in memory.
    """

    def __init__(self, folder: Path, bound: int, piece_bytes: int = PIECE_BYTES) -> None:
        """Keep pieces below `folder`, which is made when the first one comes."""
        self.piece_bytes = piece_bytes
        self._folder, self._bound = folder, bound
        self._unlooked = bound  # so that the first piece leads to a look
        self._memory: OrderedDict[tuple[str, int], bytes] = OrderedDict()
        self._own_lock, self._process = threading.Lock(), os.getpid()

    @property
    def _lock(self) -> threading.Lock:
        """The lock of this process: one that a thread of the parent held would stay held in a fork."""
        if self._process != os.getpid():
            self._own_lock, self._process = threading.Lock(), os.getpid()
        return self._own_lock

    @classmethod
    def usual(cls) -> "Pieces":
        """Return the cache that the environment names: FKD_CACHE and FKD_CACHE_GIB (20; 0 for none)."""
        text = os.environ.get("FKD_CACHE_GIB", "")
        try:
            gib = float(text) if text else _USUAL_GIB
        except ValueError:
            gib = -1
        if not 0 <= gib < 2**20:
            raise ConfigError(
                f"FKD_CACHE_GIB is {text!r}; it must be a number of GiB, or 0 for none"
            )
        return cls(cache_folder() / "pieces", int(gib * 2**30))

    def numbers(self, start: int, stop: int) -> range:
        """Return the pieces that hold the bytes [start, stop) of an object."""
        return range(start // self.piece_bytes, -(-stop // self.piece_bytes))

    def has(self, of: str, number: int) -> bool:
        """Say whether a piece is here; a damaged one is found out when it is read."""
        return (of, number) in self._memory or os.path.exists(self._path(of, number))

    def read(self, of: str, number: int, count: int) -> bytes | None:
        """Return a piece of `count` bytes, or None where it is not here or damaged."""
        with self._lock:
            if (content := self._memory.get((of, number))) is not None:
                return content
        path = self._path(of, number)
        try:
            with path.open("rb") as file:
                kept, used = file.read(), os.fstat(file.fileno()).st_mtime
        except OSError:
            return None
        content = kept[_CHECKSUM:]
        if len(content) != count or kept[:_CHECKSUM] != _checksum(content):
            with suppress(OSError):
                path.unlink()
            return None
        if time.time() - used > _USED_AGAIN:
            with suppress(OSError):
                os.utime(path)
        return content

    def write(self, of: str, number: int, content: bytes) -> None:
        """Keep a piece: aside first, so that no other process finds half of it."""
        if not self._bound:
            self._remember(of, number, content)
            return
        path = self._path(of, number)
        aside = path.with_name(f".{number}.{os.getpid()}.{threading.get_ident()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_bytes(_checksum(content) + content)
            aside.replace(path)
        except OSError as error:
            with suppress(OSError):
                aside.unlink()
            note_missing(self._folder, error)
            self._remember(of, number, content)
            return
        with self._lock:
            self._unlooked += len(content)
            look = self._unlooked > self._bound * _LOOK_AFTER
            self._unlooked = 0 if look else self._unlooked
        if look:
            self._shrink()

    def forget(self, of: str, numbers: Iterable[int]) -> None:
        """Remove pieces."""
        for number in numbers:
            with self._lock:
                self._memory.pop((of, number), None)
            with suppress(OSError):
                self._path(of, number).unlink()

    def _path(self, of: str, number: int) -> Path:
        return self._folder / of[:2] / of / str(number)

    def _remember(self, of: str, number: int, content: bytes) -> None:
        with self._lock:
            self._memory[of, number] = content
            while len(self._memory) * self.piece_bytes > _IN_MEMORY:
                self._memory.popitem(last=False)

    def _shrink(self) -> None:
        """Remove the pieces that were used least recently, where all are more than the bound."""
        with _alone(self._folder / ".lock") as mine:
            if not mine:
                return  # another process does it
            found = sorted(_pieces(self._folder))
            total = sum(size for _, size, _ in found)
            if total <= self._bound:
                return
            for _, size, path in found:
                if total <= self._bound * _TO_SHARE:
                    break
                with suppress(OSError):
                    os.unlink(path)
                    total -= size
                with suppress(OSError):
                    os.rmdir(os.path.dirname(path))  # only where it was the last of its object


def name_of(where: str, key: str, tag: str, size: int) -> str:
    """Return the name under which pieces of an object are kept; nothing of its address can be read."""
    return sha256("\0".join((where, key, tag, str(size))).encode()).hexdigest()


def note_missing(folder: Path, error: OSError) -> None:
    """Say once in a process that nothing can be kept."""
    global _said
    if not _said:
        _said = True
        note_once(
            f"warning: labels from afar cannot be kept in {folder} ({error.strerror or error}); "
            f"{as_bytes(_IN_MEMORY)} are kept in memory (FKD_CACHE names another folder)"
        )


_said = False


def _checksum(content: bytes) -> bytes:
    return xxhash.xxh3_128_digest(content)


def _pieces(folder: Path) -> Iterator[tuple[float, int, str]]:
    """Yield when each piece was used, its bytes, and its path; what a killed process left, first."""
    for root, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(root, name)
            with suppress(OSError):
                status = os.stat(path)
                if name.isdecimal():
                    yield status.st_mtime, status.st_size, path
                elif name != ".lock" and time.time() - status.st_mtime > _USED_AGAIN:
                    yield 0.0, status.st_size, path


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Say whether this process has the lock, until the end of the `with` block; it does not wait."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        mine = True
    except OSError:
        mine = False
    try:
        yield mine
    finally:
        os.close(handle)
