"""From a place that a user names to the files there: a folder, a zip, an address of either."""

from pathlib import Path

from fkd.config import Url
from fkd.errors import StoreError, first_line
from fkd.files.blob import LocalBlob, RemoteBlob
from fkd.files.cache import Pieces
from fkd.files.folder import Folder
from fkd.files.place import Files
from fkd.files.remote import Remote
from fkd.files.zipped import Zipped


def is_zip(place: Path | Url) -> bool:
    """Say whether a place is named as a zip archive, and is no folder of that name."""
    return place.name.lower().endswith(".zip") and not (isinstance(place, Path) and place.is_dir())


def files_at(place: Path | Url, *, kept: bool = True) -> Files:
    """Return the files at a place. What is read from an address is `kept` on disk for a while.

    Raises `StoreError` for an archive that is not there or cannot be read, and where obstore is missing.
    """
    if isinstance(place, Path):
        return _zip_here(place) if is_zip(place) else Folder(place)
    pieces = Pieces.usual() if kept else None
    if is_zip(place):
        return Zipped(RemoteBlob(Remote(place.parent, pieces, listing=False), place.name))
    return Remote(place, pieces)


def _zip_here(path: Path) -> Zipped:
    try:
        return Zipped(LocalBlob(path))
    except FileNotFoundError as error:
        raise StoreError(f"label store {path} does not exist; make it with `fkd copy`") from error
    except OSError as error:
        raise StoreError(f"{path} cannot be read ({first_line(error)})") from error
