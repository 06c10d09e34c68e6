"""Students at sizes of their own, that may grow; and evaluation at other sizes and shares."""

import json
import os
import signal

import pytest
import torch
from helpers.processes import refused

from fkd import (
    FkdError,
    Preprocessing,
    Scheme,
    TeacherChoice,
    TrainConfig,
    evaluate_checkpoint,
    export_student,
    load_student,
    train_student,
)
from fkd.config import CROP_SHARE, CenterView, settings_to_resume
from fkd.errors import Stopped
from fkd.runs.run import Run
from fkd.students import StudentCard
from fkd.teachers import load_teachers

SETTINGS = {
    "student": "fkd.models:thin_resnet", "crops_per_image": 2, "scheme": Scheme("topk", 3),
    "epochs": 8, "batch_size": 12, "lr": 0.5, "device": "cpu", "eval_every": 3.0,
}  # fmt: skip
GROWING = {"size": "32:64", "size_multiple": 16, "cutmix": 1.0, "stagger": 2}


def train(store, out, **changes):
    return train_student(
        TrainConfig.from_recipe("fkd", store=store.path, out=out, **SETTINGS | changes)
    )


@pytest.fixture(scope="module")
def grown(shared_store, tmp_path_factory):
    return train(shared_store, tmp_path_factory.mktemp("grown") / "run", **GROWING)


@pytest.fixture(scope="module")
def wide(shared_store, tmp_path_factory):
    """A run whose views are wider than high, evaluated larger."""
    out = tmp_path_factory.mktemp("wide") / "run"
    return train(shared_store, out, size="24x40", eval_size=(48, 80), eval_crop=0.9, epochs=4)


def test_a_run_whose_views_grow_is_bit_equal_after_a_stop(
    shared_store, grown, tmp_path, monkeypatch, capsys
):
    log_step = Run.log_step

    def signalled(self, step, **values):
        log_step(self, step, **values)
        if step == 5:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Run, "log_step", signalled)
    with pytest.raises(Stopped, match="of 12"):
        train(shared_store, tmp_path / "cut", **GROWING)
    said = capsys.readouterr().err
    assert (
        "views    32 px, 48 px from step 5, 64 px from step 9, bilinear (the teacher saw 32" in said
    )
    monkeypatch.setattr(Run, "log_step", log_step)
    train(shared_store, tmp_path / "cut", resume=True, **GROWING)
    one, other = (torch.load(r / "last.pt", weights_only=True) for r in (grown, tmp_path / "cut"))
    assert one["losses"] == other["losses"]
    for name, value in one["student"].items():
        assert torch.equal(value, other["student"][name]), name


def test_what_grew_is_recorded_and_the_last_size_is_the_students(grown):
    config = json.loads((grown / "config.json").read_text())
    assert (config["size"], config["size_multiple"]) == ("32:64", 16)
    assert config["size_from_step"] == {"0": "32", "4": "48", "8": "64"}
    card, _ = load_student(grown)
    assert card.preprocessing.size == 64
    assert card.center_view == CenterView(64, "bilinear", 1.0)


def test_a_resumed_run_keeps_its_sizes(shared_store, grown):
    with pytest.raises(FkdError, match="--size is 32, the run has 32:64"):
        train(shared_store, grown, resume=True, **GROWING | {"size": 32})
    settings = settings_to_resume({"out": grown})
    assert TrainConfig.from_recipe(settings.pop("recipe"), **settings).size.last == 64


def test_high_and_wide_are_in_the_card_and_in_what_is_exported(wide, shared_folder, tmp_path):
    card, _ = load_student(wide)
    assert card.preprocessing.size == (24, 40)
    assert card.center_view == CenterView((48, 80), "bilinear", 0.9)
    evaluated = [json.loads(line) for line in (wide / "metrics.jsonl").read_text().splitlines()]
    best = max(line["top1"] for line in evaluated if line["kind"] == "eval")
    assert evaluate_checkpoint(wide, shared_folder).top1 == best
    exported = export_student(wide, "pt2", tmp_path / "a.pt2")
    extra = {"fkd.json": ""}
    program = torch.export.load(exported.path, extra_files=extra).module()
    assert program(torch.zeros(2, 3, 48, 80)).shape == (2, 3)
    about = json.loads(extra["fkd.json"])
    assert about["preprocessing"]["size"] == [48, 80]
    assert about["evaluation"] == {"resize": [53, 89], "center_crop": [48, 80], "crop_pct": 0.9}
    export_student(wide, "torch", tmp_path / "a.pth")
    assert json.loads((tmp_path / "a.json").read_text())["preprocessing"]["size"] == [24, 40]


