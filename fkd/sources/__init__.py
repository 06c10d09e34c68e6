"""Where images come from: what a path names, and the list of the images in it.

`list_images` puts the images of a folder into the order that gives each its index. `dataset_root` finds
the folder of the class folders in a data set.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.sources.kinds import folders_in, holds_images, refuse_other_kinds, what_is_named
    from fkd.sources.opening import count_classes, list_images, list_val, require_images, val_place
    from fkd.sources.splits import dataset_root, evaluated_folder, split_folder, val_folder
else:
    __getattr__, __dir__ = names_of(
        __name__,
        kinds="folders_in holds_images refuse_other_kinds what_is_named",
        opening="count_classes list_images list_val require_images val_place",
        splits="dataset_root evaluated_folder split_folder val_folder",
    )

__all__ = [
    "count_classes",
    "dataset_root",
    "evaluated_folder",
    "folders_in",
    "holds_images",
    "list_images",
    "list_val",
    "refuse_other_kinds",
    "require_images",
    "split_folder",
    "val_folder",
    "val_place",
    "what_is_named",
]
