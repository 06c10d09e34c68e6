"""The zarr side of a store: create its arrays, open and verify them.

With `zarr_files`, this is the only room that knows zarr.

Loading zarr takes longer than all else that `fkd info` does. So it is loaded for crops alone: whether
metadata is what this fkd writes is told without it, and `block_files` reads what has no shards.
"""

import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from fkd.arrays.array_metadata import metadata, order_and_compressor
from fkd.errors import StoreError, first_line
from fkd.files import Files, Folder
from fkd.format import ArrayLayout, read_json

if TYPE_CHECKING:
    import zarr


class Arrays(Mapping[str, "zarr.Array[Any]"]):
    """The arrays of a store. All are verified at once; zarr opens them when the first one is used."""

    def __init__(self, files: Files, layouts: Mapping[str, ArrayLayout], *, writable: bool) -> None:
        """Refuse metadata that is not what the attributes imply; raises `StoreError`."""
        self._files, self._layouts, self._writable = files, layouts, writable
        files.bring((f"{name}/zarr.json", 0, None) for name in layouts)
        if not all(_as_written(files, name, layout) for name, layout in layouts.items()):
            _ = self._opened  # another zarr may write the same in other words: let zarr judge

    @cached_property
    def _opened(self) -> "dict[str, zarr.Array[Any]]":
        return _open_arrays(self._files, self._layouts, writable=self._writable)

    def __getitem__(self, name: str) -> "zarr.Array[Any]":
        return self._opened[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._layouts)

    def __len__(self) -> int:
        return len(self._layouts)

    def __contains__(self, name: object) -> bool:
        return name in self._layouts


def create_arrays(
    folder: Path, layouts: Mapping[str, ArrayLayout], attributes: dict[str, Any]
) -> "dict[str, zarr.Array[Any]]":
    """Create a group with these attributes and its empty arrays."""
    import zarr

    # Thirty lines of white space an array would be most of a small store's metadata.
    with zarr.config.set({"json_indent": None}):
        group = zarr.create_group(folder, zarr_format=3, attributes=attributes)
        return {name: _create_array(group, name, layout) for name, layout in layouts.items()}


def _as_written(files: Files, name: str, layout: ArrayLayout) -> bool:
    """Say whether the metadata of an array is, but for the order of its keys, what this fkd writes."""
    try:
        found = read_json(files, f"{name}/zarr.json")
    except (OSError, ValueError, RecursionError):
        return False
    return json.dumps(found, sort_keys=True) == json.dumps(metadata(layout), sort_keys=True)


def _open_arrays(
    files: Files, layouts: Mapping[str, ArrayLayout], *, writable: bool
) -> "dict[str, zarr.Array[Any]]":
    """Open every array, and refuse one whose metadata is not what the attributes imply."""
    import zarr

    model = zarr.create_group(zarr.storage.MemoryStore(), zarr_format=3)
    arrays = {}
    for name, layout in layouts.items():
        expected = _create_array(model, name, layout).metadata.to_dict()
        try:
            array = _open_array(files, name, layout, writable=writable)
            same = array is not None and array.metadata.to_dict() == expected
        except Exception as error:  # whatever zarr meets in damaged metadata
            raise StoreError(
                f"{files.where}: {name}/zarr.json cannot be read ({first_line(error)}); restore it or "
                "label anew"
            ) from error
        if array is None or not same:
            raise StoreError(
                f"{files.where}: {name}/zarr.json is damaged; restore it or label anew"
            )
        # zarr keeps this setting in no metadata; without it, a chunk of zeros would not be written,
        # and an absent chunk could not be told from a lost one.
        arrays[name] = array.with_config({"write_empty_chunks": True})
    return arrays


def _open_array(
    files: Files, name: str, layout: ArrayLayout, *, writable: bool
) -> "zarr.Array[Any] | None":
    """Open an array; where its type, shape or fill is wrong, return None before zarr interprets it."""
    metadata = read_json(files, f"{name}/zarr.json")
    same = metadata["data_type"] == layout.dtype and metadata["shape"] == list(layout.shape)
    if not same or type(metadata["fill_value"]) not in (bool, int, float):
        return None
    import zarr

    if isinstance(files, Folder):
        mode: Literal["r", "r+"] = "r+" if writable else "r"
        array = zarr.open_array(files.path / name, mode=mode, zarr_format=3)
    else:
        from fkd.arrays.zarr_files import ZarrFiles

        array = zarr.open_array(ZarrFiles(files), path=name, mode="r", zarr_format=3)
    return array if isinstance(array, zarr.Array) else None


def _create_array(group: "zarr.Group", name: str, layout: ArrayLayout) -> "zarr.Array[Any]":
    from zarr.codecs import BloscCodec, Crc32cCodec, TransposeCodec, ZstdCodec

    order, compressor = order_and_compressor(layout)
    kind = BloscCodec if compressor["name"] == "blosc" else ZstdCodec
    return group.create_array(
        name,
        shape=layout.shape,
        dtype=layout.dtype,
        chunks=layout.chunks,
        shards=layout.shards,
        filters=[TransposeCodec(order=order)] if order else [],
        compressors=[kind(**compressor["configuration"]), Crc32cCodec()],
        fill_value=0,
        config={"write_empty_chunks": True},
    )
