"""Tables whose rows are images: parquet and Arrow files, as Hugging Face keeps image sets.

`index_parquet` and `index_arrow` say where in a file the bytes of each image lie, so that they are read
by offset like any others.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.tables.arrow import files_of_saved, index_arrow
    from fkd.tables.parquet import index_parquet
else:
    __getattr__, __dir__ = names_of(
        __name__, arrow="files_of_saved index_arrow", parquet="index_parquet"
    )

__all__ = ["files_of_saved", "index_arrow", "index_parquet"]
