"""What long work says: whole lines in a log file, a bar in a terminal, amounts in words."""

import io
import os
import pty
import subprocess
import sys
import time

import pytest

from fkd import progress as room
from fkd.amounts import as_bytes, as_count, as_duration, as_large, as_rate
from fkd.progress import note, note_lines, progress, progress_bar

_WORK = """
import time
from fkd.progress import note, progress_bar
with progress_bar("label", unit="view", total=4000, initial=1000) as bar:
    for _ in range(6):
        time.sleep(0.2)
        bar.update(500)
        note("said beside it")
"""


def test_a_log_file_gets_whole_lines_and_nothing_else() -> None:
    done = subprocess.run([sys.executable, "-c", _WORK], capture_output=True, check=True)
    text = done.stderr.decode()
    assert "\r" not in text
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[:6] == ["said beside it"] * 6
    assert lines[6].startswith("label: 4,000/4,000 views (100%), ")
    assert len(lines) == 7


def test_a_terminal_gets_a_bar_with_rate_and_time_left() -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _WORK], stderr=theirs, env={**os.environ, "COLUMNS": "100"}
    )
    os.close(theirs)
    text = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        text += piece
    os.close(ours)
    assert process.wait() == 0
    assert b"\r" in text


def test_lines_of_a_log_become_rarer_and_never_stop(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(room, "_LOGGED", 0.05)
    with progress_bar("train", unit="view", total=30) as bar:
        for _ in range(30):
            time.sleep(0.01)
            bar.update(1)
    lines = capfd.readouterr().err.splitlines()
    assert 3 <= len(lines) <= 10
    assert all(line.startswith("train: ") for line in lines)
    assert lines[-1].startswith("train: 30/30 views (100%)")


def test_short_work_that_may_be_silent_is(capfd: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(3), "list images", unit="class", delay=5)) == [0, 1, 2]
    with progress_bar("measure", unit="crop", total=3, delay=5) as bar:
        bar.update(3)
    assert capfd.readouterr().err == ""


def test_notes_are_one_line_each_and_columns_are_aligned(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said = io.StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    note("a\nb")
    note_lines([("store", "x.zarr"), ("student", "resnet50")])
    monkeypatch.setenv("RANK", "1")
    note_lines([("store", "said by another rank")])
    assert said.getvalue() == "a\\nb\nstore    x.zarr\nstudent  resnet50\n"


def test_amounts_in_words() -> None:
    assert [as_count(n, "view") for n in (1, 1200, 0.25)] == ["1 view", "1,200 views", "0.25 views"]
    assert as_count(2, "batch") == "2 batches"
    assert as_count(1.001, "epoch") == "1 epoch"  # in three digits, as it is shown
    assert as_count(2, "warm-up epoch") == "2 warm-up epochs"
    assert as_count(2, "class") == "2 classes"
    assert [as_rate(r, "view") for r in (1234.5, 12.34, 0.123)] == [
        "1,234 views/s",
        "12.3 views/s",
        "0.12 views/s",
    ]
    seconds = (0.2, 48, 60, 125, 3600, 12_000, 86_400, 525_600)
    assert [as_duration(s) for s in seconds] == [
        "under 1 s", "48 s", "1 min", "2 min 5 s", "1 h", "3 h 20 min", "1 d", "6 d 2 h",
    ]  # fmt: skip
    assert [as_bytes(b) for b in (812, 1536, 3 * 2**30, 2**41)] == [
        "812 bytes", "1.5 KiB", "3.0 GiB", "2.0 TiB",
    ]  # fmt: skip
    assert [as_large(n) for n in (812, 730_000, 25_557_032)] == ["812", "730 K", "25.6 M"]
