"""Commands in processes of their own, or in this one."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from click.testing import CliRunner

from fkd.cli import main

STUDENT = """
import torch
def make(classes):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, 4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 49, classes)
    )
"""


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


def refused(*args, alone=True):
    """Run in process; return the message of an expected error, the last or only line."""
    result = CliRunner().invoke(main, [str(a) for a in args])
    assert result.exit_code == 2, result.output
    *others, line = result.stderr.splitlines()
    assert not (alone and others)
    assert line.startswith("fkd: error: ")
    assert result.stdout == ""
    return line


def trained(store, out, cwd, num_ranks, *more):
    (cwd / "tiny_student.py").write_text(STUDENT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += [num_ranks] if num_ranks > 1 else []
    command = [*command, "-m", "fkd"] if num_ranks > 1 else [sys.executable, "-m", "fkd"]
    command += [*train_arguments(store, out), *more]
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, env=fkd_environment() | {"PYTHONPATH": str(cwd)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def train_arguments(store, out):
    fixed = ["train", store.path, "--out", out, "--student", "tiny_student:make", "--lr", 20]
    fixed += ["--crops-per-image", 2, "--compress", "topk3", "--epochs", 40, "--batch-size", 24]
    return [*fixed, "--device", "cpu", "--workers", 1, "--eval-every", 20]


def losses(run, kinds=("train", "eval")):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] in kinds]
