"""One process at a time in a folder: a label store, or a run."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fkd.errors import FkdError
from fkd.progress import note


@contextmanager
def held(path: Path, busy: FkdError, command: str) -> Iterator[None]:
    """Lock a file or folder while the block runs, or raise `busy`; a killed process holds no lock."""
    handle = os.open(path, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have put a new one in its place between the two lines above.
            if not os.path.samestat(os.fstat(handle), os.stat(path)):
                raise BlockingIOError
        except BlockingIOError as error:
            raise busy from error
        except OSError:
            folder = path if path.is_dir() else path.parent
            note(f"{folder} is on a file system without locks: start no second `{command}` on it")
        yield
    finally:
        os.close(handle)
