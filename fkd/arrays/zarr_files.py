"""The files of a store that is no folder, as zarr reads them. Nothing is written."""

from collections.abc import AsyncIterator, Iterable

from zarr.abc.store import (
    ByteRequest,
    OffsetByteRequest,
    RangeByteRequest,
    Store,
    SuffixByteRequest,
)
from zarr.core.buffer import Buffer, BufferPrototype

from fkd.files import Files


class ZarrFiles(Store):
    """Objects of `files`, by their keys. What is read should be near: zarr waits for each."""

    def __init__(self, files: Files) -> None:
        super().__init__(read_only=True)
        self._files = files

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZarrFiles) and self._files is other._files

    def __hash__(self) -> int:
        return id(self._files)

    async def get(
        self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        """Return an object, or a range of it; None where it is not there."""
        start, stop = _bounds(byte_range)
        try:
            return prototype.buffer.from_bytes(self._files.read(key, start, stop))
        except FileNotFoundError:
            return None

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        """Return several objects or ranges."""
        return [await self.get(key, prototype, bounds) for key, bounds in key_ranges]

    async def exists(self, key: str) -> bool:
        """Say whether an object is there."""
        try:
            self._files.size(key)
        except FileNotFoundError:
            return False
        return True

    @property
    def supports_writes(self) -> bool:
        """Return False."""
        return False

    @property
    def supports_deletes(self) -> bool:
        """Return False."""
        return False

    @property
    def supports_listing(self) -> bool:
        """Return False: a store's layout says what it has."""
        return False

    async def set(self, key: str, value: Buffer) -> None:
        """Refuse to write."""
        raise NotImplementedError

    async def delete(self, key: str) -> None:
        """Refuse to write."""
        raise NotImplementedError

    def list(self) -> AsyncIterator[str]:
        """Refuse to list."""
        raise NotImplementedError

    def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        """Refuse to list."""
        raise NotImplementedError

    def list_dir(self, prefix: str) -> AsyncIterator[str]:
        """Refuse to list."""
        raise NotImplementedError


def _bounds(asked: ByteRequest | None) -> tuple[int, int | None]:
    match asked:
        case RangeByteRequest(start, end):
            return start, end
        case OffsetByteRequest(offset):
            return offset, None
        case SuffixByteRequest(suffix):
            return -suffix, None
        case _:
            return 0, None
