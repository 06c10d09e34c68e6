"""A folder as a repository of the Hugging Face hub has it: a card, and the store in one file.

README.md          the card
labels.zarr.zip    the store
.gitattributes     large files go to LFS
"""

from dataclasses import replace
from pathlib import Path

from fkd.config import Url, as_config
from fkd.copying import carry_store, copy_store, removed
from fkd.errors import ConfigError, first_line
from fkd.machine import write_whole
from fkd.orders import CardConfig, CopyConfig
from fkd.publishing.card import store_card
from fkd.publishing.inputs import CARD, STORE, check_repository
from fkd.store import LabelStore

_ATTRIBUTES = ".gitattributes"
_LARGE = "*.zip filter=lfs diff=lfs merge=lfs -text\n"


def write_hub_layout(config: CopyConfig, *, license: str | None = None) -> LabelStore:
    """Write a store, or a part of it, and its card to the folder `config.out`; return the store there.

    The folder is uploaded as it is, and may be a clone of a repository. The store comes last: a folder
    without labels.zarr.zip is not finished, and the same call finishes it. Raises `FkdError` for a store
    that is unfinished, and a folder with a store or another README.md, which `overwrite` replaces.
    """
    as_config(config, CopyConfig)
    folder = check_repository(config.out, overwrite=config.overwrite)
    if config.takes_all:
        return _write(folder, config.store, license, overwrite=config.overwrite)
    made = folder.with_name(f".{folder.name}.made")
    copy_store(replace(config, out=made))
    store = _write(folder, made, license, overwrite=config.overwrite)
    removed(made)
    return store


def _write(folder: Path, source: Path | Url, license: str | None, *, overwrite: bool) -> LabelStore:
    """Write all files of a repository, in an order in which each can be written again."""
    text = store_card(CardConfig(source, license=license, name=STORE)).encode()
    try:
        card = folder / CARD
        if card.exists() and card.read_bytes() != text and not overwrite:
            raise ConfigError(f"{card} is there already; name another folder, or give --overwrite")
        folder.mkdir(parents=True, exist_ok=True)
        _send_to_lfs(folder / _ATTRIBUTES)
        write_whole(card, text)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written ({first_line(error)})") from error
    carry_store(source, folder / STORE, overwrite=overwrite)
    return LabelStore.open(folder / STORE)


def _send_to_lfs(attributes: Path) -> None:
    """Have archives stored as large files; what a repository says of others stays."""
    lines = attributes.read_text().splitlines(keepends=True) if attributes.exists() else []
    if any(line.split()[:1] == ["*.zip"] and "filter=lfs" in line.split() for line in lines):
        return
    if lines and not lines[-1].endswith("\n"):
        lines.append("\n")
    write_whole(attributes, "".join([*lines, _LARGE]).encode())
