"""Refuse what cannot be copied, before torch is loaded."""

from collections.abc import Sequence
from pathlib import Path

from fkd.errors import StoreError
from fkd.format import require_store


def check_inputs(stores: Sequence[Path], out: Path) -> None:
    """Raise `StoreError` for a source that is no store, and a target that is one or lies in one."""
    for store in stores:
        require_store(store)
        source, target = store.resolve(), out.resolve()
        if source == target or source in target.parents or target in source.parents:
            relation = (
                "is" if source == target else "lies in" if source in target.parents else "holds"
            )
            raise StoreError(f"{out} {relation} the store {store}; name a place apart from it")
