"""Which files hold weights."""

import os
from pathlib import Path

from fkd.errors import ModelError


def require_weights(path: Path, what: str = "") -> None:
    """Raise `ModelError` where there is no weight file; what is in one is seen when it is read.

    The message calls the file `what`, or weights without that.
    """
    what = what or f"weights {path}"
    if os.path.isdir(path):
        raise ModelError(f"{what}: is a folder; give a file with a state dict")
    if not os.path.isfile(path):
        raise ModelError(f"{what}: no such file; give a state dict that torch.save wrote")
