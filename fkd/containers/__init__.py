"""Archives and tables that hold images: what is in them, and the bytes of each, read by offset.

An `Index` says which images a container holds, in which order, and where their bytes are. It is made
once and kept (`kept_index`); `ContainedImages` reads by it.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.containers.arrow import files_of_saved, index_arrow
    from fkd.containers.contents import CODECS, Index, Pieces, Place, make_index
    from fkd.containers.parquet import index_parquet
    from fkd.containers.reading import ContainedImages, import_pyarrow
else:
    __getattr__, __dir__ = names_of(
        __name__,
        arrow="files_of_saved index_arrow",
        contents="CODECS Index Pieces Place make_index",
        parquet="index_parquet",
        reading="ContainedImages import_pyarrow",
    )

__all__ = [
    "CODECS",
    "ContainedImages",
    "Index",
    "Pieces",
    "Place",
    "files_of_saved",
    "import_pyarrow",
    "index_arrow",
    "index_parquet",
    "make_index",
]
