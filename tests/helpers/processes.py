"""Commands in processes of their own, or in this one.

`python -m fkd` loads torch for seconds; a fork of a server that has loaded it begins at once. It is a
process as much: it has its own folder, environment, limits and exit code, and signals reach it alike.
"""

import json
import multiprocessing
import os
import resource
import runpy
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import torch
from click.testing import CliRunner
from torch.distributed import TCPStore

STUDENT = """
import torch
def make(classes):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, 4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 49, classes)
    )
"""

# The same with a head that it does not use, and with one whose outputs no loss is on.
SPARE_HEADS = (
    STUDENT.replace("make", "student")
    + """
class Spared(torch.nn.Module):
    def __init__(self, student, classes):
        super().__init__()
        self.student, self.spare = student, torch.nn.Linear(8, 3)
        self.beside = torch.nn.Linear(8, classes)

    def forward(self, pixels):
        seen = self.student[0](pixels)
        beside = self.beside(seen.mean((2, 3)))
        return {"logits": self.student[1:](seen), "aux": beside}

def make(classes):
    return Spared(student(classes), classes)
"""
)

SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(
    [
        *("fkd.copying.average", "fkd.copying.copy", "fkd.copying.merge"),
        *("fkd.labelling.label", "fkd.training.train", "fkd.checking.check", "fkd.showing.show"),
        *("matplotlib.backends.backend_agg", "matplotlib.figure", "torch.utils.tensorboard"),
    ]
)


@dataclass
class Finished:
    code: int
    out: str
    err: str

    def error_line(self):
        """Return the one line of an expected error, after checking that it is one."""
        lines = [line for line in self.err.splitlines() if line.startswith("fkd: error:")]
        assert self.code == 2, self.err
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        return lines[0]


def fkd_environment():
    return os.environ | {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1", "TERM": "dumb"}


class Forked:
    """`fkd …` at work in a process; it is killed where a `with` block ends before it does.

    `prepare` is a function of a module, called in the process before the command. `largest_file`, a limit
    in bytes, stops writing as a full disk would. With `script` that file of Python is run instead of fkd.
    """

    def __init__(self, args, cwd, *, env=None, prepare=None, largest_file=None, script=None):
        environment = fkd_environment() | (env or {})
        with ExitStack() as kept:
            files = [kept.enter_context(tempfile.NamedTemporaryFile()) for _ in range(2)]
            self._kept = kept.pop_all()
        self._said = [Path(file.name) for file in files]
        words = [str(arg) for arg in args]
        what = (words, str(cwd), self._said, environment, prepare, largest_file, script)
        self._process = SERVER.Process(target=_run, args=what, daemon=True)
        with patch.dict(os.environ, environment):  # the server may start here, and keeps it
            self._process.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    @property
    def code(self):
        """The exit code, or minus the signal that ended it; None while it is at work."""
        return self._process.exitcode

    def send_signal(self, number):
        os.kill(self._process.pid, number)

    def kill(self):
        """Kill it if it is still at work, and forget what it said."""
        if self.code is None:
            self._process.kill()
        self._process.join()
        self._kept.close()

    def said(self):
        """Return what it has said on stderr so far."""
        return self._said[1].read_text("utf-8")

    def finish(self, timeout=300):
        """Wait for its end, and return how that was."""
        self._process.join(timeout)
        code, (out, err) = self.code, (path.read_text("utf-8") for path in self._said)
        self.kill()
        assert code is not None, f"still at work after {timeout} s: {err}"
        return Finished(code, out, err)

    def wait_for(self, ready, timeout=120):
        """Wait until `ready()`; it must not end before that."""
        deadline = time.monotonic() + timeout
        while not ready():
            assert self.code is None, self.finish()
            assert time.monotonic() < deadline
            time.sleep(0.005)


def _run(words, cwd, said, environment, prepare, largest_file, script):
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(cwd)
    for number, path in enumerate(said, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND), number)
    torch.set_num_threads(1)
    if largest_file is not None:
        sys.dont_write_bytecode = True
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))
    if prepare is not None:
        prepare()
    if script is not None:
        sys.argv, sys.path[0] = [str(script), *words], str(script.parent)
        runpy.run_path(str(script), run_name="__main__")
        return
    from fkd.cli import main  # looks for its rank when it is loaded

    main(words)


def ranks_finish(args, cwd, num_ranks, **more):
    """Run a command in processes that meet as those of torchrun do; return how each ended."""
    keys, environments = meeting(num_ranks)
    with ExitStack() as at_work:
        ranks = [
            at_work.enter_context(Forked(args, cwd, env=environment, **more))
            for environment in environments
        ]
        finished = [rank.finish() for rank in ranks]
    del keys
    return finished


def meeting(num_ranks):
    """Return the place where ranks meet, to be kept until they end, and the environment of each."""
    keys = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    shared = {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(keys.port),
        "WORLD_SIZE": str(num_ranks),
        "LOCAL_WORLD_SIZE": str(num_ranks),
        "TORCHELASTIC_RUN_ID": "test",
        "TORCHELASTIC_RESTART_COUNT": "0",
        "TORCHELASTIC_USE_AGENT_STORE": "True",
    }
    own = [{"RANK": str(rank), "LOCAL_RANK": str(rank)} for rank in range(num_ranks)]
    return keys, [shared | each for each in own]


def refused(*args, alone=True):
    """Run in process; return the message of an expected error, the last or only line."""
    from fkd.cli import main  # in this process, for it is not for forks

    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exit_code == 2, result.output
    *others, line = result.stderr.splitlines()
    assert not (alone and others)
    assert line.startswith("fkd: error: ")
    assert result.stdout == ""
    return line


def trained(store, out, cwd, num_ranks, *more, student=STUDENT, **settings):
    """Train in one process, or in ranks; return how each ended."""
    (cwd / "tiny_student.py").write_text(student)
    args = [*train_arguments(store, out), *more]
    if num_ranks > 1:
        return ranks_finish(args, cwd, num_ranks, **settings)
    return [Forked(args, cwd, **settings).finish()]


def train_arguments(store, out):
    fixed = ["train", store.path, "--out", out, "--student", "tiny_student:make", "--lr", 20]
    fixed += ["--crops-per-image", 2, "--compress", "topk3", "--epochs", 40, "--batch-size", 24]
    return [*fixed, "--device", "cpu", "--workers", 1, "--eval-every", 20]


def losses(run, kinds=("train", "eval")):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] in kinds]
