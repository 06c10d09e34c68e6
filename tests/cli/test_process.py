"""Streams that take nothing, and signals: one line or silence, and the exit code says what happened."""

import os
import signal
import time
from pathlib import Path

import pytest
from helpers.processes import trained

from fkd.packing import smaller


def stderr_is_full():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 2)


def stdout_is_full():
    os.dup2(os.open("/dev/full", os.O_WRONLY), 1)


def stdout_has_no_reader():
    ours, theirs = os.pipe()
    os.close(ours)
    os.dup2(theirs, 1)


def stderr_is_closed():
    """As Python begins with one: the number is free for the next file."""
    os.close(2)


@pytest.mark.parametrize("prepare", [stderr_is_full, stderr_is_closed])
def test_a_run_goes_on_without_its_log(shared_store, tmp_path, prepare):
    run = tmp_path / "run"
    (done,) = trained(shared_store, run, tmp_path, 1, "--epochs", 4, prepare=prepare)
    assert done.code == 0
    assert done.out.startswith(f"{run}: config.json, metrics.jsonl, last.pt, best.pt")
    assert (run / "last.pt").exists()
    assert "train" not in done.out


def test_a_full_stdout_is_one_line(shared_store, start_fkd):
    done = start_fkd("info", shared_store.path, prepare=stdout_is_full).finish()
    assert "stdout cannot be written (No space left on device)" in done.error_line()
    assert len(done.err.splitlines()) == 1


def test_a_reader_that_has_read_enough_is_no_error(shared_store, start_fkd):
    done = start_fkd("info", shared_store.path, prepare=stdout_has_no_reader).finish()
    assert (done.code, done.err) == (1, "")


def encode_for_ever():
    def encode(*_):
        Path("encoding").touch()
        while True:
            time.sleep(0.01)

    smaller._encode = encode


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_answered_and_the_second_ends(
    image_folder, tmp_path, start_fkd, second
):
    """The threads of this command never end, so the first signal is answered and no more."""
    words = ["pack", "--shortest", 10, "--workers", 1, image_folder / "train", "out"]
    process = start_fkd(*words, prepare=encode_for_ever)
    process.wait_for((tmp_path / "encoding").exists)
    process.send_signal(signal.SIGINT)
    process.wait_for(lambda: "fkd: stopping pack; again to stop at once" in process.said())
    process.send_signal(second)
    done = process.finish()
    assert done.code == 130
    assert done.err.splitlines()[-1].startswith(
        "fkd: pack was stopped at once. Finished images are"
    )
    assert "Traceback" not in done.err
