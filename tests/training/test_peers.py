"""Students that learn from the same views, and from each other."""

import copy
import json
import math
import os
import signal

import numpy as np
import pytest
import torch
from helpers.processes import losses, refused, trained
from torch import nn

from fkd import (
    FkdError,
    Preprocessing,
    Scheme,
    StudentChoice,
    TrainConfig,
    evaluate_checkpoint,
    export_student,
    load_student,
    plot_runs,
    rehearse,
    train_student,
)
from fkd.errors import ConfigError, Stopped
from fkd.labels import KeptLabels
from fkd.loader import StudentBatch
from fkd.runs import curves
from fkd.runs.run import Run
from fkd.students import StudentCard, build_student, give_weights, read_checkpoint
from fkd.training import Group, Learner

MODULE = """
import functools
import torch
from torch import nn
class Small(nn.Sequential):
    def __init__(self, classes, width):
        super().__init__(
            nn.Conv2d(3, width, 5, 4), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.1), nn.Flatten(),
            nn.Linear(width * 49, classes),
        )
def wide(classes): return Small(classes, 8)
def narrow(classes): return Small(classes, 4)
@functools.cache
def same(classes): return Small(classes, 4)
def plain(classes): return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, classes))
"""
PAIR = (StudentChoice("peer_students:wide", "a"), StudentChoice("peer_students:narrow", "b"))
SETTINGS = {
    "crops_per_image": 2, "scheme": Scheme("topk", 3), "epochs": 8, "batch_size": 12, "lr": 5.0,
    "device": "cpu", "workers": 1, "eval_every": 4, "log": "none",
}  # fmt: skip
LIVELY = {
    "optimizer": "adamw",
    "lr": 0.5,
    "ema": 0.8,
    "mixup": 0.5,
    "color_jitter": 0.3,
    "clip_grad": 1.0,
}


@pytest.fixture(scope="module", autouse=True)
def module(tmp_path_factory):
    """Students of a user's own."""
    home = tmp_path_factory.mktemp("students")
    (home / "peer_students.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(home))
        yield


def train(store, out, student=PAIR, **changes):
    settings = {**SETTINGS, **changes, "store": store.path, "out": out, "student": student}
    return train_student(TrainConfig.from_recipe("fkd", **settings))


@pytest.fixture(scope="module")
def pair(shared_store, tmp_path_factory):
    """A run of two students, with averages."""
    return train(shared_store, tmp_path_factory.mktemp("pair") / "run", **LIVELY)


def lines(run, kind):
    every = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in every if line["kind"] == kind]


def weights(run, student=None):
    return load_student(run / "last.pt", student=student)[1].state_dict()


def equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_students_learn_from_each_other_and_are_kept_in_one_checkpoint(pair):
    names = [
        StudentChoice(c["model"], c["name"])
        for c in json.loads((pair / "config.json").read_text())["student"]
    ]
    assert tuple(names) == PAIR
    content = torch.load(pair / "best.pt", weights_only=True)
    assert content["student_card"]["name"] == "peer_students:wide"
    assert content["peers"].keys() == {"b"}
    assert content["peers"]["b"].keys() == {"student_card", "student", "ema"}
    checkpoint = read_checkpoint(pair / "last.pt")
    assert checkpoint.name == "a"
    assert checkpoint.student["0.weight"].shape[0] == 8
    assert checkpoint.peers["b"].student["0.weight"].shape[0] == 4
    trained = lines(pair, "train")[-1]
    assert trained["loss"] == pytest.approx(
        trained["loss/ce_to_store"] + trained["loss/kl_to_peers"], rel=1e-5
    )
    assert trained["b/loss"] == pytest.approx(
        trained["b/loss/ce_to_store"] + trained["b/loss/kl_to_peers"], rel=1e-5
    )


