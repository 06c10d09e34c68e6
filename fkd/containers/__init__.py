"""Images in the middle of files: what is where, and the bytes of each, read by offset.

An `Index` says which images a container holds, in which order, and where their bytes are. It is made
once and kept (`kept_index`); `ContainedImages` reads by it. `fkd.archives` and `fkd.tables` make it.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.containers.cache import kept_index
    from fkd.containers.contents import (
        CODECS,
        Index,
        Pieces,
        Place,
        PlaceList,
        Places,
        make_index,
    )
    from fkd.containers.labels import LABEL_KEYS, name_classes, number_classes
    from fkd.containers.reading import ContainedImages, OpenFiles, import_pyarrow
    from fkd.containers.split_names import NoSplitError, of_split, split_in, split_of
else:
    __getattr__, __dir__ = names_of(
        __name__,
        cache="kept_index",
        contents="CODECS Index Pieces Place PlaceList Places make_index",
        labels="LABEL_KEYS name_classes number_classes",
        reading="ContainedImages OpenFiles import_pyarrow",
        split_names="NoSplitError of_split split_in split_of",
    )

__all__ = [
    "CODECS",
    "LABEL_KEYS",
    "ContainedImages",
    "Index",
    "NoSplitError",
    "OpenFiles",
    "Pieces",
    "Place",
    "PlaceList",
    "Places",
    "import_pyarrow",
    "kept_index",
    "make_index",
    "name_classes",
    "number_classes",
    "of_split",
    "split_in",
    "split_of",
]
