"""Which stored vectors are read with the crops: those that are asked for, and no others."""

from collections.abc import Collection, Mapping

from torch import Tensor

from fkd.errors import ConfigError
from fkd.labels import Quantized
from fkd.store import LabelStore
from fkd.vectors import StoredVectors


def read_vectors(
    store: LabelStore, names: Collection[str] | None
) -> tuple[LabelStore, dict[str, StoredVectors]]:
    """Return a store to be read with the vectors `names` alone, and what restores these, by name.

    None are none, or all of a store that has no labels. Raises `ConfigError` for text instead of names,
    and `StoreError` for a name that the store does not have.
    """
    if isinstance(names, str):
        raise ConfigError(f"vectors is {names!r}; give names, as in vectors=({names!r},)")
    if names is None:
        names = () if store.spec.labels.there else tuple(store.spec.vectors)
    return store.of_targets(names), {name: store.vectors(name) for name in names}


def restored(vectors: Mapping[str, StoredVectors], kept: Quantized) -> dict[str, Tensor]:
    """Return the vectors of B crops by name, f32 [B, …], of what is kept of them."""
    return {name: stored.restore(kept) for name, stored in vectors.items()}
