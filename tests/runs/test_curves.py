"""`fkd plot`: what stands beside the curves, of runs new and old."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fkd import plot_runs
from fkd.format import (
    to_json,
)
from fkd.runs import curves


@pytest.fixture
def make_run(tmp_path, shared_store):
    """Return a function that writes a run folder as `fkd train` does, its metrics by hand."""

    def make(name, store=shared_store.path, top1=(0.4, 0.6), spec=True, judge="top1"):
        run = tmp_path / name
        run.mkdir()
        settings = {"store": str(store)} | (
            {"store_spec": to_json(shared_store.spec)} if spec else {}
        )
        (run / "config.json").write_text(json.dumps(settings))
        lines = [
            {"kind": "train", "step": n, "epoch": n, "loss": 1 / n, "lr": 0.1} for n in (1, 2, 3)
        ]
        lines += [{"kind": "eval", "step": n, "epoch": n, judge: t} for n, t in enumerate(top1, 1)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return run

    return make


@pytest.fixture
def drawn(monkeypatch):
    """Return the figures that are saved."""
    figures = []
    save = curves._save
    monkeypatch.setattr(
        curves, "_save", lambda figure, out: (figures.append(figure), save(figure, out))
    )
    return figures


def texts(axes):
    return [text.get_text() for text in axes.texts]


def agreement(store):
    slab = store.read_crops(range(store.spec.num_crops))
    return float((slab.kept["index"][..., 0] == slab.target[:, None]).mean())


def test_chance_and_teacher_stand_beside_top1(make_run, drawn, tmp_path, shared_store):
    plot_runs([make_run("one")], tmp_path / "a.png")
    loss, accuracy, rate = drawn[0].axes
    assert texts(accuracy) == ["chance, 1 in 3", "teacher on its crops"]
    chance, teacher = (line.get_ydata()[0] for line in accuracy.lines[1:])
    assert chance == pytest.approx(100 / 3)
    assert teacher == pytest.approx(100 * agreement(shared_store))
    assert [axes.get_ylabel() for axes in (loss, accuracy, rate)] == [
        "loss, nats", "top-1, %", "learning rate",
    ]  # fmt: skip
    assert all(axes.get_xlabel() == "epoch" and axes.get_title() for axes in drawn[0].axes)


def test_what_is_judged_by_neighbours_stands_beside_no_chance(make_run, drawn, tmp_path):
    """What kNN is by chance hangs on the images that it is among."""
    plot_runs([make_run("one", judge="knn")], tmp_path / "a.png")
    plot_runs([make_run("two"), tmp_path / "one"], tmp_path / "b.png")
    alone, both = (figure.axes[1] for figure in drawn)
    assert (alone.get_ylabel(), texts(alone)) == ("kNN, %", [])
    assert alone.lines[0].get_ydata().tolist() == [40, 60]
    assert alone.get_ylim()[1] > 60
    assert (both.get_ylabel(), texts(both)[0]) == ("top-1 or kNN, %", "chance, 1 in 3")


def test_runs_of_one_store_share_its_lines(make_run, drawn, tmp_path):
    plot_runs([make_run("_one $x_{"), make_run("two")], tmp_path / "a.svg")
    assert texts(drawn[0].axes[1]) == ["chance, 1 in 3", "teacher on its crops"]
    assert "_one $x_{" in (tmp_path / "a.svg").read_text("utf-8")


def test_without_the_store_there_is_no_teacher(make_run, drawn, tmp_path, shared_store):
    """It may have gone, be another by now, be damaged, or be of a run that says nothing of it."""
    damaged = shutil.copytree(shared_store.path, tmp_path / "damaged.zarr")
    for file in filter(Path.is_file, (damaged / "palette").rglob("0")):
        file.write_bytes(b"torn")
    runs = [make_run("gone", tmp_path / "none.zarr"), make_run("damaged", damaged)]
    other = make_run("other")
    settings = json.loads((other / "config.json").read_text())
    settings["store_spec"]["fingerprint"] = "sha256:1"
    (other / "config.json").write_text(json.dumps(settings))
    for number, run in enumerate([*runs, other]):
        plot_runs([run], tmp_path / f"{number}.png")
        assert texts(drawn[number].axes[1]) == ["chance, 1 in 3"]


@pytest.mark.parametrize(
    "config", [None, "{", "[]", '{"store_spec": 5}', '{"store_spec": {"num_classes": "x"}}']
)
def test_old_and_damaged_runs_have_curves(make_run, drawn, tmp_path, config):
    run = make_run("old")
    (run / "config.json").unlink() if config is None else (run / "config.json").write_text(config)
    plot_runs([run], tmp_path / "a.png")
    assert texts(drawn[0].axes[1]) == []
    assert len(drawn[0].axes[1].lines) == 1


def test_a_run_that_was_not_evaluated_says_so(make_run, drawn, tmp_path):
    plot_runs([make_run("new", top1=())], tmp_path / "a.png")
    assert texts(drawn[0].axes[1]) == ["no evaluation yet"]
    with Image.open(tmp_path / "a.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("L")))) > 10
