"""Which files of a run hold checkpoints."""

import os
from pathlib import Path

from fkd.config import as_path
from fkd.errors import ModelError

LAST, PREVIOUS, BEST = "last.pt", "previous.pt", "best.pt"


def checkpoint_file(path: str | Path) -> Path:
    """Return the file of a checkpoint, the best one of a run folder; raises `ModelError` without any.

    Of folders that are no runs it says what they are.
    """
    path = as_path("the checkpoint", path)
    if os.path.isfile(path):
        return path
    if not os.path.isdir(path):
        raise ModelError(f"checkpoint {path}: no such file; `fkd train` writes RUN/best.pt")
    if os.path.isfile(path / BEST):
        return path / BEST
    if os.path.isfile(path / "zarr.json"):
        raise ModelError(
            f"checkpoint {path}: is a label store, no student; give the run folder that `fkd train` made"
        )
    if os.path.isfile(path / LAST):
        raise ModelError(
            f"checkpoint {path}: the run has no {BEST} before its first evaluation; give {path / LAST}"
        )
    raise ModelError(
        f"checkpoint {path}: a folder without {BEST}; give the run folder that `fkd train` made"
    )
