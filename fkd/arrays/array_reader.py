"""Reading parts of a segment's arrays: what is damaged or missing is an error that names its block."""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from fkd.arrays.block_files import WHOLE_REMEDY, BlockFiles
from fkd.arrays.zarr_arrays import Arrays
from fkd.errors import BlockError, StoreError, codec_words, first_line
from fkd.format import ArrayLayout
from fkd.labels import StoredArray


class ArrayReader:
    """Reads arrays, whatever their values; `seals` has the SHA-256 of every block that may be read."""

    def __init__(
        self,
        where: str,
        layouts: Mapping[str, ArrayLayout],
        arrays: Arrays,
        files: BlockFiles,
        seals: Mapping[int, bytes],
    ) -> None:
        """Take what a segment consists of."""
        self._where, self._layouts = where, layouts
        self._arrays, self._files, self._seals = arrays, files, seals

    def __contains__(self, name: object) -> bool:
        return name in self._layouts

    def whole(self, name: str) -> StoredArray:
        """Read an array that is not cut into blocks; a lost one is an error, never zeros."""
        self._files.require_whole(name)
        return self.read(name, slice(None))

    def read(self, name: str, *selection: slice) -> StoredArray:
        """Read part of an array; a damaged or missing object is an error that names its block."""
        blocks: list[int] = []
        if self._layouts[name].by_block:
            first, stop, _ = selection[0].indices(self._layouts[name].shape[0])
            size = self._layouts[name].block_rows
            blocks = [n for n in range(first // size, -(-stop // size)) if n in self._seals]
            self._files.bring([(name, range(n, n + 1), selection) for n in blocks])
            self._files.require(name, blocks, selection)
        try:
            return self._values(name, *selection)
        except StoreError:
            raise
        except (MemoryError, OSError) as error:
            what = f"array '{name}' cannot be read now ({first_line(error)})"
            raise self._error(blocks[:1], what, lost=False) from error
        except Exception as error:  # codecs raise whatever they like on damaged bytes
            damaged = [n for n in blocks if not self._decodes(name, n, selection[1:])]
            what = f"array '{name}' is damaged ({codec_words(error)})"
            raise self._error(damaged[:1], what) from error

    def so_far(self, name: str) -> StoredArray:
        """Read an array of sealed blocks; the rows of others, whose files are no data, are 0."""
        layout = self._layouts[name]
        num_blocks = -(-layout.shape[0] // layout.block_rows)
        if len(self._seals) == num_blocks:
            return self.read(name, slice(None))
        values: NDArray[np.generic] = np.zeros(layout.shape, layout.dtype)
        for first in (number * layout.block_rows for number in sorted(self._seals)):
            where = slice(first, first + layout.block_rows)
            values[where] = self.read(name, where)
        return values

    def _values(self, name: str, *selection: slice) -> StoredArray:
        """Read part of an array as it is; of one without shards, rows alone are selected."""
        layout = self._layouts[name]
        if layout.shards is not None:
            return np.asarray(self._arrays[name][selection])
        first, stop, _ = selection[0].indices(layout.shape[0])
        size = layout.chunks[0]
        numbers = range(first // size, -(-stop // size))
        rows = np.concatenate([self._files.values(name, n) for n in numbers])
        return rows[first - numbers.start * size : stop - numbers.start * size]

    def _error(self, blocks: list[int], what: str, *, lost: bool = True) -> StoreError:
        for number in blocks:
            return BlockError(self._where, number, what, lost=lost)
        return StoreError(f"{self._where}: {what}; {WHOLE_REMEDY}")

    def _decodes(self, name: str, number: int, rest: tuple[slice, ...]) -> bool:
        size = self._layouts[name].block_rows
        try:
            self._values(name, slice(number * size, (number + 1) * size), *rest)
        except Exception:  # as above
            return False
        return True
