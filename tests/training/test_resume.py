"""A run that is stopped goes on, in the middle of a pass, and ends with the same weights."""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch
from helpers.folders import label_config
from helpers.processes import fkd_environment

from fkd import (
    FkdError,
    Scheme,
    TrainConfig,
    evaluate_checkpoint,
    label_images,
    plot_runs,
    train_student,
)
from fkd.errors import Stopped
from fkd.students import newest_checkpoint
from fkd.training.run import Run

SETTINGS = {
    "student": "shufflenet_v2_x0_5",  # it has batch norm
    "crops_per_image": 2,
    "scheme": Scheme("topk", 3),
    "epochs": 14,
    "batch_size": 20,
    "lr": 0.5,
    "device": "cpu",
    "eval_every": 3.0,
}
# The same for the command line.
STUDENT = ["--student", "shufflenet_v2_x0_5", "--crops-per-image", 2, "--compress", "topk3"]
STUDENT += ["--batch-size", 20, "--device", "cpu", "--resume"]
SHORT = [*STUDENT, "--epochs", 60, "--lr", 0.5, "--eval-every", 3]
ENDLESS = [*STUDENT, "--epochs", 4000, "--eval-every", 4000]
LIVELY = {"optimizer": "adamw", "ema": 0.9, "mixup": 0.5, "cutmix": 1.0, "color_jitter": 0.3}


def config(store, out, **changes):
    return TrainConfig.from_recipe("fkd", store=store.path, out=out, **SETTINGS | changes)


def lines(run):
    timing = {"views_per_s", "images_per_s", "data_wait"}
    text = (run / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in timing} for line in text]


