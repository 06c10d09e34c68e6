"""Students of every kind, with weights to begin with, in every precision."""

import json
import os
import random
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from helpers.processes import fkd_environment

from fkd import (
    FkdError,
    Preprocessing,
    Scheme,
    TrainConfig,
    export_student,
    load_student,
    train_student,
)
from fkd.errors import Stopped
from fkd.runs.run import Run
from fkd.students import StudentCard, build_student, give_weights

MODULE = """
import torch
class Tiny(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.conv, self.head = torch.nn.Conv2d(3, 8, 4, 4), torch.nn.Linear(8, classes)
    def forward(self, x):
        return self.head(self.conv(x).relu().mean((2, 3)))
def make(classes): return Tiny(classes)
def narrow(classes): return Tiny(classes - 1)
def nothing(classes): return None
def broken(classes): raise OSError("no weights here")
def leaves(classes): raise SystemExit(3)
class Frozen(Tiny):
    def forward(self, x): return super().forward(x).detach()
def frozen(classes): return Frozen(classes)
class Off(Tiny):
    def forward(self, x):
        torch.set_grad_enabled(False)
        return super().forward(x)
def off(classes): return Off(classes)
class Quits(Tiny):
    def forward(self, x): raise SystemExit(4)
def quits(classes): return Quits(classes)
class First(Tiny):
    def forward(self, x): return super().forward(x)[:1]
def first(classes): return First(classes)
class Two(Tiny):
    def forward(self, x, y): return super().forward(x)
def two(classes): return Two(classes)
seen = []
class Counts(Tiny):
    def forward(self, x):
        seen.append(len(x))
        return super().forward(x)
def counts(classes): return Counts(classes)
class Explodes(Tiny):
    # The gradient of one step is no number, the loss of that step is one.
    def forward(self, x):
        logits = super().forward(x)
        self.calls = getattr(self, "calls", 0) + self.training
        if self.calls == 5: logits.register_hook(lambda gradient: gradient * float("nan"))
        return logits
def explodes(classes): return Explodes(classes)
import random
import numpy
class Chance(Tiny):
    # Draws from all the generators there are, at its making and in every pass, evaluations too.
    def __init__(self, classes):
        super().__init__(classes)
        self.head.bias.data[0] = random.random() + numpy.random.rand()
        self.norm = torch.nn.BatchNorm2d(3, momentum=0.01)  # its statistics are estimated
    def forward(self, x):
        drawn = 1 + random.random() + numpy.random.rand() + torch.rand(1)
        return super().forward(self.norm(x * drawn))
def chance(classes): return Chance(classes)
class Helped(Tiny):
    # As GoogLeNet: an auxiliary head beside the logits in training.
    def __init__(self, classes):
        super().__init__(classes)
        self.aux = torch.nn.Linear(3, classes)
    def forward(self, x):
        logits = super().forward(x)
        return (logits, self.aux(x.mean((2, 3)))) if self.training else {"logits": logits}
def helped(classes): return Helped(classes)
"""


@pytest.fixture(autouse=True)
def module(tmp_path, monkeypatch):
    (tmp_path / "own_students.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))


def train(store, out, **changes):
    settings = {
        "student": "own_students:make", "crops_per_image": 2, "scheme": Scheme("topk", 3),
        "epochs": 4, "batch_size": 12, "lr": 0.0, "momentum": 0.0, "weight_decay": 0.0,
        "device": "cpu",
    }  # fmt: skip
    return train_student(
        TrainConfig.from_recipe("fkd", store=store.path, out=out, **(settings | changes))
    )


def losses(run):
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if line["kind"] == "train"]


def test_a_function_of_yours_makes_a_student(shared_store, tmp_path):
    run = train(shared_store, tmp_path / "run", lr=20.0)
    card, model = load_student(run)
    assert card.name == "own_students:make"
    assert model.head.out_features == 3


