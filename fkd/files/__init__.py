"""Where the objects of a store are: in a folder, in a zip, in a bucket or on a web server.

A store reads through `Files` and knows nothing of paths; it writes to a `Folder` alone. `files_at`
returns the files of a place that a user names. What is far away is read by ranges, through a cache on
this machine.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.files.address import Patience
    from fkd.files.blob import LocalBlob, RemoteBlob
    from fkd.files.cache import Pieces
    from fkd.files.client import Direct, Part
    from fkd.files.folder import Folder
    from fkd.files.opening import files_at, is_zip
    from fkd.files.place import Files
    from fkd.files.remote import Remote
    from fkd.files.zipped import Zipped
else:
    __getattr__, __dir__ = names_of(
        __name__,
        address="Patience",
        blob="LocalBlob RemoteBlob",
        cache="Pieces",
        client="Direct Part",
        folder="Folder",
        opening="files_at is_zip",
        place="Files",
        remote="Remote",
        zipped="Zipped",
    )

__all__ = [
    "Direct",
    "Files",
    "Folder",
    "LocalBlob",
    "Part",
    "Patience",
    "Pieces",
    "Remote",
    "RemoteBlob",
    "Zipped",
    "files_at",
    "is_zip",
]