def test_each_is_evaluated_by_name_and_the_first_decides(pair, shared_folder):
    evaluated = lines(pair, "eval")
    best = max(reversed(evaluated), key=lambda line: line["ema_top1"])
    assert torch.load(pair / "best.pt", weights_only=True)["step"] == best["step"]
    for ema, average in ((False, ""), (True, "ema_")):
        for name, prefix in (("a", ""), (None, ""), ("b", "b/")):
            found = evaluate_checkpoint(
                pair, shared_folder, student=name, ema=ema, device="cpu", workers=1
            )
            assert found.top1 == best[f"{prefix}{average}top1"]
            assert found.loss == pytest.approx(best[f"{prefix}{average}loss"], rel=1e-4)


def test_each_is_exported_by_name(pair, tmp_path):
    exported = export_student(pair, student="b")
    assert exported.path == pair / "student-b.pth"
    state = torch.load(exported.path, weights_only=True)
    assert equal(state, load_student(pair, student="b")[1].state_dict())
    assert json.loads((pair / "student-b.json").read_text())["name"] == "peer_students:narrow"
    first = export_student(pair, out=tmp_path / "a.pth")
    assert torch.load(first.path, weights_only=True)["0.weight"].shape[0] == 8


def test_an_unknown_name_lists_the_known_ones(pair, shared_store, tmp_path):
    for work in (
        lambda: load_student(pair, student="c"),
        lambda: export_student(pair, student="c"),
        lambda: evaluate_checkpoint(pair, pair, student="c"),
    ):
        with pytest.raises(FkdError, match="has no student c; it has a, b"):
            work()
    alone = train(shared_store, tmp_path / "one", "peer_students:narrow", epochs=2)
    assert load_student(alone, student="peer_students-narrow")[0].name == "peer_students:narrow"
    with pytest.raises(FkdError, match="has one student, peer_students-narrow, and none named b"):
        load_student(alone, student="b")


def test_the_curves_have_each(pair, tmp_path, monkeypatch):
    figures = []
    save = curves._save
    monkeypatch.setattr(curves, "_save", lambda f, out: (figures.append(f), save(f, out)))
    plot_runs(pair, tmp_path / "a.png")
    (figure,) = figures
    loss, accuracy, rate = figure.axes
    drawn = [len(axes.lines) for axes in (loss, rate)]
    assert drawn == [2, 1]
    evaluated = lines(pair, "eval")
    shown = [
        list(line.get_ydata()) for line in accuracy.lines if len(line.get_xdata()) == len(evaluated)
    ]
    for name in ("top1", "ema_top1", "b/top1", "b/ema_top1"):
        assert [100 * line[name] for line in evaluated] in shown
    (legend,) = figure.legends
    assert [text.get_text().strip() for text in legend.get_texts()] == ["run, a", "run, b"]


def test_a_run_says_who_learns_and_what_came_of_each(shared_store, tmp_path, capsys):
    run = train(shared_store, tmp_path / "run")
    said = capsys.readouterr().err.splitlines()
    assert "student  a: peer_students:wide, 1.8 K parameters, begins with random weights" in said
    assert "student  b: peer_students:narrow, 903 parameters, begins with random weights" in said
    assert "loss     as a single student's, ce to store; and kl to peers, weight 1" in said
    evaluated = lines(run, "eval")
    last = evaluated[-1]
    assert f"epoch 8: b, top-1 {last['b/top1']:.2%}, top-5 {last['b/top5']:.2%}" in said
    best = max(reversed(evaluated), key=lambda line: line["top1"])
    at = f"at epoch {best['epoch']:.4g}"
    assert f"a         top-1 {best['top1']:.2%} {at}, by which best.pt was kept" in said
    assert f"b         top-1 {best['b/top1']:.2%} {at}" in said
    assert f"          fkd export {run} --student b" in said


