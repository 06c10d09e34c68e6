"""A student is judged by statistics that belong to its weights; one that looks broken is explained."""

import json
import re
import sys

import numpy as np
import pytest
import torch
from helpers.folders import label_config
from PIL import Image

from fkd import Scheme, TeacherChoice, TrainConfig, evaluate_checkpoint, label_images, train_student
from fkd.loader import sample_batches, sample_labels
from fkd.sources import list_images
from fkd.students import load_student, read_checkpoint, save_checkpoint
from fkd.views import RenderPool

MODULE = """
import torch
from torch import nn
class Colours(nn.Module):
    # Which channel is brightest; `turn` says it of another class.
    def __init__(self, turn):
        super().__init__()
        self.turn, self.fkd_identity = turn, f"turned by {turn}"
    def forward(self, x):
        mean = x.mean((2, 3))
        return ((mean - mean.mean(1, keepdim=True)) * 20).roll(self.turn, 1)
def right(): return Colours(0)
def turned(): return Colours(1)
class Lagging(nn.Module):
    # Its batch norm gets what lies far from 0 and hardly varies, and forgets its first statistics slowly.
    def __init__(self, classes, momentum):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 16, 4, 4), nn.BatchNorm2d(16, momentum=momentum)
        self.head = nn.Linear(16, classes)
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.constant_(self.conv.bias, 50.0)
    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))
def lagging(classes): return Lagging(classes, 0.01)
def quick(classes): return Lagging(classes, 0.3)
def sure(classes):
    student = quick(classes)
    nn.init.zeros_(student.head.weight)
    student.head.bias.data = torch.tensor([5.0, 0.0, 0.0])
    return student
"""


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A folder of three colours, 8 images of each to train on and 20 to evaluate on."""
    home = tmp_path_factory.mktemp("colours")
    (home / "colour_models.py").write_text(MODULE)
    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 20)):
        for channel, kind in enumerate(("blue", "green", "red")):
            (home / "data" / split / kind).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 200, (32, 32, 3), dtype=np.uint8)
                pixels[..., channel] += 25
                Image.fromarray(pixels).save(home / "data" / split / kind / f"{number:02}.png")
    sys.path.insert(0, str(home))
    yield home
    sys.path.remove(str(home))


@pytest.fixture(scope="module")
def stores(colours):
    def label(name):
        teacher = TeacherChoice(f"colour_models:{name}", size=32)
        return label_images(
            label_config(colours / "data", colours / f"{name}.zarr", teacher=teacher, num_crops=4)
        )

    return {name: label(name) for name in ("right", "turned")}


def train(store, out, student="lagging", **changes):
    settings = {
        "student": f"colour_models:{student}", "crops_per_image": 2, "batch_size": 12, "epochs": 20,
        "eval_every": 10, "lr": 8.0, "scheme": Scheme("topk", 3), "device": "cpu", "workers": 1,
    }  # fmt: skip
    return train_student(
        TrainConfig.from_recipe("fkd", store=store.path, out=out, **settings | changes)
    )


def evaluations(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "eval"]


@pytest.fixture(scope="module")
def runs(stores, tmp_path_factory):
    """A run of each kind of statistics, and what was said of it."""
    home, said = tmp_path_factory.mktemp("runs"), {}
    with pytest.MonkeyPatch.context() as patch:
        for kind in ("running", "auto"):
            lines = said[kind] = []
            for room in ("batch_statistics", "suspicion"):
                patch.setattr(f"fkd.training.{room}.note", lines.append)
            train(stores["right"], home / kind, bn_stats=kind, ema=0.5)
    return home, said


def test_running_statistics_that_lag_are_estimated_and_training_goes_on_as_before(runs):
    home, said = runs
    lagging, estimated = (evaluations(home / kind)[-1] for kind in ("running", "auto"))
    assert lagging["top1"] < 0.5 < 0.9 < estimated["top1"]
    assert estimated["ema_top1"] > 0.9
    (line,) = said["auto"]
    # 20 steps, and the trial before training
    assert line.startswith("batch norm's running statistics still hold 81% of their initial values")
    before, after = (torch.load(home / kind / "last.pt") for kind in ("running", "auto"))
    assert "running" not in before
    for network in ("student", "ema"):
        own = after[network] | after["running"][network]
        assert all(torch.equal(own[name], value) for name, value in before[network].items())
        changed = {n for n in own if not torch.equal(own[n], after[network][n])}
        assert changed == {"norm.running_mean", "norm.running_var"}
    assert str(before["optimizer"]) == str(after["optimizer"])


@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
@pytest.mark.parametrize("ema", [False, True])
def test_checkpoints_are_what_was_evaluated(runs, colours, name, ema, capsys):
    run = runs[0] / "auto"
    step = torch.load(run / name)["step"]
    (line,) = [line for line in evaluations(run) if line["step"] == step]
    accuracy = evaluate_checkpoint(run / name, colours / "data", ema=ema, device="cpu")
    assert accuracy.top1 == line["ema_top1" if ema else "top1"]
    assert accuracy.loss == pytest.approx(line["ema_loss" if ema else "loss"], rel=1e-4)
    assert "warning" not in capsys.readouterr().err


def test_a_checkpoint_between_evaluations_is_read_with_a_warning(runs, tmp_path, capsys):
    whole = read_checkpoint(runs[0] / "auto" / "last.pt")
    whole.student.update(whole.trainer.pop("running")["student"])
    save_checkpoint(tmp_path / "between.pt", whole)
    load_student(tmp_path / "between.pt")
    assert "between.pt: batch norm's running statistics still hold 66%" in capsys.readouterr().err


def test_statistics_that_have_converged_are_evaluated_as_they_are(stores, tmp_path, capsys):
    """momentum 0.3 leaves 0.7^20 < 0.1 % after the 20 steps before the first evaluation."""
    runs = [train(stores["right"], tmp_path / k, "quick", bn_stats=k) for k in ("running", "auto")]
    assert "running" not in torch.load(runs[1] / "last.pt")
    one, other = (evaluations(run) for run in runs)
    assert one == other
    assert one[-1]["top1"] > 0.9
    assert "warning" not in capsys.readouterr().err  # and nothing looks suspicious
    short = {"bn_stats": "estimate", "epochs": 1}
    estimated = train(stores["right"], tmp_path / "estimate", "quick", **short)
    assert torch.load(estimated / "last.pt")["running"].keys() == {"student"}


def test_a_loss_that_falls_while_the_student_guesses_is_explained_once(runs):
    (line,) = runs[1]["running"]
    assert line.startswith("warning: the loss has fallen to 0.")
    assert "top-1 is 33.3% of 60 images, no better than chance (33.3%)" in line
    assert "batch norm's running statistics, which still hold" in line
    assert "the labels" not in line


def test_labels_of_another_order_are_named(stores, tmp_path, capsys):
    run = train(stores["turned"], tmp_path / "run", "quick")
    assert evaluations(run)[-1]["top1"] < 0.2
    said = capsys.readouterr().err
    assert said.count("no better than chance") == 1
    assert re.search(
        "the labels, whose most likely class is the image's own in [0-5].[0-9]% of", said
    )
    assert "--teacher-classes" in said
    assert "batch norm's" not in said


def test_a_moving_average_that_has_not_moved_is_named(stores, tmp_path, capsys):
    run = train(stores["right"], tmp_path / "run", "sure", ema=0.9999)
    assert evaluations(run)[-1]["top1"] > 0.9
    said = capsys.readouterr().err
    assert "top-1 is 33.3% of 60 images, no better than chance" in said
    assert "the moving average, which still holds 100% of the first step's weights" in said


def test_sampled_views_are_stored_crops_of_images_from_all_over(shared_store, shared_folder):
    """The first batch has different images, and every view is one that the store has."""
    images = list_images(shared_folder / "train")
    with RenderPool(1) as pool:
        few = list(sample_batches(pool, shared_store, images, 9, 4))
        again = list(sample_batches(pool, shared_store, images, 9, 4))
        everything = list(sample_batches(pool, shared_store, images, 1000, 24))
    assert [len(views) for views in few] == [3, 3, 3]
    assert all(torch.equal(one, other) for one, other in zip(few, again, strict=True))
    views = torch.cat(everything)
    assert views.shape == (18 * 6, 3, 32, 32)
    stored = {view.numpy().tobytes() for view in views}
    assert len(stored) > 100
    assert {view.numpy().tobytes() for view in torch.cat(few)} < stored


def test_sampled_labels_are_those_of_the_store(shared_store):
    sample = sample_labels(shared_store)
    assert sample.num_images == 16  # of 18: two runs of 8, none twice
    assert np.bincount(sample.targets).tolist() == [36, 24, 36]
    block = shared_store.read_images(range(8), 6)
    assert np.array_equal(sample.kept["index"][:48], block.kept["index"].reshape(48, 3))
    assert sample.kept["index"].shape == (len(sample.targets), 3)
