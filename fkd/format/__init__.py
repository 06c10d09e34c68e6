"""What a store says that it is: its spec as signed attributes, and which arrays that implies.

A `StoreSpec` is what a store, or a segment of one, is of. Nothing here opens an array, or knows which
labels are asked for.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.format.attributes import (
        digest,
        from_attributes,
        to_attributes,
        to_json,
    )
    from fkd.format.block_sizes import (
        plan_layout,
    )
    from fkd.format.group import (
        check_replaceable,
        group_attributes,
        read_attributes,
        read_json,
        require_store,
    )
    from fkd.format.layout import (
        VIEW_BYTES,
        ArrayLayout,
        array_layouts,
        expects,
    )
    from fkd.format.records import (
        TargetRecord,
        TeacherRecord,
    )
    from fkd.format.spec import (
        FORMAT_VERSION,
        OTHER_OUTPUTS,
        Slots,
        StoreSpec,
        library_versions,
        now,
    )
else:
    __getattr__, __dir__ = names_of(
        __name__,
        attributes="digest from_attributes to_attributes to_json",
        block_sizes="plan_layout",
        group="check_replaceable group_attributes read_attributes read_json require_store",
        layout="VIEW_BYTES ArrayLayout array_layouts expects",
        records="TargetRecord TeacherRecord",
        spec="FORMAT_VERSION OTHER_OUTPUTS Slots StoreSpec library_versions now",
    )

__all__ = [
    "FORMAT_VERSION",
    "OTHER_OUTPUTS",
    "VIEW_BYTES",
    "ArrayLayout",
    "Slots",
    "StoreSpec",
    "TargetRecord",
    "TeacherRecord",
    "array_layouts",
    "check_replaceable",
    "digest",
    "expects",
    "from_attributes",
    "group_attributes",
    "library_versions",
    "now",
    "plan_layout",
    "read_attributes",
    "read_json",
    "require_store",
    "to_attributes",
    "to_json",
]
