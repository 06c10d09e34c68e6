"""Tar and zip archives: which images are in them, of which class, and where.

`index_archives` reads the headers of every member once. Nothing is unpacked.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.archives.indexing import CLASS_FILES, SCANS, index_archives
else:
    __getattr__, __dir__ = names_of(__name__, indexing="CLASS_FILES SCANS index_archives")

__all__ = ["CLASS_FILES", "SCANS", "index_archives"]
