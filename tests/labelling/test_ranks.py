"""Several labellers on one store: torchrun shares the blocks out, and strangers are kept away."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.folders import label_config
from helpers.processes import fkd_environment, ranks_finish
from helpers.stores import same_labels

from fkd import LabelStore, Scheme, label_images

WORDS = "label --teacher resnet18 --teacher-weights none --size 32 --block 2 --compress topk3"
WORDS += " --workers 1 --device cpu --batch-size 16 --out s.zarr"
WORDS = WORDS.split()


def any_block(store):
    return any((store / "done" / "c").glob("*/0"))


def alone(folder, tmp_path, crops, scheme="topk3"):
    settings = {"num_crops": crops, "block_images": 2, "batch_size": 16, "workers": 1}
    settings["scheme"] = Scheme.parse(scheme)
    return label_images(label_config(folder, tmp_path / "alone.zarr", **settings))


@pytest.mark.parametrize(("num_ranks", "scheme"), [(1, "topk3"), (2, "samples3")])
def test_ranks_make_the_store_that_one_process_makes(shared_folder, tmp_path, num_ranks, scheme):
    words = [*WORDS, "--compress", scheme, "--crops", 6, shared_folder]
    ranks = ranks_finish(words, tmp_path, num_ranks)
    said = "".join(done.out + done.err for done in ranks)
    assert [done.code for done in ranks] == [0] * num_ranks, said
    assert said.count("18 images × 6 crops") == 1
    one = alone(shared_folder, tmp_path, 6, scheme)
    same_labels(LabelStore.open(tmp_path / "s.zarr"), one)


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc")
@pytest.mark.whole
def test_a_rank_that_is_killed_costs_its_block_alone(shared_folder, tmp_path):
    how = ["torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    how += ["--max-restarts", "1", "--monitor-interval", "0.1", "-m", "fkd"]
    process = subprocess.Popen(
        [sys.executable, "-m", *how, *WORDS, "--crops", "60", str(shared_folder)],
        cwd=tmp_path, env=fkd_environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    with process:
        try:
            deadline = time.monotonic() + 120
            while not any_block(tmp_path / "s.zarr"):
                assert process.poll() is None, process.communicate()[0]
                assert time.monotonic() < deadline
                time.sleep(0.005)
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            assert len(children) >= 2
            os.kill(int(children[1]), signal.SIGKILL)
            done = {f: f.stat().st_mtime_ns for f in (tmp_path / "s.zarr" / "done").glob("c/*/0")}
            said = process.communicate(timeout=200)[0]
        finally:
            process.terminate()
    assert process.returncode == 0, said
    store = LabelStore.open(tmp_path / "s.zarr")
    assert store.pending_blocks() == []
    assert {f: f.stat().st_mtime_ns for f in done} == done
    same_labels(store, alone(shared_folder, tmp_path, 60))


# The leading rank looks at the teacher with its first 16 views. Then it waits, so that it does not label
# all blocks before the other one has any.
RANK_TEACHER = """
import os, pathlib, signal, time, torch
RANK, REACHED = os.environ.get("RANK"), pathlib.Path("reached")
class Teacher(torch.nn.Module):
    fkd_identity, asked = "means", 0
    def forward(self, x):
        self.asked += len(x) == 16
        if RANK == "1" and len(x) == 16:
            REACHED.touch()
            {what}
        until = time.monotonic() + 60
        while self.asked > 1 and not REACHED.exists() and time.monotonic() < until:
            time.sleep(0.01)
        return x.mean((2, 3))
def fails():
    REACHED.touch()
    if RANK == "1":
        raise ValueError("no such thing")
    return Teacher()
make = Teacher
"""
SMALL = "--teacher rank_teacher:{} --size 32 --block 2 --crops 16 --compress topk2 --workers 1"
SMALL += " --device cpu --batch-size 16 --out s.zarr"


def ranks_of_a_teacher(folder, tmp_path, *more, function="make", what="raise ValueError('bad')"):
    (tmp_path / "rank_teacher.py").write_text(RANK_TEACHER.replace("{what}", what))
    words = ["label", *SMALL.format(function).split(), *more, folder]
    return ranks_finish(words, tmp_path, 2)


@pytest.mark.parametrize(
    ("function", "words"),
    [("fails", "ValueError: no such thing"), ("make", "cannot take 16 views of 32 px")],
    ids=["as it begins", "in the midst"],
)
def test_a_rank_that_fails_ends_the_others(shared_folder, tmp_path, function, words):
    leading, failed = ranks_of_a_teacher(shared_folder, tmp_path, function=function)
    assert words in failed.error_line()
    assert f"rank 1 of 2 ended the run: {failed.error_line()[12:40]}" in leading.error_line()
    assert LabelStore.open(tmp_path / "s.zarr").pending_blocks()


def test_a_rank_that_is_stopped_stops_the_others(shared_folder, tmp_path):
    stop = "os.kill(os.getpid(), signal.SIGTERM)"
    ranks = ranks_of_a_teacher(shared_folder, tmp_path, what=stop)
    said = "".join(done.out + done.err for done in ranks)
    assert [done.code for done in ranks] == [130, 130], said
    assert said.count("label was stopped") == 1
    assert "Traceback" not in said


def test_what_the_leading_rank_finds_ends_all(shared_folder, tmp_path):
    """A complete store, and one of other settings: the others do not wait for a word that never comes."""
    for more, code, words in (
        ([], 0, "18 images × 16 crops"),
        ([], 0, "s.zarr is complete"),
        (["--seed", 1], 2, "other settings: --seed is"),
    ):
        ranks = ranks_of_a_teacher(shared_folder, tmp_path, *more, what="pass")
        said = "".join(done.out + done.err for done in ranks)
        assert [done.code for done in ranks] == [code, code], said
        assert words in said
        assert "Traceback" not in said


def test_a_second_labeller_is_turned_away(start_fkd, shared_folder, tmp_path, run_fkd):
    command = [*WORDS, "--crops", 60, shared_folder]
    first = start_fkd(*command)
    first.wait_for(lambda: any_block(tmp_path / "s.zarr"))
    first.send_signal(signal.SIGSTOP)  # or it may be done before the other one has begun
    try:
        second = run_fkd(*command)
    finally:
        first.send_signal(signal.SIGCONT)
    assert "another `fkd label` is at work on s.zarr" in second.error_line()
    said = first.finish()
    assert said.code == 0, said
    assert LabelStore.open(tmp_path / "s.zarr").pending_blocks() == []
