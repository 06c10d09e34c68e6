"""Images in the rows of parquet files: an index of them, without taking a byte of theirs."""

import os
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fkd.amounts import as_bytes
from fkd.containers import CODECS, Index, OpenFiles, import_pyarrow
from fkd.errors import ImagesError
from fkd.progress import note
from fkd.tables.columns import Columns
from fkd.tables.parquet_encodings import read_struct
from fkd.tables.parquet_pages import Chunk, chunk_places
from fkd.tables.rows import TableRows, telling

# The codecs, by their numbers in parquet's enum.
_CODECS = {0: "stored", 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_OTHER_CODECS = {3: "LZO", 5: "LZ4 as Hadoop frames it"}

# The numbers of fields in the structs of the metadata, from the file down to a column of a row group.
_NUM_ROWS, _ROW_GROUPS = 3, 4
_COLUMNS, _ROWS_OF_GROUP = 1, 3
_FILE_PATH, _COLUMN_METADATA, _ENCRYPTION = 1, 3, {8, 9}
_CODEC, _NUM_VALUES, _TOTAL_COMPRESSED_SIZE = 4, 5, 7
_DATA_PAGE_OFFSET, _DICTIONARY_PAGE_OFFSET = 9, 11

# From here on, a page that is decompressed for one image of it slows training down.
_LARGE_PAGE = 1 << 22

# Rows whose classes and paths are read at a time.
_ROWS_AT_ONCE = 1 << 16


def index_parquet(root: Path, files: Sequence[str], *, unlabelled: bool = False) -> Index:
    """Index the images of parquet files, which are relative to `root`, and "" where `root` is the file.

    Without compression each image is read at training time by its offset in a file; of snappy, with the
    blocks of 64 KiB that it touches; else with its page. Raises `ImagesError`.
    """
    pyarrow = import_pyarrow()
    opened = OpenFiles(root, tuple(files))
    rows = TableRows(files, opened.paths, unlabelled=unlabelled)
    for number, path in enumerate(opened.paths):
        with telling(path, "parquet"):
            metadata = _metadata(path)
            with pyarrow.parquet.ParquetFile(path) as parquet:
                columns = rows.open(parquet.schema_arrow)
                for chunk in _chunks(parquet.schema, metadata, columns, path):
                    for places in chunk_places(partial(opened.read, number), chunk, rows.new_piece):
                        rows.add_places(places)
                _add_columns(parquet, columns, rows)
            rows.close()
    index = rows.index()
    _note_large_pages(root, index)
    return index


def _note_large_pages(root: Path, index: Index) -> None:
    """Say where to read an image is to decompress many."""
    pieces, each = index.pieces, index.piece
    packed = (
        pieces.raw[each].mean(where=pieces.codec[each] > 0, dtype=float)
        if pieces.codec.any()
        else 0
    )
    if packed > max(_LARGE_PAGE, 8 * index.num_bytes.mean(dtype=float)):
        codec = CODECS[int(pieces.codec.max())]
        note(
            f"warning: {root}: to read one image is to decompress a page of about {as_bytes(packed)} "
            f"({codec}); to read images alone, write the files anew with "
            "`pyarrow.parquet.write_table(table, path, compression='none')`"
        )


def _metadata(path: str) -> dict[int, Any]:
    """Read the metadata at a file's end: pyarrow ends the process where a column's is encrypted."""
    size = os.path.getsize(path)
    if size < 12:
        raise ValueError("it is too short")
    with open(path, "rb") as file:
        file.seek(size - 8)
        count, magic = struct.unpack("<I4s", file.read(8))
        if magic not in (b"PAR1", b"PARE") or count > size - 12:
            raise ValueError("it does not end as a parquet file does")
        file.seek(size - 8 - count)
        metadata = read_struct(file.read(count)) if magic == b"PAR1" else {}
    with _lacking_no_field():
        encrypted = magic == b"PARE" or any(
            _ENCRYPTION & column.keys()
            for group in metadata[_ROW_GROUPS]
            for column in group[_COLUMNS]
        )
    if encrypted:
        raise ImagesError(
            f"{path} is encrypted, which fkd does not read; write it without encryption"
        )
    return metadata


@contextmanager
def _lacking_no_field() -> Iterator[None]:
    try:
        yield
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise ValueError("its metadata is damaged") from error


def _chunks(schema: Any, metadata: dict[int, Any], columns: Columns, path: str) -> list[Chunk]:
    """Return the chunks of the column of images, none of which claims more than the file can hold."""
    name = f"{columns.image}.bytes" if columns.nested else columns.image
    leaves = [leaf for leaf in range(len(schema)) if schema.column(leaf).path == name]
    if len(leaves) != 1 or schema.column(leaves[0]).max_repetition_level:
        raise ImagesError(f"{path}: its column {name!r} is not one value a row; write it anew")
    levels = schema.column(leaves[0]).max_definition_level
    size = os.path.getsize(path)
    with _lacking_no_field():
        if metadata[_NUM_ROWS] > size:
            raise ValueError(f"it says that {size:,} bytes hold {metadata[_NUM_ROWS]:,} rows")
        chunks = [
            _chunk(path, size, group[_COLUMNS][leaves[0]], group[_ROWS_OF_GROUP], levels)
            for group in metadata[_ROW_GROUPS]
            if group[_ROWS_OF_GROUP]
        ]
        if sum(chunk.rows for chunk in chunks) != metadata[_NUM_ROWS]:
            raise ValueError("its row groups hold another number of rows than it says")
    return chunks


def _chunk(path: str, size: int, column: dict[int, Any], rows: int, levels: int) -> Chunk:
    fields = column[_COLUMN_METADATA]
    start = fields[_DATA_PAGE_OFFSET]
    if 0 < fields.get(_DICTIONARY_PAGE_OFFSET, 0) < start:
        start = fields[_DICTIONARY_PAGE_OFFSET]
    end = start + fields[_TOTAL_COMPRESSED_SIZE]
    if not 0 < start <= end <= size or not 0 < rows == fields[_NUM_VALUES]:
        raise ValueError("its metadata points out of it")
    if _FILE_PATH in column:
        raise ImagesError(f"{path} keeps its images in another file; write them anew into one")
    codec = fields[_CODEC]
    if codec not in _CODECS:
        raise ImagesError(
            f"{path}: its images are compressed with {_OTHER_CODECS.get(codec, codec)}, which fkd does "
            "not read; write the file anew with `pyarrow.parquet.write_table(table, path, "
            "compression='none')`"
        )
    return Chunk(path, start, end, rows, CODECS.index(_CODECS[codec]), levels)


def _add_columns(parquet: Any, columns: Columns, rows: TableRows) -> None:
    """Read the classes and the paths of all rows."""
    names = [columns.label] if columns.label else []
    names += [f"{columns.image}.path"] if columns.path else []
    if not names:
        return
    for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=names):
        batch.validate(full=True)
        rows.add_columns(
            batch.column(columns.label) if columns.label else None,
            batch.column(columns.image).field("path") if columns.path else None,
        )
