"""A run is rehearsed before it begins: what it would take, and nothing is written."""

import signal
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.processes import refused

from fkd import FkdError, TrainConfig, rehearse, train_student
from fkd.cli import main
from fkd.training import rehearsal

WORDS = ["--student", "squeezenet1_1", "--crops-per-image", "2", "--compress", "topk3"]
WORDS += ["--device", "cpu", "--log", "none", "--batch-size", "12", "--epochs", "4"]


def fkd_train(*words):
    return CliRunner().invoke(main, ["train", *(str(word) for word in words)])


def test_a_rehearsal_says_what_a_run_would_take_and_writes_nothing(
    shared_store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.toml").write_text("lr = 2\n")
    before = {path: path.stat().st_mtime_ns for path in shared_store.path.rglob("*")}
    done = fkd_train(shared_store.path, "--recipe", "mine.toml", *WORDS, "--dry-run", "--size", "32:48",
                     "--size-multiple", 16)  # fmt: skip
    assert done.exit_code == 0, done.output
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
    assert before == {path: path.stat().st_mtime_ns for path in shared_store.path.rglob("*")}
    lines = dict(line.split(maxsplit=1) for line in done.stderr.splitlines())
    assert lines["steps"] == "6 of 12 views, 4 epochs"
    assert lines["views"] == "72 of 18 images"
    assert "measured on 1 step;" in lines["speed"]
    assert "in steps, 2 evaluations of" in lines["time"]
    assert lines["memory"].startswith("at most ")
    assert "in this process; " in lines["memory"]
    assert "a checkpoint; a run keeps three" in lines["files"]
    (tmp_path / "settled.toml").write_text(done.stdout)
    config = TrainConfig.from_recipe("settled.toml")
    assert (config.optim.lr, config.batch_size, str(config.size)) == (2, 12, "32:48")
    assert config.store == shared_store.path
    assert "lr = 2                        # from mine.toml" in done.stdout.splitlines()
    assert "momentum = 0.9                # default" in done.stdout.splitlines()


def test_a_rehearsal_counts_what_a_checkpoint_holds(shared_store, tmp_path):
    settings = {
        "store": shared_store.path, "student": "squeezenet1_1", "crops_per_image": 2, "scheme": "topk3",
        "device": "cpu", "batch_size": 12, "epochs": 2, "val": "none", "ema": 0.5, "log": "none",
    }  # fmt: skip
    found = rehearse(TrainConfig.from_recipe("fkd", **settings))
    run = train_student(TrainConfig.from_recipe("fkd", **settings, out=tmp_path / "run"))
    written = (run / "last.pt").stat().st_size
    assert found.checkpoint_bytes == pytest.approx(written, rel=0.05)
    assert (found.total_steps, found.steps_timed, found.evaluation_seconds) == (3, 1, None)
    assert found.seconds == 3 * found.step_seconds
    assert found.waiting_bytes == 1 * 2 * 12 * 3 * 32 * 32
    assert found.memory_bytes > 10e6


def take_steps_for_ever():
    def timed_steps(*_):
        Path("taking steps").touch()
        while True:
            time.sleep(0.01)

    rehearsal._timed_steps = timed_steps


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_rehearsal_that_is_stopped_speaks_of_no_checkpoint(
    shared_store, tmp_path, start_fkd, number
):
    process = start_fkd(
        "train", shared_store.path, *WORDS, "--dry-run", prepare=take_steps_for_ever
    )
    process.wait_for((tmp_path / "taking steps").exists)
    process.send_signal(number)
    done = process.finish()
    assert done.code == 130
    last = done.err.splitlines()[-1]
    assert last == "fkd: train was stopped. A dry run keeps nothing."


def test_a_loss_that_is_no_number_is_refused_as_a_run_refuses_it(shared_store):
    settings = {"store": shared_store.path, "student": "squeezenet1_1", "crops_per_image": 2}
    settings |= {"scheme": "topk3", "device": "cpu", "batch_size": 12, "epochs": 6, "val": "none"}
    with pytest.raises(FkdError, match=r"the loss is (nan|inf) at step \d; try a smaller --lr"):
        rehearse(TrainConfig.from_recipe("fkd", **settings, lr=1000.0, momentum=0.9))


def test_what_a_run_is_refused_for_its_rehearsal_is(shared_store, tmp_path, monkeypatch):
    args = ["train", shared_store.path, *WORDS, "--dry-run"]
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    assert "exists and is not empty" in refused(*args, "--out", tmp_path / "full")
    assert "student 'resnet17'" in refused(*args, "--student", "resnet17")
    assert "--dry-run is of one process and of a run that begins" in refused(*args, "--resume")
    monkeypatch.setattr(rehearsal, "launched", lambda: True)
    with pytest.raises(FkdError, match="call it without torchrun"):
        rehearse(TrainConfig())
