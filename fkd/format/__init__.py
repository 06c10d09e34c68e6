"""What lies on disk, byte for byte: attributes, arrays, chunks, and what makes a file fit to be read.

A `StoreSpec` is what a store, or a segment of one, is of. It implies the arrays, and attributes are the
same as signed JSON. Nothing here knows which labels are asked for.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.format.array_reader import (
        ArrayReader,
    )
    from fkd.format.attributes import (
        digest,
        from_attributes,
        to_attributes,
        to_json,
    )
    from fkd.format.block_files import (
        IMPLAUSIBLE_REMEDY,
        BlockFiles,
    )
    from fkd.format.block_sizes import (
        plan_layout,
    )
    from fkd.format.layout import (
        VIEW_BYTES,
        array_layouts,
    )
    from fkd.format.packing import (
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
    from fkd.format.packing_cells import (
        pack_cell_codes,
        pack_cell_ids,
        unpack_cell_codes,
        unpack_cell_ids,
    )
    from fkd.format.parts import (
        needed,
    )
    from fkd.format.records import (
        TargetRecord,
        TeacherRecord,
    )
    from fkd.format.spec import (
        FORMAT_VERSION,
        OTHER_OUTPUTS,
        StoreSpec,
        library_versions,
        now,
    )
    from fkd.format.zarr_arrays import (
        Arrays,
        check_replaceable,
        create_arrays,
        group_attributes,
        read_attributes,
        require_store,
    )
else:
    __getattr__, __dir__ = names_of(
        __name__,
        array_reader="ArrayReader",
        attributes="digest from_attributes to_attributes to_json",
        block_files="IMPLAUSIBLE_REMEDY BlockFiles",
        block_sizes="plan_layout",
        layout="VIEW_BYTES array_layouts",
        packing=(
            "pack_boxes pack_codes pack_ids pack_palettes pack_slots sort_ties "
            "unpack_boxes unpack_codes unpack_ids unpack_palettes unpack_slots"
        ),
        packing_cells="pack_cell_codes pack_cell_ids unpack_cell_codes unpack_cell_ids",
        parts="needed",
        records="TargetRecord TeacherRecord",
        spec="FORMAT_VERSION OTHER_OUTPUTS StoreSpec library_versions now",
        zarr_arrays=(
            "Arrays check_replaceable create_arrays group_attributes read_attributes require_store"
        ),
    )

__all__ = [
    "FORMAT_VERSION",
    "IMPLAUSIBLE_REMEDY",
    "OTHER_OUTPUTS",
    "VIEW_BYTES",
    "ArrayReader",
    "Arrays",
    "BlockFiles",
    "StoreSpec",
    "TargetRecord",
    "TeacherRecord",
    "array_layouts",
    "check_replaceable",
    "create_arrays",
    "digest",
    "from_attributes",
    "group_attributes",
    "library_versions",
    "needed",
    "now",
    "pack_boxes",
    "pack_cell_codes",
    "pack_cell_ids",
    "pack_codes",
    "pack_ids",
    "pack_palettes",
    "pack_slots",
    "plan_layout",
    "read_attributes",
    "require_store",
    "sort_ties",
    "to_attributes",
    "to_json",
    "unpack_boxes",
    "unpack_cell_codes",
    "unpack_cell_ids",
    "unpack_codes",
    "unpack_ids",
    "unpack_palettes",
    "unpack_slots",
]