def test_a_student_may_return_more_than_its_logits(shared_store, shared_folder, tmp_path):
    """An auxiliary head learns nothing; all else goes as without it."""
    runs = [
        train(
            shared_store,
            tmp_path / name,
            student=f"own_students:{name}",
            lr=20.0,
            val=shared_folder / "val",
        )
        for name in ("make", "helped")
    ]
    plain, helped = (load_student(run)[1].state_dict() for run in runs)
    assert all(torch.equal(value, helped[name]) for name, value in plain.items())
    exported = export_student(runs[1], "pt2")
    assert exported.difference < 1e-4


def test_a_backbone_is_what_a_student_begins_with(tmp_path, capsys):
    """A file without the head, as self-supervised trainers write it; the head stays as it was made."""
    card = StudentCard("squeezenet1_1", ("a", "b", "c"), Preprocessing(32))
    whole = build_student(card).state_dict()
    bare = {f"module.{n}": v for n, v in whole.items() if not n.startswith("classifier.1")}
    torch.save({"student": bare}, tmp_path / "w.pth")
    student = build_student(card)
    head = student.classifier[1].weight.detach().clone()
    give_weights(student, card, str(tmp_path / "w.pth"))
    assert torch.equal(student.classifier[1].weight, head)
    assert all(
        torch.equal(value, whole[name])
        for name, value in student.state_dict().items()
        if not name.startswith("classifier.1")
    )
    said = "has no head: classifier.1.weight and classifier.1.bias begin at random"
    assert said in capsys.readouterr().err


def test_a_student_that_draws_from_python_and_numpy_is_bit_equal_too(
    shared_store, tmp_path, monkeypatch
):
    """Twice with one seed, and after a stop; and the caller's generators go on as they would have."""
    settings = {"student": "own_students:chance", "lr": 20.0, "micro_batch": 5}
    random.seed(1), np.random.seed(1)
    mine = random.getstate(), np.random.get_state()[1].tolist()
    whole = train(shared_store, tmp_path / "whole", **settings)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == mine
    random.seed(2), np.random.seed(2)
    again = train(shared_store, tmp_path / "again", **settings)
    log_step = Run.log_step

    def signalled(self, step, **values):
        log_step(self, step, **values)
        if step == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(Run, "log_step", signalled)
    with pytest.raises(Stopped):
        train(shared_store, tmp_path / "cut", **settings)
    monkeypatch.setattr(Run, "log_step", log_step)
    cut = train(shared_store, tmp_path / "cut", resume=True, **settings)
    other = train(shared_store, tmp_path / "other", seed=7, **settings)
    one, same, went_on, another = (
        torch.load(run / "last.pt", weights_only=True)["student"]
        for run in (whole, again, cut, other)
    )
    for name in one:
        assert torch.equal(one[name], same[name]), name
        assert torch.equal(one[name], went_on[name]), name
    assert not torch.equal(one["conv.weight"], another["conv.weight"])


def test_a_student_of_timm(shared_store, tmp_path):
    pytest.importorskip("timm")
    run = train(shared_store, tmp_path / "run", student="timm:resnet10t")
    assert load_student(run)[1].default_cfg["architecture"] == "resnet10t"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("narrow", "has 2 outputs, .* has 3 classes"),
        ("nothing", "own_students:nothing returned a NoneType, not a torch.nn.Module"),
        ("broken", "OSError: no weights here; package.module:function must name a function"),
        ("leaves", "own_students:leaves: SystemExit: 3; .* a function of the number of classes"),
        ("missing", r"module own_students \(.*own_students.py\) has no 'missing'"),
        ("frozen", "has nothing to learn: its logits need no gradient"),
        ("off", "has nothing to learn: its logits need no gradient"),
        ("quits", "cannot take 12 views of 32 px .SystemExit: 4.; mend its function"),
        ("first", "returns 1 row for 12 views"),
        ("two", "cannot take 12 views of 32 px .TypeError: .* mend its function"),
    ],
)
def test_functions_that_make_none(shared_store, tmp_path, name, words):
    with torch.enable_grad(), pytest.raises(FkdError, match=words):
        train(shared_store, tmp_path / "run", student=f"own_students:{name}")
    assert not (tmp_path / "run").exists()


