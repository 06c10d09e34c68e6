"""What a run says of the stores that it reads and makes."""

from fkd.amounts import as_bytes, as_count
from fkd.format import StoreSpec
from fkd.store import LabelStore


def store_words(store: LabelStore) -> str:
    """Say in one line what a store has."""
    return f"{store.path}: {spec_words(store.spec)}"


def spec_words(spec: StoreSpec) -> str:
    """Say what a store of a spec has."""
    images, crops = as_count(spec.num_images, "image"), as_count(spec.num_crops, "crop")
    return f"{images} × {crops}, {spec.kept_words}"


def closing_words(store: LabelStore) -> str:
    """Say in one line what a store that was made has, and how large it is."""
    return f"{store_words(store)}, {as_bytes(sum(store.stored_bytes().values()))}"