@pytest.mark.parametrize(
    "more", [{}, LIVELY, {"amp": "bf16", "micro_batch": 5}], ids=["plain", "lively", "bf16"]
)
def test_a_run_that_is_stopped_goes_on_bit_by_bit(shared_store, tmp_path, monkeypatch, more):
    whole = train(shared_store, tmp_path / "whole", **more)
    log_step = Run.log_step

    def stopped(self, step, **values):
        log_step(self, step, **values)
        if step == 7:  # in the middle of a pass, between two lines of metrics
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Run, "log_step", stopped)
        with pytest.raises(Stopped):
            train(shared_store, tmp_path / "cut", **more)
    cut = train(shared_store, tmp_path / "cut", resume=True, **more)
    for student in ("a", "b"):
        assert equal(weights(whole, student), weights(cut, student))
    timing = {"views_per_s", "images_per_s", "data_wait"}
    for kind in ("train", "eval"):
        told = [
            [{k: v for k, v in line.items() if k not in timing} for line in lines(run, kind)]
            for run in (whole, cut)
        ]
        assert told[0] == told[1]


def test_a_student_beside_others_without_a_term_to_them_learns_as_alone(shared_store, tmp_path):
    """The same views in the same order, the same initial weights, the same steps."""
    terms = [{"to": "store", "by": "ce"}]
    names = (
        "peer_students:plain",
        "peer_students:plain",
    )  # without dropout, which they would share
    both = train(shared_store, tmp_path / "both", names, loss=terms)
    alone = train(shared_store, tmp_path / "alone", names[0])
    assert equal(weights(both), weights(alone))
    other = weights(both, "peer_students-plain-2")
    assert not torch.equal(weights(both)["1.weight"], other["1.weight"])


def test_a_step_of_two_is_that_of_the_loss_they_share():
    """Peers are constants to each other: a symmetric distance has the gradient of one shared loss."""
    temperature, lr = 2.0, 0.1
    config = TrainConfig.from_recipe(
        "fkd", student=[{"model": "x", "name": "a"}, {"model": "x", "name": "b"}], momentum=0.0,
        weight_decay=0.0, loss=[{"to": "peers", "by": "symmetric_kl", "temperature": temperature}],
    )  # fmt: skip
    torch.manual_seed(0)
    models = [nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 5)) for _ in range(2)]
    starts = [copy.deepcopy(model) for model in models]
    card = StudentCard("x", tuple("abcde"), Preprocessing(8))
    stored, cpu = KeptLabels(Scheme("topk", 3), 5), torch.device("cpu")
    seen = []
    for model in models:
        model.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    learner = Learner(config, card, stored, models[0], cpu, Group(), [(card, models[1])])
    views = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8)
    of = np.zeros(6, dtype=np.int64)
    batch = StudentBatch(views, {}, torch.zeros(6, dtype=torch.int64), of, of, of[:1])
    said = learner.step(batch, 0, lr=lr, terms=config.terms_at(0))
    assert seen[0] is seen[1]  # views are rendered, normalised and mixed once
    own, other = ((start(seen[0]) / temperature).log_softmax(dim=1) for start in starts)
    apart = (own.exp() - other.exp()) * (own - other)
    shared = temperature**2 * apart.sum(dim=1).mean() / 2
    shared.backward()
    assert float(said) == pytest.approx(shared.item(), rel=1e-5)
    for model, start in zip(models, starts, strict=True):
        expected = start[1].weight - lr * start[1].weight.grad
        assert torch.allclose(model[1].weight, expected, atol=1e-6)
        assert not torch.allclose(model[1].weight, start[1].weight, atol=1e-4)
    assert learner.parts.keys() == {
        "loss/symmetric_kl_to_peers",
        "b/loss",
        "b/loss/symmetric_kl_to_peers",
    }
    assert all(
        float(part) == pytest.approx(float(said), rel=1e-5) for part in learner.parts.values()
    )


def test_students_that_share_weights_are_refused(shared_store, tmp_path):
    with pytest.raises(FkdError, match=r"students a and b have 0\.weight in common"):
        train(
            shared_store,
            tmp_path / "run",
            [{"model": "peer_students:same", "name": n} for n in "ab"],
        )
    assert not (tmp_path / "run").exists()


