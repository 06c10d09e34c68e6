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
    from fkd.images.class_names import composed, match_names
    from fkd.images.decoding import content_hash, decode, inspect, jpeg_decoder, read_file
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
        class_names="composed match_names",
        decoding="content_hash decode inspect jpeg_decoder read_file",
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
    "changed_image",
    "class_folders",
    "composed",
    "content_hash",
    "dataset_root",
    "decode",
    "fingerprint",
    "inspect",
    "jpeg_decoder",
    "list_images",
    "match_names",
    "pack_images",
    "read_file",
    "refuse_other_kinds",
    "split_folder",
    "val_folder",
]
