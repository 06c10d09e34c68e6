"""What an import is given: images, labels, names of classes. What cannot be imported is refused at once.

This room loads no torch: a mistyped path is answered before the seconds that torch takes.
"""

import os
from pathlib import Path

from fkd.errors import ConfigError, StoreError
from fkd.images import require_titles
from fkd.machine import read_text
from fkd.orders import ImportConfig
from fkd.sources import dataset_root, require_images


def check_import(config: ImportConfig) -> Path:
    """Return where the images are; raises `FkdError` for what cannot be imported."""
    root = dataset_root(config.images, split=config.split)
    require_images(root)
    if not config.labels.is_dir():
        what = "is no folder" if os.path.lexists(config.labels) else "does not exist"
        raise ConfigError(f"{config.labels} {what}; name the folder of FKD's labels")
    if config.class_names is not None:
        require_titles(config.class_names)
    if config.classes_file is not None:
        names_by_id(config.classes_file)
    for other in (root, config.labels):
        _refuse_nested(config.out, other)
    return root


def names_by_id(path: Path) -> tuple[str, ...]:
    """Return the class names of a file of `--teacher-classes`, by class id."""
    remedy = "give a text file with one class name per class id, in UTF-8"
    text = read_text(path, f"--teacher-classes {path}", remedy, ConfigError)
    names = tuple(line.strip() for line in text.splitlines() if line.strip())
    if not names or len(set(names)) < len(names):
        fault = "names a class twice" if names else "is empty"
        raise ConfigError(
            f"--teacher-classes {path} {fault}; give one class name per class id, in order"
        )
    return names


def _refuse_nested(out: Path, other: Path) -> None:
    real, source = out.resolve(), other.resolve()
    if real.is_relative_to(source) or source.is_relative_to(real):
        where = "inside" if real.is_relative_to(source) else "around"
        raise StoreError(f"--out {out} lies {where} {other}; name a place beside it with --out")
