"""A run that is stopped goes on, in the middle of a pass, and ends with the same weights."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch
from helpers.folders import label_config
from helpers.networks import STUDENT
from helpers.processes import refused

from fkd import (
    FkdError,
    LabelStore,
    Scheme,
    TrainConfig,
    evaluate_checkpoint,
    label_images,
    plot_runs,
    train_student,
)
from fkd.cli import main
from fkd.errors import Stopped
from fkd.runs.run import Run
from fkd.students import newest_checkpoint

SETTINGS = {
    "student": STUDENT,  # it has batch norm
    "crops_per_image": 2,
    "scheme": Scheme("topk", 3),
    "epochs": 14,
    "batch_size": 20,
    "lr": 0.5,
    "device": "cpu",
    "eval_every": 3.0,
}
# The same for the command line.
GIVEN = ["--student", STUDENT, "--crops-per-image", 2, "--compress", "topk3"]
GIVEN += ["--batch-size", 20, "--device", "cpu", "--resume"]
SHORT = [*GIVEN, "--epochs", 14, "--lr", 0.5, "--eval-every", 3]
ENDLESS = [*GIVEN, "--epochs", 4000, "--eval-every", 4000]
LIVELY = {"optimizer": "adamw", "ema": 0.9, "mixup": 0.5, "cutmix": 1.0, "color_jitter": 0.3}


def config(store, out, **changes):
    return TrainConfig.from_recipe("fkd", store=store.path, out=out, **SETTINGS | changes)


@pytest.fixture(scope="module")
def whole(shared_store, tmp_path_factory):
    """A run that nothing disturbed."""
    return train_student(config(shared_store, tmp_path_factory.mktemp("whole") / "run"))


@pytest.fixture(scope="module")
def whole_lively(shared_store, tmp_path_factory):
    return train_student(config(shared_store, tmp_path_factory.mktemp("whole") / "run", **LIVELY))


@pytest.fixture
def run(whole, tmp_path):
    """A finished run that a test may change."""
    return shutil.copytree(whole, tmp_path / "run")


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


@pytest.mark.parametrize(
    ("undisturbed", "more"), [("whole", {}), ("whole_lively", LIVELY)], ids=["plain", "lively"]
)
@pytest.mark.parametrize("stop_after", [1, 6, 9])
def test_weights_are_bit_equal_after_a_stop(
    request, shared_store, tmp_path, monkeypatch, stop_after, undisturbed, more
):
    """13 steps of 10 images of 18: no stop falls on the end of a pass, 6 falls after an evaluation."""
    whole = request.getfixturevalue(undisturbed)
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


def hang_in_step_9():
    log_step = Run.log_step

    def log_and_hang(self, step, **values):
        log_step(self, step, **values)
        if step == 9:
            signal.pause()

    Run.log_step = log_and_hang


def test_a_killed_run_goes_on_from_its_newest_good_checkpoint(
    shared_store, whole, tmp_path, start_fkd, run_fkd
):
    command = ["train", shared_store.path, "--out", tmp_path / "cut", *SHORT]
    process = start_fkd(*command, prepare=hang_in_step_9)
    process.wait_for(lambda: newest_step(tmp_path / "cut") >= 5)
    process.kill()
    assert 5 <= newest_step(tmp_path / "cut") < 10
    # The machine went down with the process: the newest checkpoint never reached the disk whole.
    if (tmp_path / "cut" / "last.pt").exists():
        os.truncate(tmp_path / "cut" / "last.pt", 1000)
    with (tmp_path / "cut" / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "st')
    done = run_fkd(*command)
    assert done.code == 0, done.err
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
def test_a_signal_saves_and_says_how_to_go_on(shared_store, tmp_path, start_fkd, number, code):
    process = start_fkd("train", shared_store.path, "--out", tmp_path / "run", *ENDLESS)
    process.wait_for((tmp_path / "run" / "metrics.jsonl").exists)
    process.send_signal(number)
    done = process.finish()
    assert done.code == code, done.err
    last = done.err.strip().splitlines()[-1]
    assert last.startswith("fkd: train was stopped after step ")
    assert last.endswith(f"--resume --out {tmp_path / 'run'}")
    said = int(last.split(" step ")[1].split()[0].replace(",", ""))
    assert newest_checkpoint(tmp_path / "run").step == said


def hang_while_saving():
    """Stand in the middle of a checkpoint for ever."""
    from fkd.students import checkpoints

    save = torch.save

    def save_and_hang(content, file):
        save(content, file)
        if content["step"] > 1:
            Path("saving").touch()
            while True:
                time.sleep(0.01)

    checkpoints.torch.save = save_and_hang


def test_a_second_signal_stops_at_once(shared_store, tmp_path, start_fkd):
    """In the middle of a checkpoint: the one before it stays, and no library has anything to say."""
    more = ["--save-every", 1e-9, "--out", tmp_path / "run"]
    process = start_fkd("train", shared_store.path, *ENDLESS, *more, prepare=hang_while_saving)
    process.wait_for((tmp_path / "saving").exists)
    process.send_signal(signal.SIGINT)
    process.wait_for(lambda: "then saving; Ctrl-C again stops at once" in process.said())
    process.send_signal(signal.SIGINT)
    done = process.finish()
    assert done.code == 130
    assert done.err.splitlines()[-1].startswith(
        "fkd: train was stopped at once. A run folder keeps"
    )
    assert "Traceback" not in done.err
    assert newest_checkpoint(tmp_path / "run").step == 1


def test_a_run_goes_on_by_its_own_settings(shared_store, whole, tmp_path, monkeypatch, capsys):
    """No option is given but where the run is; one that is given must be the run's."""
    monkeypatch.chdir(tmp_path)
    run = Path(shutil.copytree(whole, "runs/helpers.networks-student-topk3-m2-4"))
    (run / "previous.pt").replace(run / "last.pt")
    main(["train", "--resume", "--out", str(run)], standalone_mode=False)
    one, other = (torch.load(r / "last.pt", weights_only=True) for r in (whole, run))
    assert same(one, other)
    assert lines(run) == lines(whole)
    said = capsys.readouterr().err
    assert "goes on  from step " in said
    by_name = ["train", "--resume", "--student", STUDENT, "--compress", "topk3"]
    by_name += ["--crops-per-image", "2"]
    main(by_name, standalone_mode=False)
    best = max(line["top1"] for line in lines(run) if line["kind"] == "eval")
    said = capsys.readouterr().err
    assert said.startswith(f"{run} is finished: 13 of 13 steps, best top-1 {best:.2%} at epoch ")
    assert len(said.splitlines()) == 1
    unsaid = [word for word in by_name if word not in ("--compress", "topk3")]
    main([*unsaid, str(shared_store.path)], standalone_mode=False)  # the store says how it is read
    assert capsys.readouterr().err.startswith(f"{run} is finished: ")
    message = refused(*by_name, "--lr", "0.4", "--epochs", "15", "--workers", "1")
    assert "other settings: --epochs is 15.0, the run has 14" in message
    assert "; --lr is 0.4, the run has 0.5; go on with the run's own" in message
    (run / "config.json").write_text("{")
    assert "config.json is damaged" in refused(*by_name)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"lr": 0.4}, "--lr is 0.4, the run has 0.5"),
        ({"student": "resnet18"}, "--student is resnet18, the run has helpers.networks:student"),
        ({"epochs": 15}, "--epochs is 15, the run has 14"),
        ({"mixup": 0.2}, "--mixup is 0.2, the run has 0.0"),
    ],
)
def test_another_run_is_not_continued(shared_store, run, changes, words):
    before = (run / "last.pt").read_bytes()
    with pytest.raises(FkdError, match=words):
        train_student(config(shared_store, run, resume=True, **changes))
    with pytest.raises(FkdError, match=r"is not empty; choose a new folder, or add --resume"):
        train_student(config(shared_store, run))
    assert (run / "last.pt").read_bytes() == before


