"""SIGKILL at random moments of a command: what it reads stays, what it makes is whole in the end.

`FKD_FAULT_ROUNDS=200 pytest -k killed` kills more often; scripts/faults runs that.
"""

import os
import random
import time

from helpers.copies import files
from helpers.processes import Forked

ROUNDS = int(os.environ.get("FKD_FAULT_ROUNDS", "2"))


def survives_kills(args, folder, sources, out, look, rounds=ROUNDS):
    """Kill `fkd args` in `folder` so often, then let it end; all of that is checked.

    `sources` are never changed, and `out` has in the end, byte for byte, what a run has that nobody
    disturbed. `look(out)` is called after each kill where `out` is there: it must be fit to go on with.
    """
    before = {source: files(source) for source in sources}
    began = time.monotonic()
    _finish(args, folder)
    seconds, wanted = time.monotonic() - began, _contents(out)
    out.rename(folder / "undisturbed")
    chance = random.Random()
    for _ in range(rounds):
        with Forked(args, folder) as process:
            deadline = time.monotonic() + chance.uniform(0, seconds)
            while process.code is None and time.monotonic() < deadline:
                time.sleep(0.002)
        assert all(files(source) == content for source, content in before.items())
        if out.exists():
            look(out)
    _finish(args, folder)
    assert _contents(out) == wanted
    assert all(files(source) == content for source, content in before.items())


def _finish(args, folder):
    done = Forked(args, folder).finish()
    assert done.code == 0, done.err


def _contents(out):
    return files(out) if out.is_dir() else out.read_bytes()
