"""Files whose keys begin alike, by the rest of their keys."""

from collections.abc import Iterable, Iterator, Sequence

from fkd.files.place import Files


class Within:
    """The objects of `files` whose keys begin with "name/"."""

    def __init__(self, files: Files, name: str) -> None:
        """Look at no object yet."""
        self._files, self._prefix = files, f"{name}/"
        self.where = f"{files.where}/{name}"

    def size(self, key: str) -> int:
        """Return the bytes of an object; raises `OSError`."""
        return self._files.size(self._prefix + key)

    def read(self, key: str, start: int = 0, stop: int | None = None) -> bytes:
        """Return the bytes [start, stop) of an object; a negative `start` counts from its end."""
        return self._files.read(self._prefix + key, start, stop)

    def read_parts(self, key: str, parts: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several parts, (start, stop) each, of one object."""
        return self._files.read_parts(self._prefix + key, parts)

    def keys(self) -> Iterator[str]:
        """Yield every object."""
        for key in self._files.keys():  # noqa: SIM118  not a mapping
            if key.startswith(self._prefix):
                yield key.removeprefix(self._prefix)

    def flaw(self, key: str) -> str | None:
        """Say why an object must not be read, or return None."""
        return self._files.flaw(self._prefix + key)

    def bytes_on_disk(self, key: str) -> int:
        """Return the bytes that an object takes."""
        return self._files.bytes_on_disk(self._prefix + key)

    def below(self, name: str) -> "Within":
        """Return the objects whose keys begin with "name/"."""
        return Within(self._files, self._prefix + name)

    def bring(self, wanted: Iterable[tuple[str, int, int | None]]) -> None:
        """Have ranges of objects near, many at once."""
        self._files.bring((self._prefix + key, start, stop) for key, start, stop in wanted)

    def is_near(self, key: str) -> bool:
        """Say whether all bytes of an object can be read without a network."""
        return self._files.is_near(self._prefix + key)

    def forget(self, keys: Iterable[str]) -> None:
        """Drop what a cache holds of objects that turned out damaged."""
        self._files.forget(self._prefix + key for key in keys)
