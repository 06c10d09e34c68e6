"""Processes that train together take the steps that one would take alone."""

import json
import subprocess
import sys

import pytest
import torch
from conftest import fkd_environment

STUDENT = """
import torch
def make(classes):
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 8, 5, 4), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(8 * 49, classes)
    )
"""


def trained(store, out, cwd, num_ranks, *more):
    (cwd / "tiny_student.py").write_text(STUDENT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node"]
    command += [num_ranks] if num_ranks > 1 else []
    command = [*command, "-m", "fkd"] if num_ranks > 1 else [sys.executable, "-m", "fkd"]
    command += ["train", store.path, "--out", out, "--student", "tiny_student:make"]
    command += ["--crops-per-image", 2, "--compress", "topk3", "--epochs", 40, "--batch-size", 24]
    command += ["--lr", 20, "--device", "cpu", "--workers", 1, "--eval-every", 20, *more]
    return subprocess.run(
        [str(c) for c in command], cwd=cwd, env=fkd_environment() | {"PYTHONPATH": str(cwd)},
        capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip


def losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines]


@pytest.mark.parametrize("more", [[], ["--micro-batch", 4, "--ema", 0.9]], ids=["plain", "parts"])
def test_two_ranks_take_the_steps_of_one(shared_store, tmp_path, more):
    for num_ranks in (1, 2):
        done = trained(shared_store, tmp_path / str(num_ranks), tmp_path, num_ranks, *more)
        assert done.returncode == 0, done.stderr
    one, two = (losses(tmp_path / name) for name in "12")
    assert one == pytest.approx(two, rel=1e-4)
    assert one[-1] < 0.99 * one[0]
    weights = [
        torch.load(tmp_path / name / "last.pt", weights_only=True)["student"] for name in "12"
    ]
    for name, values in weights[0].items():
        assert torch.allclose(values, weights[1][name], atol=1e-4), name
    done = trained(shared_store, tmp_path / "2", tmp_path, 2, *more, "--resume")
    assert done.returncode == 0, done.stderr
    assert losses(tmp_path / "2") == two


def test_a_batch_that_cannot_be_shared_is_refused(shared_store, tmp_path):
    done = trained(shared_store, tmp_path / "run", tmp_path, 2, "--batch-size", 6)
    assert done.returncode != 0
    assert "--batch-size 6 is 3 images, which 2 processes cannot share evenly" in done.stderr
    assert not (tmp_path / "run").exists()
