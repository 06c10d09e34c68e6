"""Images: their ordered list, what they are known by, and their pixels.

`ImageList` is the list of a data set, wherever its images are kept: `fkd.sources` makes one. `decode`
turns the bytes of an image into pixels, or raises an error with one of the `REASONS`.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.images.class_names import (
        are_numbers,
        composed,
        difference_words,
        match_names,
        match_outputs,
    )
    from fkd.images.decoding import content_hash, decode, image_size, inspect, jpeg_decoder
    from fkd.images.endings import EXTENSIONS, UNLISTED
    from fkd.images.files import MAX_IMAGE_BYTES, FolderFiles, read_file
    from fkd.images.identity import MAX_NUM_BYTES, changed_image, fingerprint, in_order_of
    from fkd.images.image_list import Contents, ImageList
    from fkd.images.keys import Keys, key_order
    from fkd.images.part import in_part, require_files, take_part
    from fkd.images.reasons import REASONS
    from fkd.images.signatures import describe
    from fkd.images.titles import read_titles, require_titles, visible_name
else:
    __getattr__, __dir__ = names_of(
        __name__,
        class_names="are_numbers composed difference_words match_names match_outputs",
        decoding="content_hash decode image_size inspect jpeg_decoder",
        endings="EXTENSIONS UNLISTED",
        files="FolderFiles MAX_IMAGE_BYTES read_file",
        identity="MAX_NUM_BYTES changed_image fingerprint in_order_of",
        image_list="Contents ImageList",
        keys="Keys key_order",
        part="in_part require_files take_part",
        reasons="REASONS",
        signatures="describe",
        titles="read_titles require_titles visible_name",
    )

__all__ = [
    "EXTENSIONS",
    "MAX_IMAGE_BYTES",
    "MAX_NUM_BYTES",
    "REASONS",
    "UNLISTED",
    "Contents",
    "FolderFiles",
    "ImageList",
    "Keys",
    "are_numbers",
    "changed_image",
    "composed",
    "content_hash",
    "decode",
    "describe",
    "difference_words",
    "fingerprint",
    "image_size",
    "in_order_of",
    "in_part",
    "inspect",
    "jpeg_decoder",
    "key_order",
    "match_names",
    "match_outputs",
    "read_file",
    "read_titles",
    "require_files",
    "require_titles",
    "take_part",
    "visible_name",
]
