"""Processes that train together take the steps that one would take alone."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from helpers.processes import SPARE_HEADS, fkd_environment, losses, train_arguments, trained

from fkd.errors import ImagesError
from fkd.training.record import Record


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


def test_two_ranks_train_a_student_with_weights_that_nobody_asks(shared_store, tmp_path):
    ranks = trained(shared_store, tmp_path / "run", tmp_path, 2, "--epochs", 4, student=SPARE_HEADS)
    assert [done.code for done in ranks] == [0, 0], ranks


def test_a_batch_that_cannot_be_shared_is_refused(shared_store, tmp_path):
    ranks = trained(shared_store, tmp_path / "run", tmp_path, 2, "--batch-size", 6)
    assert "--batch-size 6 is 3 images, which 2 processes cannot share evenly" in told_once(ranks)
    assert not (tmp_path / "run").exists()


def told_once(ranks):
    """Return the only line of an error that ended all ranks."""
    said = "".join(done.err for done in ranks)
    assert [done.code for done in ranks] == [2, 2], said
    assert "Traceback" not in said
    (line,) = [line for line in said.splitlines() if line.startswith("fkd: error:")]
    return line


def test_an_unknown_option_is_told_once(shared_store, tmp_path):
    ranks = trained(shared_store, tmp_path / "run", tmp_path, 2, "--lr", "-1")
    assert "--lr is -1" in told_once(ranks)
    assert "No such option" in told_once(
        trained(shared_store, tmp_path / "run", tmp_path, 2, "--rl", "1")
    )


def test_a_gpu_that_is_not_there_is_told_once(shared_store, tmp_path):
    ranks = trained(shared_store, tmp_path / "run", tmp_path, 2, "--device", "cuda")
    assert "error: --device cuda:0: " in told_once(ranks)


def test_a_folder_that_the_leading_rank_refuses_ends_all(shared_store, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    ranks = trained(shared_store, tmp_path / "run", tmp_path, 2)
    assert "is not empty; choose a new folder" in told_once(ranks)


def test_a_full_disk_on_the_leading_rank_ends_all(shared_store, tmp_path):
    ranks = trained(shared_store, tmp_path / "run", tmp_path, 2, largest_file=8_000)
    assert "last.pt cannot be written" in told_once(ranks)


def fail_beside_a_rank_that_never_ends():
    """The second rank finds no images; the first does not notice, as one that waits inside NCCL."""
    from fkd.training import course, processes

    processes._LOOK_EVERY = processes._GRACE = 0.1

    def find(*_):
        if os.environ["RANK"] == "1":
            raise ImagesError("the images are gone")
        time.sleep(200)

    course.run_images = find


def test_a_rank_that_waits_for_the_dead_ends_with_them(shared_store, tmp_path):
    ranks = trained(
        shared_store, tmp_path / "run", tmp_path, 2, prepare=fail_beside_a_rank_that_never_ends
    )
    assert told_once(ranks) == "fkd: error: the images are gone"


def stop_the_second_rank():
    """The second rank is asked to stop in its fifth step."""
    note_step = Record.note_step

    def asked(self, step):
        if os.environ["RANK"] == "1" and step.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        note_step(self, step)

    Record.note_step = asked


def test_ranks_stop_after_the_same_step_where_one_is_asked(shared_store, tmp_path):
    """The leading rank saves after every step, and so reads what was asked before the others do."""
    ranks = trained(
        shared_store, tmp_path / "run", tmp_path, 2, "--save-every", 1e-9,
        prepare=stop_the_second_rank,
    )  # fmt: skip
    assert [done.code for done in ranks] == [0, 0], ranks
    assert "fkd: train was stopped after step 6 of 30" in ranks[0].err
    assert "stopped" not in ranks[1].err


def test_ranks_say_once_what_they_do(shared_store, tmp_path):
    ranks = trained(shared_store, tmp_path / "run", tmp_path, 2, "--epochs", 4)
    first, second = ranks
    assert [done.code for done in ranks] == [0, 0]
    assert "processes  2, 12 views of each step for each" in first.err
    assert first.out == f"{tmp_path / 'run'}: config.json, metrics.jsonl, last.pt, best.pt\n"
    assert (second.err, second.out) == ("", "")


@pytest.mark.whole
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
