"""A store that is made for a zip or an address: in a folder first, where a run can go on with it."""

import secrets
import shutil
from collections.abc import Callable
from pathlib import Path

from fkd.config import Url
from fkd.copying.carry import carry_store
from fkd.files import is_zip
from fkd.progress import note_lines
from fkd.store import LabelStore


def made_at(
    out: Path | Url, make: Callable[[Path, bool], LabelStore], *, overwrite: bool
) -> LabelStore:
    """Let `make` make a store at `out`, and return it: it is given a folder, and whether to replace one.

    For a zip the folder is a hidden one beside it, for an address one in the working directory. It is
    removed when its store has been carried from there. With `overwrite` it is begun anew, as any other.
    """
    if isinstance(out, Path) and not is_zip(out):
        return make(out, overwrite)
    hidden = f".{out.name}.made"
    folder = out.with_name(hidden) if isinstance(out, Path) else Path(hidden)
    note_lines([("by way", f"of {folder}, which goes when all is at {out}")])
    make(folder, overwrite)
    carry_store(folder, out, overwrite=overwrite)
    removed(folder)
    return LabelStore.open(out)


def removed(folder: Path) -> None:
    """Remove a store that was carried on; a run that is ended here leaves no half of one in its place."""
    old = folder.with_name(f"{folder.name}.{secrets.token_hex(4)}.old")
    folder.rename(old)
    shutil.rmtree(old, ignore_errors=True)
