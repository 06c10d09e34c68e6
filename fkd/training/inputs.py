"""What a run is given: a store, folders of images, a folder to write. What cannot be is refused at once.

This room loads no torch: a mistyped path is answered before the seconds that torch takes.
"""

from pathlib import Path

from fkd.config import CONFIG, NO_VAL, TrainConfig, folder_by_name
from fkd.errors import ConfigError
from fkd.images import class_folders
from fkd.loader import find_store
from fkd.models import require_weights
from fkd.store import image_root


def check_inputs(config: TrainConfig, *, leads: bool = True) -> None:
    """Refuse what a run cannot begin with, as far as files show it; raises `FkdError`.

    Of several processes the one that `leads` looks at the run's folder: the others may find it made.
    """
    store = find_store(config)
    if config.images is not None:
        image_root(store, config.images)
    if config.val is not None and config.val != NO_VAL:
        class_folders(Path(config.val))
    if config.init not in (None, "none", "default"):
        require_weights(Path(config.init))
    if leads:
        holds_run(folder_of(config), config)


def folder_of(config: TrainConfig) -> Path:
    """Return `--out` or, without one, a folder below `runs`."""
    return config.out or folder_by_name(
        config.student, config.scheme, config.crops_per_image, resume=config.resume
    )


def holds_run(folder: Path, config: TrainConfig) -> bool:
    """Say whether the folder holds a run to go on with; refuse one that holds anything else."""
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"--out {folder} is a file; choose a new folder")
    if config.resume and (folder / CONFIG).is_file():
        return True
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(
            f"--out {folder} exists and is not empty; choose a new folder"
            + ("" if config.resume else ", or add --resume to go on with the run in it")
        )
    return False
