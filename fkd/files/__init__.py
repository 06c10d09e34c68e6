"""Where the objects of a store are: files in a folder, whatever else holds bytes by a key.

A store reads through `Files` and knows nothing of paths; it writes to a `Folder` alone.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.files.folder import Folder
    from fkd.files.place import Files
else:
    __getattr__, __dir__ = names_of(__name__, folder="Folder", place="Files")

__all__ = ["Files", "Folder"]