def test_a_rehearsal_looks_at_the_losses_of_all(shared_store):
    terms = [{"of": "a", "to": "truth"}, {"of": "b", "to": "a", "by": "mse", "weight": 1e6}]
    settings = {**SETTINGS, "store": shared_store.path, "student": PAIR, "loss": terms}
    with pytest.raises(FkdError, match=r"b/loss is (nan|inf) at step \d+; try a smaller --lr"):
        rehearse(TrainConfig.from_recipe("fkd", **{**settings, "epochs": 60, "val": "none"}))


def test_weights_that_begin_alike_are_warned_of(shared_store, tmp_path, capsys):
    alone = train(shared_store, tmp_path / "one", "peer_students:plain", epochs=2)
    begins = {"model": "peer_students:plain", "init": str(alone / "last.pt")}
    capsys.readouterr()
    alike = [{**begins, "name": "a"}, {**begins, "name": "b"}]
    run = train(shared_store, tmp_path / "alike", alike, epochs=2)
    assert "warning: students a and b begin with the same weights" in capsys.readouterr().err
    assert equal(weights(run), weights(run, "b"))
    train(shared_store, tmp_path / "apart", [alike[0], "peer_students:plain"], epochs=2)
    assert "begin with the same weights" not in capsys.readouterr().err


def test_a_run_begins_with_the_first_student_of_another(shared_store, tmp_path, capsys):
    """Both students have the model's shapes; a model of the second alone is found, too."""
    twins = [StudentChoice("peer_students:wide", name) for name in ("a", "b")]
    run = train(shared_store, tmp_path / "run", [*twins, PAIR[1].model], epochs=2, ema=0.5)
    for model, name, ema in (("wide", "a", False), ("narrow", "peer_students-narrow", True)):
        card, expected = load_student(run, student=name, ema=ema)
        student = build_student(card)
        give_weights(student, card, str(run / "best.pt"), average=ema)
        assert model in card.name
        assert equal(student.state_dict(), expected.state_dict())


def test_a_run_of_other_students_does_not_go_on(pair, shared_store):
    others = [PAIR[0], StudentChoice(PAIR[0].model, "b")]
    with pytest.raises(ConfigError, match="was started with other settings: --student is"):
        train(shared_store, pair, others, resume=True, **LIVELY)


def test_a_term_that_weighs_nothing_yet_is_waited_for(shared_store, tmp_path):
    """In the first step no term of b weighs anything, and one of a that is called like another."""
    terms = [
        {"of": "a", "to": "truth", "weight": (0.0, 1e-6)}, {"of": "a", "to": "truth"},
        {"of": "b", "to": "a", "by": "kl", "weight": (0.0, 1.0)},
    ]  # fmt: skip
    run = train(shared_store, tmp_path / "run", loss=terms)
    first, last = (line for line in lines(run, "train") if line["step"] in (10, 12))
    assert 0 < first["b/loss"] == pytest.approx(first["b/loss/kl_to_a"])
    assert last["loss"] == pytest.approx(last["loss/ce_to_truth"] + last["loss/ce_to_truth-2"])
    assert 0 < first["loss/ce_to_truth"] < 1e-5 < first["loss/ce_to_truth-2"]


