"""Where indexes of archives, and labels from afar, are kept."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Return where to keep what can be had again: `FKD_CACHE`, or `fkd` in the user's folder of caches.

    A user without a home, as in a container, gets a place where nothing can be kept.
    """
    if chosen := os.environ.get("FKD_CACHE"):
        return Path(chosen)
    home = os.path.expanduser("~")
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(
        home if os.path.isabs(home) else os.devnull, ".cache"
    )
    return Path(caches, "fkd")
