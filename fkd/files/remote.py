"""The files of a store in a bucket or on a web server, read by ranges through a cache here."""

import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from fkd.config import Url
from fkd.files.address import PATIENCE, Patience
from fkd.files.cache import Pieces, name_of
from fkd.files.client import Client, Direct, Facts, Part, cut, runs
from fkd.files.errand import Errands
from fkd.files.within import Within


class Remote:
    """The objects below an address, each by its key.

    Ranges are read in whole pieces, which are kept on disk. With no `pieces` nothing is kept. An object
    that changes while the store is open is an error.
    """

    def __init__(
        self,
        url: Url,
        pieces: Pieces | None = None,
        *,
        patience: Patience = PATIENCE,
        listing: bool = True,
    ) -> None:
        """Read what is below `url`. Of objects that need no `listing`, each is asked about alone."""
        self.url, self.where = url, str(url)
        self._pieces, self._patience, self._listing = pieces, patience, listing
        self._known: dict[str, Facts | OSError] = {}
        self._complete = False  # all objects are known
        self._asked = not listing
        self._lock = threading.RLock()
        self._client: Client | None = None
        self._process = -1

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process has its own connections, and its own cache of the same pieces.
        return _again, (self.url, self._pieces is not None, self._patience, self._listing)

    def client(self) -> Client:
        """Return who makes this process's requests: obstore's threads do not live on in a fork."""
        if self._process != os.getpid():
            self._lock = threading.RLock()  # one that a thread of the parent held would stay held
            forked = Direct.started_in not in (None, os.getpid())
            self._client = (Errands if forked else Direct)(self.url, self._patience)
            self._process = os.getpid()
        assert self._client is not None
        return self._client

    # -- Files -------------------------------------------------------------------------------------

    def size(self, key: str) -> int:
        """Return the bytes of an object; raises `OSError`."""
        return self._facts(key).size

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes [start, stop) of an object; a negative `start` counts from its end."""
        facts = self._facts(key)
        start = max(0, facts.size + start) if start < 0 else start
        stop = facts.size if stop is None else min(stop, facts.size)
        if start >= stop:
            return b""
        if self._pieces is None:
            return b"".join(self._fetched(cut(Part(key, start, stop))))
        numbers = self._pieces.numbers(start, stop)
        name = self._name(key, facts)
        have = {n: self._pieces.read(name, n, self._piece_size(facts, n)) for n in numbers}
        self._get({key: [n for n, content in have.items() if content is None]}, into=have)
        first = numbers.start * self._pieces.piece_bytes
        whole = b"".join(content for content in have.values() if content is not None)
        return whole[start - first : stop - first]

    def read_parts(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several parts, (start, stop) each, of one object."""
        self.bring((key, start, stop) for start, stop in parts)
        return [self.read(key, start, stop) for start, stop in parts]

    def keys(self) -> Iterator[str]:
        """Yield every object; raises `OSError` where the server has no lists."""
        self._list()
        if not self._complete:
            raise OSError(
                f"{self.where}: this server does not list what it has; name a .zip there, or use a bucket"
            )
        yield from self._known

    def flaw(self, key: str) -> str | None:
        """Return None: an object is never a link."""
        return None

    def bytes_on_disk(self, key: str) -> int:
        """Return the bytes of an object, which is never sparse."""
        return self.size(key)

    def below(self, name: str) -> Within:
        """Return the objects whose keys begin with "name/", by the rest of their keys."""
        return Within(self, name)

    def bring(self, wanted: Iterable[tuple[str, int, int | None]]) -> None:
        """Have ranges of objects here, with many requests at once; what is not there is left out."""
        if self._pieces is None:
            return
        wanted = list(wanted)
        self._ask({key for key, _, _ in wanted})
        missing: dict[str, set[int]] = {}
        for key, start, stop in wanted:
            facts = self._known.get(key)
            if not isinstance(facts, Facts):
                continue  # the reader will say so
            first = max(0, facts.size + start) if start < 0 else start
            last = facts.size if stop is None else min(stop, facts.size)
            name = self._name(key, facts)
            numbers = missing.setdefault(key, set())
            numbers |= {
                n for n in self._pieces.numbers(first, last) if not self._pieces.has(name, n)
            }
        self._get({key: sorted(numbers) for key, numbers in missing.items()})

    def is_near(self, key: str) -> bool:
        """Say whether all bytes of an object are in the cache."""
        return self.has(key, 0, None)

    def forget(self, keys: Iterable[str]) -> None:
        """Remove objects from the cache."""
        for key in keys:
            self.drop(key, 0, None)

    # -- parts of objects --------------------------------------------------------------------------

    def has(self, key: str, start: int, stop: int | None) -> bool:
        """Say whether the bytes [start, stop) of an object are in the cache."""
        facts = self._facts(key)
        if self._pieces is None:
            return False
        name = self._name(key, facts)
        numbers = self._pieces.numbers(start, facts.size if stop is None else stop)
        return all(self._pieces.has(name, n) for n in reversed(numbers))

    def drop(self, key: str, start: int, stop: int | None) -> None:
        """Remove the bytes [start, stop) of an object from the cache."""
        if self._pieces is not None:
            facts = self._facts(key)
            numbers = self._pieces.numbers(start, facts.size if stop is None else stop)
            self._pieces.forget(self._name(key, facts), numbers)

    def _facts(self, key: str) -> Facts:
        self._ask([key])
        facts = self._known.get(key)
        if facts is None:
            raise FileNotFoundError(f"{self.where}/{key} is not there")
        if isinstance(facts, OSError):
            raise facts
        return facts

    def _ask(self, keys: Iterable[str]) -> None:
        """Learn the sizes and tags of objects: of all by a list, or of each of these."""
        if not self._asked:
            self._list()
        if self._complete:
            return
        new = [key for key in keys if not isinstance(self._known.get(key), Facts)]
        if new:
            told = dict(zip(new, self.client().facts(new), strict=True))
            self._known.update(told)
            if any(isinstance(facts, Facts) for facts in self._known.values()):
                # Amazon denies what is not there to those who may not list a bucket that they may read.
                for key, facts in told.items():
                    if isinstance(facts, PermissionError):
                        self._known[key] = FileNotFoundError(f"{self.where}/{key} is not there")

    def _list(self) -> None:
        client = self.client()
        with self._lock:
            if self._asked:
                return
            listed = client.listed()
            if listed is not None:
                self._known.update(listed)
                self._complete = True
            self._asked = True

    def _get(
        self, missing: dict[str, list[int]], into: dict[int, bytes | None] | None = None
    ) -> None:
        """Fetch pieces, neighbours together, and keep them; `into` gets those of one object."""
        assert self._pieces is not None
        each = self._pieces.piece_bytes
        asked = [(key, run) for key, numbers in missing.items() for run in runs(numbers, each)]
        parts = [
            Part(key, run.start * each, min(run.stop * each, self._facts(key).size))
            for key, run in asked
        ]
        for (key, run), content in zip(asked, self._fetched(parts), strict=True):
            name = self._name(key, self._facts(key))
            for n in run:
                piece = content[(n - run.start) * each : (n - run.start + 1) * each]
                self._pieces.write(name, n, piece)
                if into is not None:
                    into[n] = piece

    def _fetched(self, parts: Sequence[Part]) -> Iterator[bytes]:
        """Yield parts of objects that are still what they were; raises `OSError`."""
        at_once = 64  # so that what waits to be kept is bounded
        for first in range(0, len(parts), at_once):
            some = parts[first : first + at_once]
            for part, got in zip(some, self.client().parts(some), strict=True):
                if isinstance(got, OSError):
                    raise got
                content, facts = got
                self._require_same(part, facts)
                assert part.stop is not None
                if len(content) != part.stop - part.start:
                    raise OSError(
                        f"{self.where}/{part.key}: {len(content):,} bytes came where "
                        f"{part.stop - part.start:,} were asked for; upload the object again"
                    )
                yield content

    def _require_same(self, part: Part, facts: Facts) -> None:
        if facts != self._facts(part.key):
            raise OSError(
                f"{self.where}/{part.key} has changed since it was first looked at; wait until whoever "
                "writes it is done, and start again"
            )

    def _name(self, key: str, facts: Facts) -> str:
        return name_of(self.where, key, facts.tag, facts.size)

    def _piece_size(self, facts: Facts, number: int) -> int:
        assert self._pieces is not None
        return min(self._pieces.piece_bytes, facts.size - number * self._pieces.piece_bytes)


def _again(url: Url, kept: bool, patience: Patience, listing: bool) -> Remote:
    return Remote(url, Pieces.usual() if kept else None, patience=patience, listing=listing)