REFUSED = [
    ([{"to": "peers", "by": "kl"}], PAIR[:1], "there is one student, a, and so no peer"),
    ([{"to": "c", "by": "kl"}], PAIR, "no other student is named c; it may be to store, truth"),
    ([{"of": "c", "to": "store"}], PAIR, "no student is named c; known are a, b"),
    ([{"of": "a", "to": "a", "by": "kl"}], PAIR, "no student learns from itself; it may be to store"),
    ([{"to": "a", "by": "kl"}], PAIR, "weight above 0 is of student a, which would learn nothing"),
    ([{"of": "a"}, {"of": "b", "weight": 0}], PAIR, "weight above 0 is of student b, which would"),
    ("ce", [{"model": "resnet18", "nane": "a"}], r"a student has no nane \(perhaps name\?\)"),
    ("ce", [{"name": "a"}], "a student has no model"),
    ("ce", [("{model='x', name='a'}"), "{model='y', name='a'}"], "2 students are named a"),
    ("ce", [("{model='x', name='A'}"), "{model='y', name='a'}"], "A and a differ in capitals alone"),
    ("ce", [{"model": "x", "name": "n" * 101}], "with 101 letters; give it a name of 100 at most"),
    ("ce", ["{model='x'"], "is no table"),
    ("ce", [{"model": "x", "name": "a/b"}], "a student is named 'a/b'"),
    ("ce", [{"model": "x", "name": "peers"}], "means something else"),
    ("ce", [{"model": "x", "init_ema": True}], "init_ema of student x needs init"),
    ("ce", [], "--student is empty"),
]  # fmt: skip


@pytest.mark.parametrize(("loss", "student", "words"), REFUSED)
def test_what_cannot_be_meant_is_refused(loss, student, words):
    with pytest.raises(ConfigError, match=words):
        TrainConfig.from_recipe("fkd", loss=loss, student=student)


def test_weights_of_a_file_are_of_one_student(shared_store):
    with pytest.raises(
        ConfigError, match=r"--init a\.pth is of one student; say whose it is in its table"
    ):
        TrainConfig(student=PAIR, init="a.pth")
    config = TrainConfig(student=[*PAIR, {"model": "resnet18", "init": "b.pth"}], init="default")
    assert [choice.init for choice in config.students] == ["default", "default", "b.pth"]


def test_a_student_in_a_table_that_says_no_more_is_its_model():
    assert TrainConfig(student=[{"model": "resnet18"}]) == TrainConfig(student="resnet18")
    assert TrainConfig(student="{model='resnet18'}").student == "resnet18"
    twice = TrainConfig(student=["timm:resnet18", "timm:resnet18", "resnet18"])
    assert [c.name for c in twice.students] == ["timm-resnet18-1", "timm-resnet18-2", "resnet18"]
    again = TrainConfig.of(
        **{**json.loads(json.dumps(twice.settings())), "scheme": "topk5", "recipe": "fkd"}
    )
    assert again.student == twice.student


def test_the_command_line_takes_several(shared_store, tmp_path):
    line = refused(
        "train", shared_store.path, "--out", tmp_path / "run", "--student", "resnet18", "--student",
        '{model="resnet34", freeze=true}',
    )  # fmt: skip
    assert "a student has no freeze: a network that does not learn is a teacher" in line
    line = refused("train", shared_store.path, "--student", "resnet18", "--student", '{name="b"}')
    assert "a student has no model; name one" in line


@pytest.mark.whole
def test_two_ranks_take_the_steps_of_one(shared_store, tmp_path):
    (tmp_path / "peer_students.py").write_text(MODULE)
    more = [
        "--student",
        "peer_students:plain",
        "--micro-batch",
        4,
        "--ema",
        0.9,
        "--epochs",
        12,
        "--lr",
        2,
    ]
    for num_ranks in (1, 2):
        for done in trained(shared_store, tmp_path / str(num_ranks), tmp_path, num_ranks, *more):
            assert done.code == 0, done.err
    one, two = (losses(tmp_path / name) for name in "12")
    assert one == pytest.approx(two, rel=1e-4)
    assert not math.isnan(one[-1])
    for student in ("tiny_student-make", "peer_students-plain"):
        pairs = zip(
            weights_of(tmp_path / "1", student), weights_of(tmp_path / "2", student), strict=True
        )
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in pairs)


def weights_of(run, student):
    found = read_checkpoint(run / "last.pt").of_student(student)
    return [*found.student.values(), *found.ema.values()]