def test_a_run_of_wide_views_teaches_at_any_size_and_its_program_at_its_own(wide, tmp_path):
    cpu, size = torch.device("cpu"), 32

    def sees(name, size=None):
        return (
            load_teachers([TeacherChoice(name, size=size)], None, cpu)
            .teachers[0]
            .preprocessing.size
        )

    assert (sees(str(wide)), sees(str(wide), size)) == ((24, 40), size)
    program = str(export_student(wide, "pt2", tmp_path / "wide.pt2").path)
    assert sees(program) == (48, 80)
    with pytest.raises(FkdError, match=r"--size 32: .* takes views of 48x80 px alone"):
        sees(program, size)


def test_fkd_eval_takes_another_size_and_share(wide, shared_folder):
    as_trained = evaluate_checkpoint(wide, shared_folder)
    said = evaluate_checkpoint(wide, shared_folder, eval_size="48 80", eval_crop=0.9)
    assert said == as_trained
    losses = {
        evaluate_checkpoint(wide, shared_folder, **other).loss
        for other in ({}, {"eval_size": 32}, {"eval_size": (48, 81)}, {"eval_crop": 0.5})
    }
    assert len(losses) == 4
    for given, words in (
        (["--eval-crop", "0"], "--eval-crop is 0; it must lie between 0.1 and 1"),
        (["--eval-size", "32:64"], "--eval-size is 32:64; it is one size, such as 64"),
        (["--eval-size", "0"], "--eval-size is 0"),
        (["--eval-size", "wide"], "size 'wide' is unknown"),
    ):
        assert words in refused("eval", wide, shared_folder, *given, alone=False)


def test_a_checkpoint_that_says_no_share_is_evaluated_as_it_was(
    grown, shared_store, shared_folder, tmp_path
):
    """An older fkd left out an eighth of a side at any size; new runs see small images whole."""
    content = torch.load(grown / "best.pt", weights_only=True)
    del content["student_card"]["evaluation"]
    torch.save(content, tmp_path / "old.pt")
    card, _ = load_student(tmp_path / "old.pt")
    assert card.center_view.crop == CROP_SHARE == 0.875
    old = evaluate_checkpoint(tmp_path / "old.pt", shared_folder)
    assert old == evaluate_checkpoint(grown, shared_folder, eval_crop=0.875)
    assert old != evaluate_checkpoint(grown, shared_folder)
    config = json.loads((grown / "config.json").read_text())
    for name in ("size", "size_multiple", "interpolation", "eval_size", "eval_crop"):
        del config[name]
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "config.json").write_text(json.dumps(config))
    assert settings_to_resume({"out": tmp_path / "old"})["eval_crop"] == 0.875


def test_a_run_of_an_older_fkd_goes_on(shared_store, tmp_path):
    settings = {"epochs": 2, "eval_every": 1.0}
    run = train(shared_store, tmp_path / "run", **settings)
    config = json.loads((run / "config.json").read_text())
    for name in ("size", "size_multiple", "interpolation", "eval_size", "eval_crop"):
        del config[name]
    (run / "config.json").write_text(json.dumps(config))
    (run / "previous.pt").replace(run / "last.pt")
    train(shared_store, run, resume=True, **settings)
    assert torch.load(run / "last.pt", weights_only=True)["step"] == 3


MODULE = """
import torch
class Fixed(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.head = torch.nn.Linear(3 * 64 * 64, classes)
    def forward(self, x):
        return self.head(x.flatten(1))
def make(classes): return Fixed(classes)
"""


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"student": "fixed_size:make", "size": "32:64"},
         r"fixed_size:make cannot take 12 views of 32 px .*give one --size for the whole run"),
        ({"student": "vit_b_16", "size": "32:64"},
         r"vit_b_16 cannot take 12 views of 32 px .*takes one --size for the whole run"),
        ({"student": "vit_b_16", "size": "32x64"}, r"vit_b_16 .* 32x64 px, it takes square ones"),
        ({"student": "fixed_size:make", "size": 64, "eval_size": 96},
         r"cannot take 1 view of 96 px .*it was trained at 64 px; leave --eval-size out"),
        ({"student": "fixed_size:make", "size": 64, "eval_size": 96, "val": "none"},
         r"cannot take 1 view of 96 px .*leave --eval-size out"),
    ],
)  # fmt: skip
def test_a_student_of_one_size_is_refused_before_the_run_begins(
    shared_store, tmp_path, monkeypatch, changes, words
):
    (tmp_path / "fixed_size.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(FkdError, match=words):
        train(shared_store, tmp_path / "run", **changes)
    assert not (tmp_path / "run").exists()


def test_at_imagenets_size_nothing_has_changed():
    card = StudentCard("a", ("b",), Preprocessing())
    assert card.center_view == CenterView(224, "bilinear", 0.875) == card.preprocessing.center_view
