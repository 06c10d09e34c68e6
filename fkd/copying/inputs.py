"""Refuse what cannot be copied, before torch is loaded."""

import os
from collections.abc import Sequence
from pathlib import Path

from fkd.config import Url
from fkd.errors import StoreError
from fkd.files import is_zip
from fkd.format import check_replaceable, require_store


def check_inputs(stores: Sequence[Path | Url], out: Path | Url, *, overwrite: bool = False) -> None:
    """Raise `StoreError` for a source that is no store, and a target that is one or lies in one.

    So is an archive that is there already, which is not gone on with as a folder is.
    """
    for number, store in enumerate(stores):
        require_store(store)
        for before in stores[:number]:
            if isinstance(store, Path) and isinstance(before, Path) and before.samefile(store):
                raise StoreError(f"{store} is {before} by another name; name each store once")
        if isinstance(store, Path) and isinstance(out, Path):
            _refuse_overlap(store, out)
        elif store == out:
            raise StoreError(f"{out} is the store itself; name a place apart from it")
    if isinstance(out, Path) and is_zip(out) and os.path.lexists(out):
        if not overwrite:
            raise StoreError(f"{out} is there already; give another name, or --overwrite")
        check_replaceable(out)


def _refuse_overlap(store: Path, out: Path) -> None:
    source, target = store.resolve(), out.resolve()
    if source == target or source in target.parents or target in source.parents:
        relation = "is" if source == target else "lies in" if source in target.parents else "holds"
        raise StoreError(f"{out} {relation} the store {store}; name a place apart from it")
