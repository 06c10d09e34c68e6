"""Several labellers on one store: torchrun shares the blocks out, and strangers are kept away."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers.folders import label_config
from helpers.processes import fkd_environment
from helpers.stores import same_labels

from fkd import LabelStore, label_images

WORDS = "label --teacher resnet18 --teacher-weights none --size 32 --block 2 --compress topk3"
WORDS += " --workers 1 --device cpu --batch-size 16 --out s.zarr"


@pytest.fixture
def start():
    """Start a labeller in a process; whatever becomes of the test, none is left behind."""
    with contextlib.ExitStack() as processes:

        def start_one(folder, cwd, crops, *, ranks=0, restarts=0):
            how = ["-m", "fkd"]
            if ranks:
                how = [
                    "-m",
                    "torch.distributed.run",
                    "--standalone",
                    "--nproc-per-node",
                    str(ranks),
                ]
                how += ["--max-restarts", str(restarts), "--monitor-interval", "0.1", "-m", "fkd"]
            process = subprocess.Popen(
                [sys.executable, *how, *WORDS.split(), "--crops", str(crops), str(folder)],
                cwd=cwd, env=fkd_environment() | {"OMP_NUM_THREADS": "1"}, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            )  # fmt: skip
            processes.enter_context(process)
            processes.callback(process.terminate)
            return process

        yield start_one


def wait_for_a_block(process, store):
    deadline = time.monotonic() + 120
    while not any((store / "done" / "c").glob("*/0")):
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def alone(folder, tmp_path, crops):
    settings = {"num_crops": crops, "block_images": 2, "batch_size": 16, "workers": 1}
    return label_images(label_config(folder, tmp_path / "alone.zarr", **settings))


@pytest.mark.parametrize("ranks", [1, 2])
def test_ranks_make_the_store_that_one_process_makes(start, shared_folder, tmp_path, ranks):
    process = start(shared_folder, tmp_path, 6, ranks=ranks)
    said = process.communicate(timeout=200)[0]
    assert process.returncode == 0, said
    assert said.count("18 images × 6 crops") == 1
    same_labels(LabelStore.open(tmp_path / "s.zarr"), alone(shared_folder, tmp_path, 6))


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="finds processes in /proc")
def test_a_rank_that_is_killed_costs_its_block_alone(start, shared_folder, tmp_path):
    process = start(shared_folder, tmp_path, 60, ranks=3, restarts=1)
    wait_for_a_block(process, tmp_path / "s.zarr")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert len(children) >= 3
    os.kill(int(children[1]), signal.SIGKILL)
    done = {f: f.stat().st_mtime_ns for f in (tmp_path / "s.zarr" / "done").glob("c/*/0")}
    said = process.communicate(timeout=200)[0]
    assert process.returncode == 0, said
    store = LabelStore.open(tmp_path / "s.zarr")
    assert store.pending_blocks() == []
    assert {f: f.stat().st_mtime_ns for f in done} == done
    same_labels(store, alone(shared_folder, tmp_path, 60))


def test_a_second_labeller_is_turned_away(start, shared_folder, tmp_path, run_fkd):
    first = start(shared_folder, tmp_path, 200)
    wait_for_a_block(first, tmp_path / "s.zarr")
    first.send_signal(signal.SIGSTOP)  # or it may be done before the other one has begun
    try:
        second = run_fkd(*WORDS.split(), "--crops", 200, shared_folder)
    finally:
        first.send_signal(signal.SIGCONT)
    assert "another `fkd label` is at work on s.zarr" in second.error_line()
    said = first.communicate(timeout=200)[0]
    assert first.returncode == 0, said
    assert LabelStore.open(tmp_path / "s.zarr").pending_blocks() == []
