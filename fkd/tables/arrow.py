"""Images in the rows of Arrow files, as `datasets.save_to_disk` writes them: an index of them.

A file is mapped, so that pyarrow says where in memory each value lies, and with it where in the file.
It is then read by offset, without pyarrow.
"""

import json
import mmap
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fkd.containers import Index, OpenFiles, Places, import_pyarrow
from fkd.errors import ImagesError
from fkd.tables.rows import TableRows, telling

_FILE_MAGIC = b"ARROW1"
_STREAM_END = b"\xff\xff\xff\xff\0\0\0\0"
_MOST_STATE_BYTES = 1 << 26


def files_of_saved(folder: Path) -> list[str]:
    """Return the Arrow files of a folder that `save_to_disk` wrote, in order; raises `ImagesError`."""
    path = folder / "state.json"
    with telling(os.fspath(path), "the state of a saved data set"):
        if path.stat().st_size > _MOST_STATE_BYTES:
            raise ValueError("it is too large")
        try:
            state = json.loads(path.read_bytes())
            chosen = state.get("_indices_data_files") or state.get("_indices_files")
            files = [os.fspath(entry["filename"]) for entry in state["_data_files"]]
        except (AttributeError, KeyError, TypeError, RecursionError) as error:
            raise ValueError("it does not list the files") from error
    if chosen:
        raise ImagesError(
            f"{folder} keeps the choice of its rows in a file of its own; save it anew with "
            "`load_from_disk(…).flatten_indices().save_to_disk(…)`"
        )
    for file in files:
        if os.path.basename(file) != file or "\0" in file or not (folder / file).is_file():
            raise ImagesError(
                f"{path} names {file!r:.80}, which is not in its folder; copy the folder anew"
            )
    return files


def index_arrow(root: Path, files: Sequence[str], *, unlabelled: bool = False) -> Index:
    """Index the images of Arrow files, which are relative to `root`, and "" where `root` is the file.

    Streams and files of Arrow's are both read. Raises `ImagesError`.
    """
    pyarrow = import_pyarrow()
    paths = OpenFiles(root, tuple(files)).paths
    rows = TableRows(files, paths, unlabelled=unlabelled)
    for path in paths:
        with telling(path, "Arrow"), open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if not size:
                raise ValueError("it is empty")
            whole = pyarrow.py_buffer(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            _add_batches(whole, path, rows)
            rows.close()
    return rows.index()


def _add_batches(whole: Any, path: str, rows: TableRows) -> None:
    """Take the rows of one mapped file."""
    schema, batches = _opened(whole)
    columns = rows.open(schema)
    for batch in batches:
        batch.validate()
        image = batch.column(columns.image)
        values = image.field("bytes") if columns.nested else image
        rows.add_places(_places(values, image, whole, path, rows.new_piece()))
        texts = image.field("path") if columns.path else None
        if texts is not None:
            texts.validate(full=True)
        rows.add_columns(batch.column(columns.label) if columns.label else None, texts)


def _opened(whole: Any) -> tuple[Any, Iterator[Any]]:
    """Return the schema, and the batches, of a stream or a file."""
    pyarrow = import_pyarrow()
    if whole[:6].to_pybytes() == _FILE_MAGIC:
        file = pyarrow.ipc.open_file(whole)
        return file.schema, map(file.get_batch, range(file.num_record_batches))
    if whole[max(0, whole.size - 8) :].to_pybytes() != _STREAM_END:
        raise ValueError("it has no end")
    stream = pyarrow.ipc.open_stream(whole)
    return stream.schema, iter(stream)


def _places(values: Any, image: Any, whole: Any, path: str, piece: int) -> Places:
    """Say where the values of one batch lie in the file."""
    pyarrow = import_pyarrow()
    count = len(values)
    _, offsets, data = values.buffers()
    width = 8 if pyarrow.types.is_large_binary(values.type) else 4
    bounds: NDArray[np.int64] = np.zeros(count + 1, np.int64)
    if count:
        bounds = np.frombuffer(offsets, f"<i{width}", count + 1, values.offset * width).astype(
            np.int64
        )
    base = data.address - whole.address if data is not None and bounds[-1] else 0
    if not 0 <= base <= whole.size - (data.size if base else 0):
        raise ImagesError(
            f"{path}: its columns are compressed, so that no image can be read alone; write it without "
            '(`pyarrow.ipc.IpcWriteOptions(compression=None)`, Feather: `compression="uncompressed"`)'
        )
    num_bytes = np.diff(bounds)
    if bounds[0] < 0 or (num_bytes < 0).any() or (bounds[-1] and bounds[-1] > data.size):
        raise ValueError("its offsets lead out of it")
    lacking = pyarrow.compute.or_(values.is_null(), image.is_null()).to_numpy(zero_copy_only=False)
    num_bytes[lacking] = -1
    return Places(np.full(count, piece, np.int32), base + bounds[:-1], num_bytes)
