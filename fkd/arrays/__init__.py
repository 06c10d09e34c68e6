"""What lies on disk, byte for byte: arrays in chunks and shards, packed, sealed, and fit to be read.

A layout of `fkd.format` says of each array what it must be. `Arrays` opens them, `ArrayReader` reads
parts and names the block of what is damaged, and `BlockFiles` knows the files of a block and their seal.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.arrays.array_reader import (
        ArrayReader,
    )
    from fkd.arrays.block_files import (
        IMPLAUSIBLE_REMEDY,
        BlockFiles,
    )
    from fkd.arrays.packing import (
        pack_boxes,
        pack_codes,
        pack_ids,
        pack_palettes,
        pack_slots,
        sort_ties,
        unpack_boxes,
        unpack_codes,
        unpack_ids,
        unpack_palettes,
        unpack_slots,
    )
    from fkd.arrays.packing_cells import (
        pack_cell_codes,
        pack_cell_ids,
        unpack_cell_codes,
        unpack_cell_ids,
    )
    from fkd.arrays.parts import (
        needed,
    )
    from fkd.arrays.zarr_arrays import (
        Arrays,
        create_arrays,
    )
else:
    __getattr__, __dir__ = names_of(
        __name__,
        array_reader="ArrayReader",
        block_files="IMPLAUSIBLE_REMEDY BlockFiles",
        packing=(
            "pack_boxes pack_codes pack_ids pack_palettes pack_slots "
            "sort_ties unpack_boxes unpack_codes unpack_ids unpack_palettes unpack_slots"
        ),
        packing_cells="pack_cell_codes pack_cell_ids unpack_cell_codes unpack_cell_ids",
        parts="needed",
        zarr_arrays="Arrays create_arrays",
    )

__all__ = [
    "IMPLAUSIBLE_REMEDY",
    "ArrayReader",
    "Arrays",
    "BlockFiles",
    "create_arrays",
    "needed",
    "pack_boxes",
    "pack_cell_codes",
    "pack_cell_ids",
    "pack_codes",
    "pack_ids",
    "pack_palettes",
    "pack_slots",
    "sort_ties",
    "unpack_boxes",
    "unpack_cell_codes",
    "unpack_cell_ids",
    "unpack_codes",
    "unpack_ids",
    "unpack_palettes",
    "unpack_slots",
]
