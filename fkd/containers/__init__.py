"""Archives and tables that hold images: what is in them, and the bytes of each, read by offset.

An `Index` says which images a container holds, in which order, and where their bytes are. It is made
once and kept (`kept_index`); `ContainedImages` reads by it.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.containers.archives import CLASS_FILES, SCANS, index_archives
    from fkd.containers.cache import cache_folder, kept_index
    from fkd.containers.contents import CODECS, Index, Pieces, Place, make_index
    from fkd.containers.labels import number_classes
    from fkd.containers.members import LABEL_KEYS, clean_name
    from fkd.containers.reading import ContainedImages, import_pyarrow
    from fkd.containers.split_names import of_split, split_in, split_of
else:
    __getattr__, __dir__ = names_of(
        __name__,
        archives="CLASS_FILES SCANS index_archives",
        contents="CODECS Index Pieces Place make_index",
        cache="cache_folder kept_index",
        labels="number_classes",
        members="LABEL_KEYS clean_name",
        split_names="of_split split_in split_of",
        reading="ContainedImages import_pyarrow",
    )

__all__ = [
    "CLASS_FILES",
    "CODECS",
    "LABEL_KEYS",
    "SCANS",
    "ContainedImages",
    "Index",
    "Pieces",
    "Place",
    "cache_folder",
    "clean_name",
    "import_pyarrow",
    "index_archives",
    "kept_index",
    "make_index",
    "number_classes",
    "of_split",
    "split_in",
    "split_of",
]