def test_other_labels_are_not_trained_on_by_a_run_that_goes_on(
    shared_store, run, shared_folder, tmp_path
):
    other = label_images(label_config(shared_folder, tmp_path / "other.zarr", temperature=2.0))
    words = (
        f"{run}: that run is of {shared_store.path}, and {other.path} was named, which holds other"
    )
    with pytest.raises(FkdError) as error:
        train_student(config(other, run, resume=True))
    assert str(error.value).startswith(words)
    # So the command says, before it holds the run's settings against the store.
    message = refused("train", other.path, "--resume", "--out", run, "--crops-per-image", 6)
    assert message.startswith(f"fkd: error: {words}")
    assert f"go on by `fkd train --resume --out {run}`" in message
    moved = Path(shutil.copytree(shared_store.path, tmp_path / "moved.zarr"))
    main(["train", str(moved), "--resume", "--out", str(run)], standalone_mode=False)
    shutil.rmtree(moved)
    shutil.copytree(other.path, moved)
    settings = json.loads((run / "config.json").read_text())
    (run / "config.json").write_text(json.dumps(settings | {"store": str(moved)}))
    words = r"other settings: the store's temperature is 2\.0, the run has 1"
    with pytest.raises(FkdError, match=words):
        train_student(config(LabelStore.open(moved), run, resume=True))


