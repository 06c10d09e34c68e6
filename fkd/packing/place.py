"""The folder that `fkd pack` writes to: its settings, one run at a time, and files that are whole."""

import json
import os
import shutil
from collections.abc import Sequence
from contextlib import AbstractContextManager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fkd.errors import ImagesError
from fkd.images import fingerprint
from fkd.machine import aside_of, held, write_whole
from fkd.orders import PackConfig
from fkd.packing.split import Split

SETTINGS = "pack.json"


def refuse_overlap(images: Path, out: Path) -> None:
    """Raise `ImagesError` where one folder is the other or lies in it, links resolved."""
    source, target = Path(os.path.realpath(images)), Path(os.path.realpath(out))
    if source == target or source in target.parents or target in source.parents:
        relation = "is" if source == target else "lies in" if source in target.parents else "holds"
        raise ImagesError(
            f"{out} {relation} the image folder {images}; name a folder apart from it"
        )


def prepare(config: PackConfig, splits: Sequence[Split]) -> None:
    """Make the folder and its settings; refuse a folder of something else, or of other settings."""
    out = config.out
    wanted = _settings(config) | {"truth": _truth(splits), "identity": _identity(config, splits)}
    made = _read_settings(out)
    try:
        if made is not None and config.overwrite:
            with alone(out):
                _clear(out)
        elif made is not None:
            _refuse_another_copy(out, made, wanted)
            return
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImagesError(f"{out} cannot be made ({error}); name another folder") from error
    write_copy(os.path.join(out, SETTINGS), (json.dumps(wanted, indent=2) + "\n").encode())


def alone(out: Path) -> AbstractContextManager[None]:
    """Keep other runs away from the folder, which would write to the same files."""
    busy = ImagesError(f"another `fkd pack` is at work on {out}; wait for it or stop it")
    return held(out / SETTINGS, busy, "fkd pack")


def _identity(config: PackConfig, splits: Sequence[Split]) -> list[str] | None:
    """Return what the images are known by: from their sizes follows which shard has which image."""
    if config.to != "tar":
        return None
    return [fingerprint(split.images.paths, split.images.num_bytes) for split in splits]


def _truth(splits: Sequence[Split]) -> str | None:
    """Return what the images have beside them: masks or texts."""
    if splits[0].truth is None:
        return None
    return "texts" if splits[0].masks is None else "masks"


def _settings(config: PackConfig) -> dict[str, Any]:
    return {
        "made_by": "fkd pack",
        "fkd_version": version("fkd"),
        "images": os.path.realpath(config.images),
        "bound": config.bound,
        "pixels": config.pixels,
        "quality": config.quality,
        "to": config.to,
        "shard_bytes": config.shard_bytes,
        "unlabelled": config.unlabelled,
    }


def _read_settings(out: Path) -> dict[str, Any] | None:
    """Return the settings of a packed folder, or None where it is empty; refuse any other folder."""
    try:
        if not set(os.listdir(out)) - {aside_of(Path(SETTINGS)).name}:
            return None
        made = json.loads((out / SETTINGS).read_text("utf-8"))
        if made["made_by"] == "fkd pack":
            return {**made}
    except FileNotFoundError:
        if not os.path.lexists(out):
            return None
    except (OSError, ValueError, TypeError, KeyError):
        pass
    raise ImagesError(
        f"{out} is there already and holds no {SETTINGS} of `fkd pack`, so it is left alone; name "
        "another folder"
    )


def _refuse_another_copy(out: Path, made: dict[str, Any], wanted: dict[str, Any]) -> None:
    for had, has in zip(_in_words(made), _in_words(wanted), strict=False):
        if had != has:
            raise ImagesError(
                f"{out} was packed with {had}, not {has}; use the same settings to go on, name another "
                "folder, or start anew with --overwrite"
            )
    if made.get("identity") not in (None, wanted["identity"]):
        raise ImagesError(
            f"{out} was packed when {wanted['images']} held other images, so its shards do not fit those "
            "of now; name another folder, or start anew with --overwrite"
        )


def _in_words(settings: dict[str, Any]) -> list[str]:
    had = {"images": None, "bound": None, "pixels": None, "quality": None} | settings
    whole = had["pixels"] is None
    words = [
        f"the images of {had['images']}",
        "--full-size" if whole else f"--{had['bound']} {had['pixels']}",
        "--full-size" if whole else f"--quality {had['quality']}",
        f"--to {had.get('to', 'folder')}",  # a version before this one made folders alone
        "--unlabelled" if had.get("unlabelled") else had.get("truth") or "classes",
    ]
    if had.get("to") == "tar":
        words.append(f"--shard-size {int(had['shard_bytes']) / 1e6:g}")
    return words


def _clear(out: Path) -> None:
    """Empty a packed folder. Its settings stay, so that it is known as one if this is interrupted."""
    for entry in out.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != SETTINGS:
            entry.unlink()


def write_copy(target: str, content: bytes) -> int:
    """Write a file of the folder whole, or not at all, and return its size."""
    try:
        os.makedirs(os.path.dirname(target), exist_ok=True)
        # A power cut may cost the last few of a million files, and the next run finds them empty.
        write_whole(Path(target), content, durable=False)
    except OSError as error:
        raise cannot_write(target, error) from error
    return len(content)


def cannot_write(target: object, error: OSError) -> ImagesError:
    """Return the refusal of a place that cannot be written."""
    return ImagesError(
        f"{target} could not be written ({error}); finished images are kept, run the same command "
        "again to go on"
    )
