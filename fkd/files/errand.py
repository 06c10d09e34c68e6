"""Requests of a forked process: another process makes them, since obstore's threads stayed in the parent.

Workers of a `DataLoader` are forked where nothing else was asked for. What a request needs goes to a new
Python process through its stdin, and what came through its stdout. It ends when its stdin does.
"""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any, BinaryIO

from fkd.config import Url
from fkd.files.address import Patience
from fkd.files.client import Direct, Facts, Part


class Errands:
    """A client whose requests another process makes. Batches are made at once; batches wait in turn."""

    def __init__(self, url: Url, patience: Patience) -> None:
        """Start the process that makes the requests."""
        self._url, self._lock = url, threading.Lock()
        words = [sys.executable, "-c", "from fkd.files.errand import serve; serve()"]
        path = os.pathsep.join(part or os.getcwd() for part in sys.path)
        self._process = subprocess.Popen(
            words,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,  # Ctrl-C is for the parent, who ends this one
        )
        self._ask((url, patience))

    def listed(self) -> dict[str, Facts] | None:
        """Return every object by key; None where nothing can be listed."""
        listed: dict[str, Facts] | None = self._ask(("listed",))
        return listed

    def facts(self, keys: Sequence[str]) -> list[Facts | OSError]:
        """Ask about objects, all at once."""
        facts: list[Facts | OSError] = self._ask(("facts", list(keys)))
        return facts

    def parts(self, wanted: Sequence[Part]) -> list[tuple[bytes, Facts] | OSError]:
        """Get parts of objects, all at once."""
        parts: list[tuple[bytes, Facts] | OSError] = self._ask(("parts", list(wanted)))
        return parts

    def put(self, key: str, content: bytes | os.PathLike[str]) -> None:
        """Write an object whole; raises `OSError`."""
        self._ask(("put", key, content))

    def delete(self, keys: Sequence[str]) -> None:
        """Remove objects; raises `OSError`."""
        self._ask(("delete", list(keys)))

    def _ask(self, what: Any) -> Any:
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None
        assert answers is not None
        with self._lock:
            try:
                pickle.dump(what, asked)
                asked.flush()
                answer = pickle.load(answers)
            except (OSError, EOFError, pickle.UnpicklingError) as error:
                raise OSError(f"{self._url}: the process that reads it has ended") from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def __del__(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        self._process.wait()


def serve() -> None:
    """Make requests until stdin ends. Nothing else is written to stdout."""
    asked, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        client = Direct(*pickle.load(asked))
        _answer(answers, None)
        while True:
            name, *arguments = pickle.load(asked)
            try:
                _answer(answers, getattr(client, name)(*arguments))
            except OSError as error:
                _answer(answers, error)
    except EOFError:
        return
    except Exception as error:  # the one who asked tells it
        _answer(answers, error)


def _answer(stream: BinaryIO, what: Any) -> None:
    pickle.dump(what, stream, pickle.HIGHEST_PROTOCOL)
    stream.flush()
