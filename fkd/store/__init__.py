"""The label store: what is kept of each image and each crop.

A labeller creates a `LabelStore` for a `StoreSpec` and commits it block by block. A reader gets a
`Slab`: some crops of some images. What is read is sealed, sound and plausible, or it is an error.
`find_images` lists the images that a store was made from, and no others; `find_present` those of them
that are still there.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.store.attributes import to_json
    from fkd.store.inspection import InspectedStore
    from fkd.store.labelled_images import (
        LabelledImages,
        PresentImages,
        find_images,
        find_present,
        image_root,
        is_file_of_images,
        listed_again,
        present_among,
    )
    from fkd.store.layout import VIEW_BYTES, plan_layout
    from fkd.store.pixel_probe import drift, probe, probe_formats
    from fkd.store.slabs import Block, Slab, StoredCrops
    from fkd.store.spec import StoreSpec, TeacherRecord, library_versions, now
    from fkd.store.store import LabelStore
    from fkd.store.zarr_arrays import check_replaceable, require_store
else:
    __getattr__, __dir__ = names_of(
        __name__,
        attributes="to_json",
        inspection="InspectedStore",
        labelled_images="LabelledImages PresentImages find_images find_present image_root "
        "is_file_of_images listed_again present_among",
        layout="VIEW_BYTES plan_layout",
        pixel_probe="drift probe probe_formats",
        slabs="Block Slab StoredCrops",
        spec="StoreSpec TeacherRecord library_versions now",
        store="LabelStore",
        zarr_arrays="check_replaceable require_store",
    )

__all__ = [
    "VIEW_BYTES",
    "Block",
    "InspectedStore",
    "LabelStore",
    "LabelledImages",
    "PresentImages",
    "Slab",
    "StoreSpec",
    "StoredCrops",
    "TeacherRecord",
    "check_replaceable",
    "drift",
    "find_images",
    "find_present",
    "image_root",
    "is_file_of_images",
    "library_versions",
    "listed_again",
    "now",
    "plan_layout",
    "present_among",
    "probe",
    "probe_formats",
    "require_store",
    "to_json",
]
