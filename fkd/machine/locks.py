"""One process at a time in a folder: a label store, or a run."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fkd.errors import FkdError
from fkd.progress import note


@contextmanager
def held(file: Path, busy: FkdError, command: str) -> Iterator[None]:
    """Lock `file` while the block runs, or raise `busy`; a killed process holds no lock."""
    with file.open("rb") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Another process may have put a new file in its place between the two lines above.
            if not os.path.samestat(os.fstat(handle.fileno()), os.stat(file)):
                raise BlockingIOError
        except BlockingIOError as error:
            raise busy from error
        except OSError:
            note(
                f"{file.parent} is on a file system without locks: start no second `{command}` on it"
            )
        yield
