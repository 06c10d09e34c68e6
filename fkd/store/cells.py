"""Labels of the cells of maps: the numbers of a chunk are rearranged together.

Whoever reads one crop unpacks all of its chunk. So the last few chunks are held for those who read a
store image by image.
"""

from collections.abc import Iterator, Mapping
from itertools import product

import numpy as np

from fkd.arrays import (
    ArrayReader,
    pack_cell_codes,
    pack_cell_ids,
    unpack_cell_codes,
    unpack_cell_ids,
)
from fkd.format import StoreSpec, array_layouts
from fkd.labels import Field, StoredArray

_HELD_BYTES = 2**25

# Images and crops that a chunk has.
Part = tuple[slice, slice]


def pack_cells(spec: StoreSpec, kept: Mapping[str, StoredArray]) -> dict[str, StoredArray]:
    """Return what is written of the labels [n, M, G · K] of a block's maps, by array.

    Nothing, where labels are of whole views.
    """
    packed = {
        field.name: np.empty(kept[field.name].shape, array_layouts(spec)[field.name].dtype)
        for field in _of_cells(spec)
    }
    for field in _of_cells(spec):
        values = kept[field.name]
        for part in _parts(spec, slice(0, len(values)), slice(0, spec.num_crops)):
            if field.packing == "cell codes":
                packed[field.name][part] = pack_cell_codes(values[part], spec.grid)
                continue
            code = kept["code"][part] if "code" in kept else None
            packed[field.name][part] = pack_cell_ids(
                values[part], code, spec.grid, spec.num_classes, sort_ties=spec.scheme.coarse
            )
    return packed


class CellReader:
    """Reads labels of the cells of maps from the arrays of a segment, whose blocks have these `seals`."""

    def __init__(self, spec: StoreSpec, arrays: ArrayReader, seals: Mapping[int, bytes]) -> None:
        self._spec, self._arrays, self._seals = spec, arrays, seals
        # By where they begin, and by the seal of their block: it may be labelled anew.
        self._held: dict[tuple[int, int, bytes], dict[str, StoredArray]] = {}

    def read(self, images: slice, crops: slice) -> dict[str, StoredArray]:
        """Read a run of crops of a run of images, [n, m, G · K], whatever their values."""
        spec = self._spec
        first, stop, _ = images.indices(spec.num_images)
        first_crop, stop_crop, _ = crops.indices(spec.num_crops)
        shape = stop - first, stop_crop - first_crop
        found = {f.name: np.empty((*shape, f.length), f.dtype) for f in _of_cells(spec)}
        for part in _parts(spec, slice(first, stop), slice(first_crop, stop_crop)):
            rows, into_rows = _overlap(part[0], first, stop)
            columns, into_columns = _overlap(part[1], first_crop, stop_crop)
            for name, values in self._chunk(part).items():
                found[name][into_rows, into_columns] = values[rows, columns]
        return found

    def _chunk(self, part: Part) -> dict[str, StoredArray]:
        """Return the labels of a chunk, which is held from now on."""
        rows, columns = part
        seal = self._seals.get(rows.start // self._spec.block_images, b"")
        key = rows.start, columns.start, seal
        held = self._held
        if key not in held:
            new = self._unpacked(part)
            most = max(1, _HELD_BYTES // max(1, sum(values.nbytes for values in new.values())))
            # One assignment: other threads find the old ones or the new ones.
            self._held = dict([*held.items(), (key, new)][-most:])
            return new
        return held[key]

    def _unpacked(self, part: Part) -> dict[str, StoredArray]:
        spec, found = self._spec, {}
        fields = sorted(_of_cells(spec), key=lambda field: field.packing)  # codes tell of ids
        for field in fields:
            packed = self._arrays.read(field.name, *part)
            if field.packing == "cell codes":
                found[field.name] = unpack_cell_codes(packed, spec.grid)
            else:
                ids = unpack_cell_ids(packed, found.get("code"), spec.grid, spec.num_classes)
                found[field.name] = ids.astype(field.dtype, copy=False)
        return found


def _of_cells(spec: StoreSpec) -> list[Field]:
    return [field for field in spec.labels.fields if field.packing in ("cell ids", "cell codes")]


def _parts(spec: StoreSpec, images: slice, crops: slice) -> Iterator[Part]:
    """Yield all that is in the chunks that a run of crops of a run of images touches."""
    fields = _of_cells(spec)
    if not fields:
        return
    num_images, num_crops = array_layouts(spec)[fields[0].name].chunks[:2]
    starts = range(images.start // num_images * num_images, images.stop, num_images)
    first_crops = range(crops.start // num_crops * num_crops, crops.stop, num_crops)
    for start, first_crop in product(starts, first_crops):
        yield (
            slice(start, min(start + num_images, spec.num_images)),
            slice(first_crop, min(first_crop + num_crops, spec.num_crops)),
        )


def _overlap(part: slice, start: int, stop: int) -> tuple[slice, slice]:
    """Return what of a part lies in a run, counted from the part's first and from the run's first."""
    low, high = max(part.start, start), min(part.stop, stop)
    return slice(low - part.start, high - part.start), slice(low - start, high - start)
