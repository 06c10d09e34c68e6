"""Where images come from: what a path names, and the list of the images in it.

`list_images` puts the images of a folder into the order that gives each its index. `dataset_root` finds
the folder of the class folders in a data set.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.sources.folder import class_folders, list_images
    from fkd.sources.kinds import refuse_other_kinds
    from fkd.sources.splits import dataset_root, split_folder, val_folder
else:
    __getattr__, __dir__ = names_of(
        __name__,
        folder="class_folders list_images",
        kinds="refuse_other_kinds",
        splits="dataset_root split_folder val_folder",
    )

__all__ = [
    "class_folders",
    "dataset_root",
    "list_images",
    "refuse_other_kinds",
    "split_folder",
    "val_folder",
]
