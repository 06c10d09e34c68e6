"""The files of an image folder.

`dataset_root` finds the folder of the class folders in a data set, and `list_images` puts its images
into the order that gives each its index. `decode` turns a file into
pixels, or raises an error with one of the `REASONS`. `pack_images` copies a folder with fewer
pixels.

Example images come from `fkd.images.scenes`, which is imported as a module.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.images.class_names import are_numbers, composed, match_names, match_outputs
    from fkd.images.decoding import content_hash, decode, inspect, read_file
    from fkd.images.folder import (
        EXTENSIONS,
        MAX_NUM_BYTES,
        ImageList,
        changed_image,
        class_folders,
        fingerprint,
        list_images,
    )
    from fkd.images.no_folder import refuse_other_kinds
    from fkd.images.pack import PackReport, pack_images
    from fkd.images.reasons import REASONS
    from fkd.images.splits import dataset_root, split_folder, val_folder
else:
    __getattr__, __dir__ = names_of(
        __name__,
        class_names="are_numbers composed match_names match_outputs",
        decoding="content_hash decode inspect read_file",
        folder=(
            "EXTENSIONS ImageList MAX_NUM_BYTES changed_image class_folders fingerprint list_images"
        ),
        no_folder="refuse_other_kinds",
        pack="PackReport pack_images",
        reasons="REASONS",
        splits="dataset_root split_folder val_folder",
    )

__all__ = [
    "EXTENSIONS",
    "MAX_NUM_BYTES",
    "REASONS",
    "ImageList",
    "PackReport",
    "are_numbers",
    "changed_image",
    "class_folders",
    "composed",
    "content_hash",
    "dataset_root",
    "decode",
    "fingerprint",
    "inspect",
    "list_images",
    "match_names",
    "match_outputs",
    "pack_images",
    "read_file",
    "refuse_other_kinds",
    "split_folder",
    "val_folder",
]