def test_a_run_that_is_not_there_names_one_that_may_be_meant(shared_store, run, capsys):
    (run.parent / "runs").mkdir()  # as near, and holds none
    begun = train_student(config(shared_store, run.with_name("rum"), resume=True, epochs=2))
    assert (
        f"{begun} holds no run yet ({run} does): training starts at the" in capsys.readouterr().err
    )
    train_student(config(shared_store, run.with_name("other"), resume=True, epochs=2))
    assert "other holds no run yet: training starts at the" in capsys.readouterr().err


def test_a_finished_run_is_left_as_it_is(shared_store, run):
    before = {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()}
    assert train_student(config(shared_store, run, resume=True)) == run
    assert {path.name: path.read_bytes() for path in run.iterdir() if path.is_file()} == before


def test_a_folder_has_one_run_at_a_time(shared_store, tmp_path, start_fkd, run_fkd):
    command = ["train", shared_store.path, "--out", tmp_path / "run", *ENDLESS]
    process = start_fkd(*command)
    process.wait_for((tmp_path / "run" / "metrics.jsonl").exists)
    done = run_fkd(*command)
    process.kill()
    assert done.code == 2
    assert f"another `fkd train` is at work in {tmp_path / 'run'}" in done.error_line()


def test_a_full_disk_is_one_line_and_the_run_goes_on(shared_store, whole, tmp_path, start_fkd):
    """A limit on the size of files stops the first checkpoint, as a full disk would."""
    command = ["train", shared_store.path, "--out", tmp_path / "run", *SHORT]
    done = start_fkd(*command, largest_file=12_000).finish()
    assert done.code == 2, done.err
    assert "Traceback" not in done.err
    assert "last.pt cannot be written" in done.err
    assert not list((tmp_path / "run").glob("*.pt*"))
    run = train_student(config(shared_store, tmp_path / "run", resume=True))
    one, other = (torch.load(r / "last.pt", weights_only=True) for r in (whole, run))
    assert same(one, other)


def test_a_run_folder_stands_for_its_best_checkpoint(whole, shared_folder):
    best = evaluate_checkpoint(whole / "best.pt", shared_folder)
    assert evaluate_checkpoint(whole, shared_folder) == best


def test_checkpoints_that_cannot_be_read_are_not_begun_anew(shared_store, run, capsys):
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


def test_the_best_checkpoint_may_take_the_place_of_the_last(shared_store, run):
    step = torch.load(run / "best.pt", weights_only=True)["step"]
    (run / "best.pt").replace(run / "last.pt")
    train_student(config(shared_store, run, resume=True))
    evaluations = [line["step"] for line in lines(run) if line["kind"] == "eval"]
    assert step in evaluations
    assert evaluations == sorted(set(evaluations))


@pytest.mark.parametrize("line", ["5", '{"kind": "train", "epoch": "x"}', "\udcff", "[]", "{"])
def test_damaged_metrics_stop_nothing(shared_store, run, tmp_path, line):
    good = lines(run)
    with (run / "metrics.jsonl").open("a", errors="surrogateescape") as file:
        file.write(line + "\n")
    plot_runs([run], tmp_path / "a.png")
    train_student(config(shared_store, run, resume=True))
    assert lines(run) == good


def test_resume_without_a_folder_takes_the_newest_run(shared_store, tmp_path, monkeypatch):
    """The newest is the one with the highest number, even where another number is missing."""
    monkeypatch.chdir(tmp_path)
    short = {"epochs": 2, "eval_every": 2.0}
    first = train_student(config(shared_store, None, resume=True, **short))
    second = train_student(config(shared_store, None, **short))
    assert [first.name[-2:], second.name[-2:]] == ["-1", "-2"]
    assert train_student(config(shared_store, None, resume=True, **short)) == second
    shutil.rmtree(first)
    (tmp_path / "runs" / "7").mkdir()  # of somebody else
    assert train_student(config(shared_store, None, resume=True, **short)) == second
    assert train_student(config(shared_store, None, **short)).name[-2:] == "-3"
