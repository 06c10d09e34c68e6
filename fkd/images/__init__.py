"""The files of an image folder.

`list_images` puts them into the order that gives each image its index. `decode` turns a file into
pixels, or raises an error with one of the `REASONS`. `pack_images` copies a folder with fewer
pixels.

Example images come from `fkd.images.scenes`, which is imported as a module.
"""

from fkd.images.decoding import REASONS, content_hash, decode, inspect, read_file
from fkd.images.folder import (
    EXTENSIONS,
    MAX_NUM_BYTES,
    ImageList,
    changed_image,
    dataset_root,
    fingerprint,
    list_images,
    val_folder,
)
from fkd.images.pack import PackReport, pack_images

__all__ = [
    "EXTENSIONS",
    "MAX_NUM_BYTES",
    "REASONS",
    "ImageList",
    "PackReport",
    "changed_image",
    "content_hash",
    "dataset_root",
    "decode",
    "fingerprint",
    "inspect",
    "list_images",
    "pack_images",
    "read_file",
    "val_folder",
]
