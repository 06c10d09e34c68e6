"""What a run says of the stores that it reads and makes."""

from pathlib import Path

from fkd.amounts import as_bytes, as_count
from fkd.config import Url
from fkd.format import StoreSpec
from fkd.store import LabelStore


def store_words(path: Path | Url, spec: StoreSpec) -> str:
    """Say in one line what a store has."""
    images, crops = as_count(spec.num_images, "image"), as_count(spec.num_crops, "crop")
    return f"{path}: {images} × {crops}, {spec.scheme}"


def closing_words(store: LabelStore) -> str:
    """Say in one line what a store that was made has, and how large it is."""
    return f"{store_words(store.path, store.spec)}, {as_bytes(sum(store.stored_bytes().values()))}"
