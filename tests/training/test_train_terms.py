"""Runs whose loss is said in terms, and students that teach the next ones."""

import json

import numpy as np
import pytest
import torch
from helpers.folders import label_config
from helpers.processes import STUDENT

from fkd import (
    FkdError,
    LabelStore,
    Scheme,
    StudentLoader,
    TeacherChoice,
    Term,
    TrainConfig,
    average_stores,
    compare,
    label_images,
    train_student,
)
from fkd.errors import Stopped
from fkd.info import info_lines
from fkd.orders import AverageConfig
from fkd.runs import read_metrics
from fkd.students import read_checkpoint
from fkd.training import Learner, check_inputs

FULL = Scheme("full")


@pytest.fixture(scope="module")
def full_store(shared_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("terms") / "full.zarr"
    return label_images(label_config(shared_folder, out, scheme=FULL))


@pytest.fixture(autouse=True)
def tiny_student(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("student")
    (folder / "tiny_student.py").write_text(STUDENT)
    monkeypatch.syspath_prepend(str(folder))


def config(store, out, **changes):
    settings = {
        "student": "tiny_student:make",
        "crops_per_image": 2,
        "scheme": FULL,
        "epochs": 4,
        "batch_size": 8,
        "lr": 1.0,
        "device": "cpu",
        "val": "none",
    }
    return TrainConfig.of(store=store.path, out=out, **(settings | changes))


def weights(run):
    return read_checkpoint(run / "last.pt").student


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


def test_two_sentences_train_what_the_flags_train(full_store, tmp_path):
    """Of a weight that stands still; one that moves is rounded otherwise."""
    flags = {
        "loss": "kl",
        "student_temperature": 2.0,
        "label_temperature": 2.0,
        "hard_weight": 0.25,
    }
    terms = (
        Term(by="kl", temperature=2.0, weight=0.75),
        {"to": "truth", "by": "ce", "weight": 0.25},
    )
    one = train_student(config(full_store, tmp_path / "flags", **flags))
    other = train_student(config(full_store, tmp_path / "terms", loss=terms))
    assert same(weights(one), weights(other))


@pytest.mark.parametrize(
    "loss",
    [
        ({"by": "wttm", "temperature": 2.0}, {"to": "truth"}),
        ({"by": "dist", "weight": [2, 1]}, {"by": "nkd", "temperature": [4, 1]}),
        ({"by": "mse"}, {"by": "kl", "standardize": True, "temperature": 2}),
    ],
)  # fmt: skip
def test_a_run_in_terms_goes_on_after_a_stop_as_if_it_had_none(full_store, tmp_path, loss):
    whole = train_student(config(full_store, tmp_path / "whole", loss=loss, mixup=0.2))

    class Stops(Learner):
        def step(self, batch, step, **more):
            if step == 4:
                raise Stopped("stopped", 15)
            return super().step(batch, step, **more)

    halved = config(
        full_store, tmp_path / "halved", loss=loss, mixup=0.2, resume=True, save_every=1e-9
    )
    with pytest.raises(Stopped):
        train_student(halved, learner=Stops)
    assert read_checkpoint(tmp_path / "halved" / "last.pt").step == 4
    assert same(weights(whole), weights(train_student(halved)))
    lines, others = (
        [line["loss"] for line in read_metrics(tmp_path / run)] for run in ("whole", "halved")
    )
    assert lines == others
    said = json.loads((whole / "config.json").read_text())["loss"]
    assert [Term.of_table(table) for table in said] == [Term.of_table(table) for table in loss]


def test_a_run_of_other_terms_is_not_gone_on_with(full_store, tmp_path):
    train_student(config(full_store, tmp_path / "run", loss="wttm"))
    other = config(full_store, tmp_path / "run", loss=Term(by="wttm", temperature=2), resume=True)
    with pytest.raises(FkdError, match=r"--loss is .*temperature.*, the run has"):
        train_student(other)


@pytest.mark.parametrize(
    ("loss", "scheme", "said"),
    [
        ("mse", "topk2", "topk2 leaves classes without a probability"),
        ({"by": "symmetric_kl"}, "topk2", "topk2 leaves classes without a probability"),
        ({"by": "kl", "standardize": True}, "topk2-smooth", "which topk2-smooth of a store of topk3"),
    ],
)  # fmt: skip
def test_labels_that_cannot_serve_a_term_are_refused_before_the_run(
    shared_store, tmp_path, loss, scheme, said
):
    asked = config(shared_store, tmp_path / "run", loss=loss, scheme=scheme)
    with pytest.raises(FkdError, match=said):
        check_inputs(asked)
    assert not (tmp_path / "run").exists()


def test_a_store_with_the_deviation_serves_standardized_losses(shared_folder, tmp_path):
    scheme = Scheme.parse("topk2-coarse-std")
    store = label_images(label_config(shared_folder, tmp_path / "s.zarr", scheme=scheme))
    assert "deviation " in dict(info_lines(store.path))["per crop"]
    loss = {"by": "kl", "standardize": True, "temperature": 2}
    with pytest.raises(FkdError, match="does not tell; read labels with --compress topk2-smooth"):
        check_inputs(config(store, tmp_path / "run", loss=loss, scheme="topk2"))
    asked = config(store, tmp_path / "run", loss=loss, scheme="topk2-smooth", mixup=0.2, ema=0.9)
    train_student(asked)
    losses = [line["loss"] for line in read_metrics(tmp_path / "run")]
    assert np.isfinite(losses).all()
    loader = StudentLoader(store.path, crops_per_image=2, scheme="topk2-smooth", batch_size=8)
    batch = next(iter(loader))
    assert batch.labels.deviation.shape == (8,)


def test_generations_teach_each_other_and_their_mean_is_their_ensemble(
    full_store, shared_folder, tmp_path
):
    """Born-again networks (Furlanello et al., ICML 2018) by runs as teachers."""
    store, stores, runs = full_store, [], []
    for generation in range(2):
        runs.append(train_student(config(store, tmp_path / f"g{generation}", seed=generation)))
        stores.append(_label(shared_folder, tmp_path / f"g{generation}.zarr", runs[-1:]))
        store = stores[-1]
    assert compare(*stores).divergences.kl > 1e-6  # each generation says something of its own
    both = _label(shared_folder, tmp_path / "both.zarr", runs)
    mean = average_stores(AverageConfig(tuple(s.path for s in stores), tmp_path / "mean.zarr"))
    assert compare(both, LabelStore.open(mean.path)).divergences.kl < 1e-5


def _label(folder, out, runs):
    teachers = tuple(TeacherChoice(str(run)) for run in runs)
    return label_images(label_config(folder, out, scheme=FULL, teacher=teachers))