def test_a_function_is_tried_on_a_few_views_alone(shared_store, tmp_path):
    """That is on the CPU, with all that a backward pass needs."""
    train(shared_store, tmp_path / "run", student="own_students:counts", batch_size=36, epochs=2)
    seen = sys.modules["own_students"].seen
    assert (seen[0], max(seen)) == (16, 36)


def test_the_command_looks_beside_the_user_and_python_where_it_is_told(shared_store, tmp_path):
    """-P is how an installed `fkd` starts: without the working folder among the places to look."""
    where = tmp_path / "elsewhere"
    where.mkdir()
    (where / "beside.py").write_text(MODULE)
    command = [sys.executable, "-P", "-m", "fkd", "train", str(shared_store.path)]
    command += ["--student", "beside:nobody", "--compress", "topk3", "--crops-per-image", "2"]
    command += ["--epochs", "4", "--batch-size", "12", "--out", "run"]
    done = subprocess.run(
        command, cwd=where, text=True, env=fkd_environment(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert f"({where / 'beside.py'}) has no 'nobody'" in done.stderr
    places = list(sys.path)
    with pytest.raises(FkdError, match="No module named 'beside'"):
        train(shared_store, tmp_path / "run", student="beside:make")
    assert sys.path == places


@pytest.mark.parametrize("eval_every", [0.7, 100.0])
def test_weights_that_are_no_numbers_are_not_saved(shared_store, tmp_path, eval_every):
    """The first call is the trial before training, so step 4 breaks the weights."""
    settings = {"student": "own_students:explodes", "lr": 1.0, "epochs": 8 / 1.5}
    with pytest.raises(
        FkdError, match=r"(no longer finite after step 4|the loss is nan at step 5)"
    ):
        train(shared_store, tmp_path / "run", eval_every=eval_every, **settings)
    for name in ("last.pt", "previous.pt"):
        if (tmp_path / "run" / name).exists():
            content = torch.load(tmp_path / "run" / name, weights_only=True)
            assert content["step"] < 4
            assert all(value.isfinite().all() for value in content["student"].values())
    assert (tmp_path / "run" / "last.pt").exists() == (eval_every < 1)


def test_training_begins_with_the_weights_that_it_is_given(shared_store, tmp_path):
    first = train(shared_store, tmp_path / "first", lr=30.0, epochs=8)
    second = train(shared_store, tmp_path / "second", init=str(first / "last.pt"), seed=5)
    one, other = (load_student(run / "last.pt")[1].state_dict() for run in (first, second))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_training_may_begin_with_an_average(shared_store, tmp_path, capsys):
    first = train(shared_store, tmp_path / "first", lr=30.0, epochs=8, ema=0.5)
    saved = torch.load(first / "last.pt", weights_only=True)
    settings = {"init": str(first / "last.pt"), "epochs": 8, "eval_every": 2, "save_every": 0}
    for ema, key in ((False, "student"), (True, "ema")):
        run = train(shared_store, tmp_path / key, init_ema=ema, **settings)
        weights = load_student(run / "last.pt")[1].state_dict()
        assert all(torch.equal(weights[name], value) for name, value in saved[key].items())
    said = capsys.readouterr().err
    assert said.count("those of student; --init-ema takes their moving average, ema\n") == 1
    with pytest.raises(FkdError, match="other settings: --init-ema is False, the run has True"):
        train(shared_store, tmp_path / "ema", resume=True, **settings)
    for init in ("none", "default", None):
        with pytest.raises(FkdError, match="--init-ema needs --init FILE"):
            train(shared_store, tmp_path / "none", init=init, init_ema=True)
    older = json.loads((tmp_path / "student" / "config.json").read_text())
    del older["init_ema"]
    (tmp_path / "student" / "config.json").write_text(json.dumps(older))
    assert train(shared_store, tmp_path / "student", resume=True, **settings)


def test_a_head_of_other_classes_begins_at_random(shared_store, tmp_path, capsys):
    torch.manual_seed(0)
    donor = torchvision.models.shufflenet_v2_x0_5(num_classes=7).state_dict()
    torch.save(donor, tmp_path / "donor.pth")
    torch.save({"state_dict": {f"model.{n}": v for n, v in donor.items()}}, tmp_path / "donor.ckpt")
    run = train(
        shared_store,
        tmp_path / "run",
        student="shufflenet_v2_x0_5",
        init=str(tmp_path / "donor.ckpt"),
    )
    assert (
        "was made for 7 classes, the store has 3: fc.weight and fc.bias" in capsys.readouterr().err
    )
    weights = load_student(run / "last.pt")[1].state_dict()
    assert torch.equal(weights["conv1.0.weight"], donor["conv1.0.weight"])
    with pytest.raises(FkdError, match=r"--init .*donor.pth misses 'conv1.weight'"):
        train(shared_store, tmp_path / "b", student="resnet18", init=str(tmp_path / "donor.pth"))


def test_weights_that_cannot_be_downloaded_are_one_line(shared_store, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("torch.hub.download_url_to_file", lambda *a, **k: 1 / 0)
    with pytest.raises(FkdError, match=r"--init default: the weights of resnet18 could not be"):
        train(shared_store, tmp_path / "run", student="resnet18", init="default")
    with pytest.raises(FkdError, match="has no library that keeps weights"):
        train(shared_store, tmp_path / "run", init="default")


@pytest.mark.parametrize(
    "engine", [{"amp": "bf16"}, {"micro_batch": 5}, {"clip_grad": 1e6}, {"loss": "kl"}], ids=str
)
def test_other_engines_learn_the_same(shared_store, tmp_path, engine):
    plain = losses(train(shared_store, tmp_path / "plain", lr=20.0, epochs=20))
    other = losses(train(shared_store, tmp_path / "other", lr=20.0, epochs=20, **engine))
    if "loss" in engine:  # KL is less by the entropy of the labels
        drop = [one - two for one, two in zip(plain, other, strict=True)]
        assert min(drop) > 0
        assert max(drop) - min(drop) < 0.1
    else:
        assert other == pytest.approx(plain, rel=2e-2 if "amp" in engine else 1e-4)


def test_a_clipped_gradient_moves_the_weights_that_far(shared_store, tmp_path):
    """One step of SGD at rate 1 moves the weights by the norm that the gradient was clipped to."""
    settings = {"epochs": 12 / 18, "lr": 1024 / 12, "lr_schedule": "constant"}
    still, moved = (
        load_student(train(shared_store, tmp_path / name, **settings | more) / "last.pt")[1]
        for name, more in (("still", {"lr": 0.0}), ("moved", {"clip_grad": 0.01}))
    )
    before, after = (
        torch.cat([p.flatten() for p in model.parameters()]) for model in (still, moved)
    )
    assert (after - before).norm().item() == pytest.approx(0.01, rel=1e-2)


def test_out_of_memory_says_which_option_helps(shared_store, tmp_path, monkeypatch):
    def full(*_, **__):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr("fkd.training.learner.Learner.step", full)
    with pytest.raises(
        FkdError, match=r"out of memory on cpu at step 1 with batches of 12 views; .*--micro-batch"
    ):
        train(shared_store, tmp_path / "run")


def test_metrics_go_to_tensorboard_where_it_is(shared_store, tmp_path):
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    run = train(shared_store, tmp_path / "run", epochs=30)
    reader = events.EventAccumulator(str(run / "tensorboard")).Reload()
    assert {"train/loss", "train/lr", "eval/top1"} <= set(reader.Tags()["scalars"])
    points = reader.Scalars("train/loss")
    assert [point.value for point in points] == pytest.approx(losses(run), rel=1e-6)
