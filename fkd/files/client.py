"""Requests to a bucket or a web server: many at once, tried again, and refused in one clear line.

obstore speaks to all of them. Its threads are of one process: `errand` has what a forked one does.
"""

import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any, NamedTuple, Protocol, TypeVar

from fkd.config import Url
from fkd.errors import first_line
from fkd.files.address import Patience, connect

T = TypeVar("T")

# The most bytes of one request: of an object that is read whole, several are under way at once.
_REQUEST_BYTES = 8 * 2**20

# Requests in flight: the time of a round trip passes once for so many of them.
AT_ONCE = 32

# What a server without ranges sends in full, at most.
_WHOLE_AT_MOST = 64 * 2**20

_LISTED = ("s3", "gs")
_LISTS_AGAIN = 3  # of a list that was cut; obstore itself makes other requests again


class Facts(NamedTuple):
    """What a server says of an object: its bytes, and a tag that changes when it is written anew."""

    size: int
    tag: str


class Part(NamedTuple):
    """The bytes [start, stop) of an object; `stop` is None for all from `start` on."""

    key: str
    start: int
    stop: int | None


class Client(Protocol):
    """Who makes the requests. What fails is an `OSError` in the place of its result."""

    def listed(self) -> dict[str, Facts] | None:
        """Return every object by key; None where nothing can be listed."""

    def facts(self, keys: Sequence[str]) -> list[Facts | OSError]:
        """Ask about objects, all at once."""

    def parts(self, wanted: Sequence[Part]) -> list[tuple[bytes, Facts] | OSError]:
        """Get parts of objects, all at once."""

    def put(self, key: str, content: bytes | os.PathLike[str]) -> None:
        """Write an object whole; raises `OSError`."""

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; raises `OSError`."""


class Direct:
    """Requests from this process."""

    # The process whose threads obstore has; there is none before the first request.
    started_in: int | None = None

    def __init__(self, url: Url, patience: Patience) -> None:
        """Speak to the server of `url`, which is the folder of the keys. No request is made yet."""
        self._url = url
        self._store, self._longest = connect(url, patience), patience.longest
        self._pool: ThreadPoolExecutor | None = None
        self._lock = threading.Lock()
        Direct.started_in = os.getpid()

    def listed(self) -> dict[str, Facts] | None:
        """Return every object by key; None where nothing can be listed."""
        if self._url.partition(":")[0] not in _LISTED:
            return None
        deadline = time.monotonic() + self._longest
        for again in range(_LISTS_AGAIN, -1, -1):
            try:
                pages = list(self._store.list())
            except Exception as error:
                failed = self._failure("", error)
                if isinstance(failed, PermissionError):
                    return None  # a public bucket may give objects and no list
                if not again or time.monotonic() > deadline:  # a server that is silent stays so
                    raise failed from error
            else:
                return {meta["path"]: _facts(meta) for page in pages for meta in page}
        return None

    def facts(self, keys: Sequence[str]) -> list[Facts | OSError]:
        """Ask about objects, all at once."""
        return self._each(lambda key: _facts(self._store.head(key)), keys, lambda key: key)

    def parts(self, wanted: Sequence[Part]) -> list[tuple[bytes, Facts] | OSError]:
        """Get parts of objects, all at once."""
        return self._each(self._part, wanted, lambda part: part.key)

    def _part(self, part: Part) -> tuple[bytes, Facts]:
        if part.start == 0 and part.stop is None:
            got = self._store.get(part.key)
            return bytes(got.bytes()), _facts(got.meta)
        bounds: Any = {"offset": part.start} if part.stop is None else (part.start, part.stop)
        try:
            got = self._store.get(part.key, options={"range": bounds})
            return bytes(got.bytes()), _facts(got.meta)
        except Exception as error:
            if not _wants_no_ranges(error):
                raise
        facts = _facts(self._store.head(part.key))
        if facts.size > _WHOLE_AT_MOST:
            raise OSError("the server sends no ranges of it; put the store elsewhere")
        content = bytes(self._store.get(part.key).bytes())
        return content[part.start : part.stop], facts

    def put(self, key: str, content: bytes | os.PathLike[str]) -> None:
        """Write an object whole; raises `OSError`."""
        try:
            self._store.put(key, content)  # type: ignore[arg-type]  # a path is one of its kinds
        except Exception as error:
            raise self._failure(key, error) from error

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; raises `OSError`."""
        try:
            if keys:
                self._store.delete(list(keys))
        except Exception as error:
            raise self._failure(keys[0], error) from error

    def _each(
        self, ask: Callable[[T], Any], asked: Sequence[T], key_of: Callable[[T], str]
    ) -> list[Any]:
        def answer(one: T) -> Any:
            try:
                return ask(one)
            except Exception as error:  # obstore's, whatever they are
                return self._failure(key_of(one), error)

        if len(asked) == 1:
            return [answer(asked[0])]
        with self._lock:
            self._pool = self._pool or ThreadPoolExecutor(AT_ONCE, "fkd-fetch")
        return list(self._pool.map(answer, asked))

    def _failure(self, key: str, error: Exception) -> OSError:
        """Return what went wrong in our words: obstore's may quote an address that is signed."""
        where = f"{self._url}/{key}" if key else str(self._url)
        text = str(error)
        kind, status = type(error).__name__, re.search(r"status code: (\d{3}[\w ]*)", text)
        if isinstance(error, FileNotFoundError):
            return FileNotFoundError(f"{where} is not there")
        if kind in _DENIED or (status and status[1].startswith(("401", "403"))):
            return PermissionError(f"{where}: access denied{_remedy(self._url)}")
        if status:
            return OSError(f"{where}: the server says {status[1].strip()}; try again later")
        if kind in ("GenericError", "JoinError"):
            return OSError(f"{where}: {_of_network(text)}")
        return OSError(f"{where}: {first_line(error)}" if isinstance(error, OSError) else where)


