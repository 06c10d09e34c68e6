"""A folder as a repository of the Hugging Face hub has it: a card, and the store in one file.

README.md          the card
labels.zarr.zip    the store
.gitattributes     large files go to LFS
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from fkd.config import CardConfig
from fkd.errors import ConfigError
from fkd.machine import write_whole
from fkd.publishing.card import store_card

STORE = "labels.zarr.zip"
_ATTRIBUTES = "*.zip filter=lfs diff=lfs merge=lfs -text\n"


def write_hub_layout(
    config: CardConfig,
    folder: Path,
    carry: Callable[[Path, Path], object],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a store and its card to a folder that is uploaded as it is; return the folder.

    `carry` writes the store at its first path to the zip at its second one. The card comes last: a folder
    without README.md is not finished. Raises `ConfigError` for a folder that has one, unless it is to be
    overwritten.
    """
    card = folder / "README.md"
    if card.exists() and not overwrite:
        raise ConfigError(f"{card} is there already; name another folder, or give --overwrite")
    text = store_card(replace(config, name=STORE))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        write_whole(folder / ".gitattributes", _ATTRIBUTES.encode())
        carry(config.store, folder / STORE)
        write_whole(card, text.encode())
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({error}); name another folder") from error
    return folder
