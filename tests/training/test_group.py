"""Processes that train together take the steps that one would take alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.processes import fkd_environment, losses, train_arguments, trained


@pytest.mark.parametrize("more", [[], ["--micro-batch", 4, "--ema", 0.9]], ids=["plain", "parts"])
def test_two_ranks_take_the_steps_of_one(shared_store, tmp_path, more):
    for num_ranks in (1, 2):
        for done in trained(shared_store, tmp_path / str(num_ranks), tmp_path, num_ranks, *more):
            assert done.code == 0, done.err
    one, two = (losses(tmp_path / name) for name in "12")
    assert one == pytest.approx(two, rel=1e-4)
    learned = losses(tmp_path / "1", ["train"])
    assert learned[-1] < 0.997 * learned[0]
    weights = [
        torch.load(tmp_path / name / "last.pt", weights_only=True)["student"] for name in "12"
    ]
    for name, values in weights[0].items():
        assert torch.allclose(values, weights[1][name], atol=1e-4), name
    for done in trained(shared_store, tmp_path / "2", tmp_path, 2, *more, "--resume"):
        assert done.code == 0, done.err
    assert losses(tmp_path / "2") == two


def test_a_batch_that_cannot_be_shared_is_refused(shared_store, tmp_path):
    ranks = trained(shared_store, tmp_path / "run", tmp_path, 2, "--batch-size", 6)
    assert all(done.code for done in ranks)
    said = "".join(done.err for done in ranks)
    assert "--batch-size 6 is 3 images, which 2 processes cannot share evenly" in said
    assert not (tmp_path / "run").exists()


def test_a_killed_rank_goes_on_from_the_last_checkpoint(shared_store, tmp_path):
    """torchrun starts all ranks anew; they meet again, and end where an undisturbed run ends."""
    more = ["--epochs", 400, "--lr", 5]
    for done in trained(shared_store, tmp_path / "whole", tmp_path, 2, *more):
        assert done.code == 0, done.err
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--max-restarts", 2]
    command += ["--nproc-per-node", 2, "--monitor-interval", 0.1, "-m", "fkd"]
    command += [*train_arguments(shared_store, tmp_path / "cut"), *more, "--resume"]
    process = subprocess.Popen(
        [str(c) for c in command], cwd=tmp_path, env=fkd_environment() | {"PYTHONPATH": str(tmp_path)},
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    while not (tmp_path / "cut" / "previous.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    stderr = process.communicate(timeout=200)[1]
    assert process.returncode == 0, stderr
    whole, cut = (
        torch.load(tmp_path / name / "last.pt", weights_only=True) for name in ("whole", "cut")
    )
    assert whole["step"] == cut["step"] == 300
    for name, values in whole["student"].items():
        assert torch.allclose(values, cut["student"][name], atol=1e-3), name