def _wants_no_ranges(error: Exception) -> bool:
    return type(error).__name__ == "NotSupportedError" or "non-partial" in first_line(error)


_DENIED = ("PermissionDeniedError", "UnauthenticatedError")


def _of_network(text: str) -> str:
    if "credential" in text.lower() or "169.254" in text:
        return "no credentials were found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or " + (
            "AWS_SKIP_SIGNATURE=true for a public bucket"
        )
    if "timed out" in text or "Timeout" in text:
        return (
            "the server did not answer in time, again and again; see to the network and try again"
        )
    return (
        "the connection failed, again and again; see to the address and the network, and try again"
    )


def _remedy(url: Url) -> str:
    if url.startswith("hf:"):
        return "; set HF_TOKEN to a token that may read it"
    if url.startswith("s3:"):
        return (
            "; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_SKIP_SIGNATURE=true for a public "
            "bucket"
        )
    return "; see to the permissions"


def _facts(meta: Any) -> Facts:
    """Return size and tag: an entity tag without its quotes, which lists leave out, or a time."""
    tag = (meta["e_tag"] or "").removeprefix("W/").strip('"')
    return Facts(int(meta["size"]), tag or meta["last_modified"].isoformat())


def runs(numbers: Sequence[int], each: int) -> Iterator[range]:
    """Yield runs of neighbouring pieces, each of a request's bytes at most."""
    at_most = max(1, _REQUEST_BYTES // each)
    for _, group in groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0]):
        run = [number for _, number in group]
        for first in range(0, len(run), at_most):
            yield range(run[first], run[min(first + at_most, len(run)) - 1] + 1)


def cut(part: Part) -> list[Part]:
    """Return a part of an object as parts of a request's bytes at most."""
    assert part.stop is not None
    starts = range(part.start, part.stop, _REQUEST_BYTES)
    return [Part(part.key, s, min(s + _REQUEST_BYTES, part.stop)) for s in starts]