def same(one, other):
    """Say whether two checkpoint values are equal, to the last bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[k], other[k]) for k in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


@pytest.mark.parametrize("more", [{}, LIVELY], ids=["plain", "lively"])
@pytest.mark.parametrize("stop_after", [1, 6, 9])
def test_weights_are_bit_equal_after_a_stop(shared_store, tmp_path, monkeypatch, stop_after, more):
    """13 steps of 10 images of 18: no stop falls on the end of a pass, 6 falls after an evaluation."""
    whole = train_student(config(shared_store, tmp_path / "whole", **more))
    log_step = Run.log_step

    def signalled(self, step, **values):
        log_step(self, step, **values)
        if step == stop_after:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Run, "log_step", signalled)
    with pytest.raises(
        Stopped, match=r"train was stopped after step \d+ of 13; it goes on"
    ) as stop:
        train_student(config(shared_store, tmp_path / "cut", **more))
    assert stop.value.signal_number == signal.SIGTERM
    monkeypatch.setattr(Run, "log_step", log_step)
    saved = newest_checkpoint(tmp_path / "cut").step
    assert stop_after <= saved <= stop_after + 2
    cut = train_student(config(shared_store, tmp_path / "cut", resume=True, workers=1, **more))
    for name in ("last.pt", "best.pt"):
        one, other = (torch.load(run / name, weights_only=True) for run in (whole, cut))
        assert same(one, other), name
    assert lines(cut) == lines(whole)


def test_a_killed_run_goes_on_from_its_newest_good_checkpoint(shared_store, tmp_path):
    whole = train_student(config(shared_store, tmp_path / "whole", epochs=60))
    command = [sys.executable, "-m", "fkd", "train", shared_store.path, "--out", tmp_path / "cut"]
    command += SHORT
    process = subprocess.Popen([str(c) for c in command], env=fkd_environment(), cwd=tmp_path)
    deadline = time.monotonic() + 120
    while newest_step(tmp_path / "cut") < 10 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert 10 <= newest_step(tmp_path / "cut") < 54
    # The machine went down with the process: the newest checkpoint never reached the disk whole.
    if (tmp_path / "cut" / "last.pt").exists():
        os.truncate(tmp_path / "cut" / "last.pt", 1000)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    done = subprocess.run(
        [str(c) for c in command], env=fkd_environment(), cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    one, other = (torch.load(r / "last.pt", weights_only=True) for r in (whole, tmp_path / "cut"))
    assert same(one, other)
    assert lines(tmp_path / "cut") == lines(whole)


def newest_step(folder):
    try:
        checkpoint = newest_checkpoint(folder)
    except OSError:
        return 0
    return 0 if checkpoint is None else checkpoint.step


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_saves_and_says_how_to_go_on(shared_store, tmp_path, number, code):
    command = [sys.executable, "-m", "fkd", "train", shared_store.path, "--out", tmp_path / "run"]
    command += ENDLESS
    process = subprocess.Popen(
        [str(c) for c in command],
        env=fkd_environment(),
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    )
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        time.sleep(0.02)
    process.send_signal(number)
    stderr = process.communicate(timeout=120)[1]
    assert process.returncode == code, stderr
    last = stderr.strip().splitlines()[-1]
    assert last.startswith("fkd: train was stopped after step ")
    assert last.endswith(f"--resume --out {tmp_path / 'run'}")
    said = int(last.split(" step ")[1].split()[0].replace(",", ""))
    assert newest_checkpoint(tmp_path / "run").step == said


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr": 0.4}, "--lr is 0.4, the run has 0.5"),
        ({"student": "resnet18"}, "--student is resnet18, the run has shufflenet"),
        ({"epochs": 15}, "--epochs is 15, the run has 14"),
        ({"mixup": 0.2}, "--mixup is 0.2, the run has 0.0"),
    ],
)
def test_another_run_is_not_continued(shared_store, tmp_path, changes, words):
    run = train_student(config(shared_store, tmp_path / "run"))
    before = (run / "last.pt").read_bytes()
    with pytest.raises(FkdError, match=words):
        train_student(config(shared_store, run, resume=True, **changes))
    with pytest.raises(FkdError, match=r"is not empty; choose a new folder, or add --resume"):
        train_student(config(shared_store, run))
    assert (run / "last.pt").read_bytes() == before


def test_other_labels_are_not_trained_on_by_a_run_that_goes_on(
    shared_store, shared_folder, tmp_path
):
    run = train_student(config(shared_store, tmp_path / "run"))
    other = label_images(label_config(shared_folder, tmp_path / "other.zarr"))
    with pytest.raises(FkdError, match="store spec is "):
        train_student(config(other, run, resume=True))


def test_a_finished_run_is_left_as_it_is(shared_store, tmp_path):
    run = train_student(config(shared_store, tmp_path / "run"))
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert train_student(config(shared_store, run, resume=True)) == run
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_resume_without_a_folder_takes_the_newest_run(shared_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first = train_student(config(shared_store, None, resume=True))
    second = train_student(config(shared_store, None))
    assert [first.name[-2:], second.name[-2:]] == ["-1", "-2"]
    assert train_student(config(shared_store, None, resume=True)) == second


def test_a_folder_has_one_run_at_a_time(shared_store, tmp_path, run_fkd):
    command = [sys.executable, "-m", "fkd", "train", shared_store.path, "--out", tmp_path / "run"]
    command += ENDLESS
    process = subprocess.Popen(
        [str(c) for c in command], env=fkd_environment(), cwd=tmp_path, stderr=subprocess.PIPE
    )
    while not (tmp_path / "run" / "metrics.jsonl").exists():
        time.sleep(0.02)
    done = run_fkd(*command[3:])
    process.kill()
    process.communicate()
    assert done.code == 2
    assert f"another `fkd train` is at work in {tmp_path / 'run'}" in done.error_line()


def test_a_full_disk_is_one_line_and_the_run_goes_on(shared_store, tmp_path):
    """A limit on the size of files stops the first checkpoint, as a full disk would."""
    command = [sys.executable, "-m", "fkd", "train", shared_store.path, "--out", tmp_path / "run"]
    command += SHORT
    done = subprocess.run(
        [str(c) for c in command], cwd=tmp_path, capture_output=True, text=True, check=False,
        env=fkd_environment() | {"PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000)),
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "last.pt cannot be written" in done.stderr
    assert not list((tmp_path / "run").glob("*.pt*"))
    run = train_student(config(shared_store, tmp_path / "run", epochs=60, resume=True))
    whole = train_student(config(shared_store, tmp_path / "whole", epochs=60))
    one, other = (torch.load(r / "last.pt", weights_only=True) for r in (whole, run))
    assert same(one, other)


def test_a_run_folder_stands_for_its_best_checkpoint(shared_store, shared_folder, tmp_path):
    run = train_student(config(shared_store, tmp_path / "run"))
    assert evaluate_checkpoint(run, shared_folder) == evaluate_checkpoint(
        run / "best.pt", shared_folder
    )


def test_checkpoints_that_cannot_be_read_are_not_begun_anew(shared_store, tmp_path, capsys):
    run = train_student(config(shared_store, tmp_path / "run"))
    whole = torch.load(run / "last.pt", weights_only=True)
    (run / "last.pt").write_bytes(b"x")
    before = lines(run)
    previous = torch.load(run / "previous.pt", weights_only=True)["step"]
    assert previous < whole["step"]
    train_student(config(shared_store, run, resume=True))
    assert f"going on from previous.pt, step {previous}" in capsys.readouterr().err
    assert same(torch.load(run / "last.pt", weights_only=True), whole)
    for name in ("last.pt", "previous.pt"):
        (run / name).write_bytes(b"x")
    with pytest.raises(
        FkdError, match=r"last.pt: not a checkpoint .* remove last.pt and previous.pt"
    ):
        train_student(config(shared_store, run, resume=True))
    assert lines(run) == before


def test_the_best_checkpoint_may_take_the_place_of_the_last(shared_store, tmp_path):
    run = train_student(config(shared_store, tmp_path / "run"))
    step = torch.load(run / "best.pt", weights_only=True)["step"]
    (run / "best.pt").replace(run / "last.pt")
    train_student(config(shared_store, run, resume=True))
    evaluations = [line["step"] for line in lines(run) if line["kind"] == "eval"]
    assert step in evaluations
    assert evaluations == sorted(set(evaluations))


@pytest.mark.parametrize("line", ["5", '{"kind": "train", "epoch": "x"}', "\udcff", "[]", "{"])
def test_damaged_metrics_stop_nothing(shared_store, tmp_path, line):
    run = train_student(config(shared_store, tmp_path / "run"))
    good = lines(run)
    with (run / "metrics.jsonl").open("a", errors="surrogateescape") as file:
        file.write(line + "\n")
    plot_runs([run], tmp_path / "a.png")
    train_student(config(shared_store, run, resume=True))
    assert lines(run) == good


def test_the_newest_run_is_found_where_a_number_is_missing(shared_store, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    first, second = (train_student(config(shared_store, None)) for _ in range(2))
    shutil.rmtree(first)
    assert train_student(config(shared_store, None, resume=True)) == second
    assert train_student(config(shared_store, None)).name[-2:] == "-3"
