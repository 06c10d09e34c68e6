"""What holds the objects of a store, as whoever reads them sees it."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol


class Files(Protocol):
    """Objects by key: "zarr.json", "slot/c/3/0/0". Any thread may read.

    What cannot be read raises `OSError`, and what is not there `FileNotFoundError`.
    """

    @property
    def where(self) -> str:
        """The place, for a message: a path, or an address without secrets."""
        ...

    def size(self, key: str) -> int:
        """Return the bytes of an object."""
        ...

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes of an object from `start` to `stop`; a negative start counts from its end."""
        ...

    def read_parts(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several parts, (start, stop) each, of one object."""
        ...

    def keys(self) -> Iterator[str]:
        """Yield the key of every object, in no order."""
        ...

    def flaw(self, key: str) -> str | None:
        """Say why an object must not be read, as where a link leads elsewhere, or return None."""
        ...

    def bytes_on_disk(self, key: str) -> int:
        """Return the bytes that an object takes, which of a sparse file are fewer than its size."""
        ...

    def below(self, name: str) -> "Files":
        """Return the objects whose keys begin with a name and a slash, by the rest of their keys."""
        ...

    def bring(self, wanted: Iterable[tuple[str, int, int | None]]) -> None:
        """Have parts of objects, (key, start, stop) each, near before they are read, many at once.

        What fails is left for the reading to tell.
        """
        ...

    def is_near(self, key: str) -> bool:
        """Say whether all of an object can be read without a network."""
        ...

    def forget(self, keys: Iterable[str]) -> None:
        """Drop what is kept here of objects that lie elsewhere, since it turned out damaged."""
        ...
