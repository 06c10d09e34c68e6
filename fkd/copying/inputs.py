"""Refuse what cannot be copied, before torch is loaded."""

from collections.abc import Sequence
from pathlib import Path

from fkd.config import Url
from fkd.errors import StoreError
from fkd.format import require_store


def check_inputs(stores: Sequence[Path | Url], out: Path | Url) -> None:
    """Raise `StoreError` for a source that is no store, and a target that is one or lies in one."""
    for store in stores:
        require_store(store)
        if isinstance(store, Url) or isinstance(out, Url):
            if store == out:
                raise StoreError(f"{out} is the store {store}; name a place apart from it")
            continue
        source, target = store.resolve(), out.resolve()
        if source == target or source in target.parents or target in source.parents:
            relation = (
                "is" if source == target else "lies in" if source in target.parents else "holds"
            )
            raise StoreError(f"{out} {relation} the store {store}; name a place apart from it")
