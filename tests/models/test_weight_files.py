"""Weights are found in what trainers write, and no code in a file is run."""

import argparse
import collections
import enum
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from fkd import FkdError
from fkd.models import (
    head_tensors,
    load_weights,
    num_outputs,
    read_weights,
    shapes_of,
    shapes_of_any,
)
from fkd.models.weight_files import Inert, read_file


def build(num_classes):
    return nn.Sequential(
        collections.OrderedDict(
            conv=nn.Conv2d(3, 4, 3), bn=nn.BatchNorm2d(4), block=nn.Sequential(nn.Conv2d(4, 4, 1)),
            fc=nn.Linear(4, num_classes),
        )
    )  # fmt: skip


def weights(seed, num_classes=5):
    torch.manual_seed(seed)
    return build(num_classes).state_dict()


OWN, AVERAGE = weights(0), weights(1)


def read(path, *, average=False, shapes=None):
    return read_weights(
        path, shapes or shapes_of_any(build), "tiny",
        option="--init", average_option="--init-ema", average=average,
    )  # fmt: skip


def same(state, expected):
    assert set(state) == set(expected)
    return all(torch.equal(value, expected[name]) for name, value in state.items())


def under(prefix, state=OWN):
    return {prefix + name: value for name, value in state.items()}


class Config(dict):
    """As configs of several trainers are: a dict with a state of its own."""

    def __init__(self, **items):
        super().__init__(items)
        self.__dict__["frozen"] = Path("/nowhere")


class Kind(enum.Enum):
    BEST = 1


def optimizer():
    model = build(5)
    model.load_state_dict(OWN)
    made = torch.optim.AdamW(model.parameters())
    sum(p.sum() for p in model.parameters()).backward()
    made.step()
    return made.state_dict()


def averaged():
    model = build(5)
    model.load_state_dict(AVERAGE)
    return AveragedModel(model).state_dict()


def beside():
    """What trainers keep beside the weights: objects that torch reads with no weights_only=True."""
    arguments = argparse.Namespace(lr=0.1, out=Path("runs"), kind=Kind.BEST, shape=np.zeros(3))
    items = collections.defaultdict(list, a=[1])
    return {
        "epoch": 3, "args": arguments, "optimizer": optimizer(), "metric": np.float64(0.7),
        "config": Config(inner=Config(path=Path("x")), kind=np.dtype("f4")), "callbacks": items,
        "queue": collections.deque([1, 2]), "seen": {Path("x"), frozenset([2])},
    }  # fmt: skip


CHECKPOINTS = {
    "plain": OWN,
    "timm": {"state_dict": OWN, **beside()},
    "references": {"model": OWN, **beside(), "model_ema": averaged()},
    "compiled": under("_orig_mod."),
    "compiled, of DDP": {"net": under("module._orig_mod.")},
    "compiled in part": {n.replace("block.", "block._orig_mod."): v for n, v in OWN.items()},
    "Lightning": {"state_dict": under("model.") | {"loss.weight": torch.ones(5)}, **beside()},
    "backbone in a config": Config(weights=Config(model=under("backbone."))),
    "FSDP": {"model": under("_fsdp_wrapped_module.")},
    "the same twice": {"state_dict": under("model.") | under("net.")},
    "before counters": {n: v for n, v in OWN.items() if "num_batches" not in n},
}


@pytest.mark.parametrize("zipped", [True, False], ids=["new", "old"])
@pytest.mark.parametrize("name", CHECKPOINTS)
def test_weights_are_found_in_what_trainers_write(tmp_path, name, zipped):
    path = tmp_path / "w.pth"
    torch.save(CHECKPOINTS[name], path, _use_new_zipfile_serialization=zipped)
    before = set(torch.serialization.get_safe_globals())
    assert same(read(path), OWN if name != "before counters" else CHECKPOINTS[name])
    assert set(torch.serialization.get_safe_globals()) == before


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ({"model": OWN, "model_ema": averaged(), "args": argparse.Namespace()}, "model_ema/module.*"),
        ({"state_dict": OWN, "state_dict_ema": AVERAGE}, "state_dict_ema"),
        ({**OWN, "ema_state_dict": {"decay": 0.9, "shadow": AVERAGE}}, "ema_state_dict/shadow"),
        ({"state_dict": under("model.") | under("ema_model.", AVERAGE)}, "state_dict/ema_model.*"),
        ({"student": under("module."), "teacher": under("backbone.", AVERAGE)}, "teacher/backbone.*"),
        (under("net.") | under("copy.", averaged()), "copy.module.*"),
    ],
    ids=["references", "timm", "shadow", "Lightning", "self-distillation", "AveragedModel"],
)  # fmt: skip
def test_averages_are_taken_on_request(tmp_path, capsys, content, where):
    torch.save(content, tmp_path / "w.pth")
    assert same(read(tmp_path / "w.pth", average=True), AVERAGE)
    assert capsys.readouterr().err == ""
    assert same(read(tmp_path / "w.pth"), OWN)
    said = capsys.readouterr().err
    assert said.startswith(f"weights  {tmp_path}/w.pth: those of ")
    assert said.endswith(f"; --init-ema takes their moving average, {where}\n")


def test_a_backbone_may_come_without_its_head(tmp_path, capsys):
    """As self-supervised ones do, whose projection heads lie beside them."""
    bare = {name: value for name, value in OWN.items() if not name.startswith("fc.")}
    other = {name: value for name, value in AVERAGE.items() if not name.startswith("fc.")}
    head = {"head.mlp.0.weight": torch.ones(2, 2)}
    student = under("module.backbone.", bare) | {f"module.{n}": v for n, v in head.items()}
    teacher = under("backbone.", other) | head
    torch.save({"student": student, "teacher": teacher, "epoch": 3}, tmp_path / "w.pth")
    shapes = shapes_of_any(build)
    may = {"may_miss": head_tensors(shapes)}
    words = {"option": "--init", "average_option": "--init-ema"}
    found = read_weights(tmp_path / "w.pth", shapes, "tiny", **words, average=False, **may)
    assert same(found, bare)
    assert "those of student/module.backbone.*; --init-ema takes" in capsys.readouterr().err
    found = read_weights(tmp_path / "w.pth", shapes, "tiny", **words, average=True, **may)
    assert same(found, other)
    with pytest.raises(FkdError, match=r"misses 'fc.weight'"):
        read(tmp_path / "w.pth")
    torch.save({"backbone": bare, "whole": OWN}, tmp_path / "w.pth")
    found = read_weights(tmp_path / "w.pth", shapes, "tiny", **words, average=False, **may)
    assert same(found, OWN)


def test_an_average_that_is_alone_is_taken_and_said(tmp_path, capsys):
    for content in ({"model_ema": AVERAGE}, averaged()):
        torch.save(content, tmp_path / "w.pth")
        assert same(read(tmp_path / "w.pth"), AVERAGE)
        assert "a moving average, m" in capsys.readouterr().err
    torch.save({"model": OWN, "ema": {"conv.weight": OWN["conv.weight"]}}, tmp_path / "w.pth")
    with pytest.raises(FkdError, match=r"w.pth \(ema\) misses 'conv.bias'"):
        read(tmp_path / "w.pth", average=True)
    torch.save({"teacher": OWN}, tmp_path / "w.pth")
    assert same(read(tmp_path / "w.pth"), OWN)
    assert capsys.readouterr().err == ""
    with pytest.raises(FkdError, match="no moving average of the weights; leave --init-ema out"):
        read(tmp_path / "w.pth", average=True)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (build(5), "holds a whole torch.nn.modules.container.Sequential, whose code would have to run"),
        ({"epoch": 3, "optimizer": optimizer()}, "the keys epoch, optimizer; none is a state dict of t"),
        ({"state_dict": {"a": torch.ones(1)}}, "the keys state_dict; none is a state dict of tiny"),
        ({"a": torch.ones(1)}, "holds no tensor of tiny, but a; is it of another architecture?"),
        ({}, "holds no names; none is a state dict"),
        ([OWN], "holds no state dict .names to tensors.: its type is list"),
        ({"a": OWN, "b": AVERAGE}, r"several weights of this model \(a and b\)"),
        (under("") | {"x.weight": torch.ones(1)}, "has an unknown tensor 'x.weight'; is it of another"),
        ({"m": under("") | {"bn.bias": torch.ones(3)}}, r"\(m\) has 'bn.bias' in shape \(3,\), .* \(4\)"),
        ({"fc.weight": torch.ones(5, 9)} | {}, "misses 'conv.weight'; is it of another .* than tiny"),
        (OWN | {"fc.weight": torch.ones(5, 9)}, r"\(5, 9\), the model needs \(classes, 4\)"),
        (OWN | {"bn.bias": torch.empty(4, device="meta")}, "misses 'bn.bias'"),
    ],
)  # fmt: skip
def test_what_is_not_the_models_is_named(tmp_path, content, words):
    torch.save(content, tmp_path / "w.pth")
    with pytest.raises(FkdError, match=words) as caught:
        read(tmp_path / "w.pth")
    assert str(caught.value).startswith(f"--init {tmp_path}/w.pth")
    assert "\n" not in str(caught.value)


def test_files_that_are_none_of_weights(tmp_path, monkeypatch):
    (tmp_path / "a.safetensors").write_bytes(b"junk")
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    for name, words in (
        ("none.pth", "no such file"),
        (".", "is a folder"),
        ("a.safetensors", "needs safetensors; install it"),
    ):
        with pytest.raises(FkdError, match=words):
            read(tmp_path / name)
    program = torch.export.export(build(5)[:1].eval(), (torch.ones(1, 3, 4, 4),))
    torch.export.save(program, tmp_path / "p.pt2")
    with pytest.raises(FkdError, match="is a program"):
        read(tmp_path / "p.pt2")


def test_a_file_of_safetensors(tmp_path):
    safetensors = pytest.importorskip("safetensors.torch")
    safetensors.save_file(under("model."), tmp_path / "w.safetensors")
    assert same(read(tmp_path / "w.safetensors"), OWN)
    (tmp_path / "w.safetensors").write_bytes(b"junk")
    with pytest.raises(FkdError, match="not a file of safetensors"):
        read(tmp_path / "w.safetensors")


class Calls:
    """Pickled, it asks whoever unpickles it to call a function."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


class Builds:
    """Asks for an object of a class whose state is set from the file."""

    def __reduce__(self):
        return argparse.Namespace, (), {"__class__": Calls, "x": Calls(exec, "raise SystemExit(3)")}


ATTACKS = {
    "eval": lambda path: Calls(eval, f"open({path!r}, 'w')"),
    "exec": lambda path: Calls(exec, f"open({path!r}, 'w')"),
    "open": lambda path: Calls(open, path, "w"),
    "import": lambda path: Calls(__import__, "antigravity"),
    "a process": lambda path: Calls(subprocess.Popen, ["touch", path]),
    "a call of a result": lambda path: Calls(getattr, Calls(getattr, dict, "pop"), "__call__"),
    "numpy": lambda path: Calls(np.fromfile, path),
    "setattr": lambda path: Calls(setattr, Inert, "append", exec),
    "a state": lambda path: Builds(),
}


@pytest.mark.parametrize("zipped", [True, False], ids=["new", "old"])
@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_that_a_file_names_is_called_or_imported(tmp_path, name, zipped):
    mark, path, before = tmp_path / "mark", tmp_path / "w.pth", dict(vars(Inert))
    content = {"state_dict": OWN, "x": ATTACKS[name](str(mark))}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    assert same(read(path), OWN)
    held = read_file(path)["x"]
    assert isinstance(held, Inert)
    assert (list(held), vars(held)) == ([], {})
    assert dict(vars(Inert)) == before
    assert not mark.exists()
    assert "antigravity" not in sys.modules


@pytest.mark.parametrize("zipped", [True, False], ids=["new", "old"])
@pytest.mark.parametrize(
    ("function", "words"),
    [(os.rmdir, "calls posix.rmdir, which no weights need"), (Path.rmdir, "without running code")],
    ids=["the system's", "what a call returned"],
)
def test_other_calls_are_refused(tmp_path, function, words, zipped):
    (tmp_path / "kept").mkdir()
    content = {"state_dict": OWN, "x": Calls(function, tmp_path / "kept")}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(FkdError, match=f"w.pth: .*{words}"):
        read(tmp_path / "w.pth")
    assert (tmp_path / "kept").exists()


class Hides(dict):
    """Becomes an OrderedDict whose methods are hidden by what the file says."""

    def __reduce__(self):
        state = dict.fromkeys(["items", "keys", "get", "values"], Path("x"))
        return collections.OrderedDict, (), state, None, iter(self.items())


def test_a_dictionary_may_hold_itself_and_hide_its_methods(tmp_path):
    deep = inner = {}
    for _ in range(300):
        inner["a"] = inner = {}
    content = Hides(state_dict=OWN, deep=deep)
    content["again"] = content
    torch.save(content, tmp_path / "w.pth")
    assert same(read(tmp_path / "w.pth"), OWN)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("conv.weight", lambda t: (t * 9).to(torch.int8), r"holds integers \(torch.int8\)"),
        ("fc.bias", lambda t: t.to(torch.float8_e4m3fn), "holds 8-bit floats"),
        ("fc.bias", lambda t: t.to(torch.complex64), "holds complex numbers"),
        ("fc.bias", lambda t: t > 0, "holds truth values"),
        ("bn.running_var", lambda t: t * float("nan"), "holds NaN or infinity"),
        ("fc.weight", lambda t: t / 0, "holds NaN or infinity"),
    ],
)
def test_tensors_of_another_kind_are_named(name, change, words):
    with pytest.raises(FkdError, match=f"w.pth: tensor '{name}' .*{words}"):
        load_weights(build(5), OWN | {name: change(OWN[name])}, "w.pth")


def test_floats_come_in_any_precision_and_a_mask_may_be_infinite(tmp_path):
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        model = build(5)
        load_weights(model, {n: v.to(dtype) for n, v in OWN.items()}, "")  # and counters with them
        assert model.bn.num_batches_tracked.dtype == torch.int64
        assert model.fc.weight.dtype == torch.float32
        assert torch.equal(model.fc.weight, OWN["fc.weight"].to(dtype).float())
    masked = build(5)
    masked.register_buffer("mask", torch.full((2,), float("-inf")))
    load_weights(masked, masked.state_dict(), "")
    assert num_outputs(OWN, shapes_of_any(build), "") == 5
    for outputs in (0, 10**12):
        head = {"fc.weight": torch.ones(1, 4).expand(outputs, 4)}
        with pytest.raises(
            FkdError, match=f"tiny: tensor 'fc.weight' has shape .{outputs}, 4. and no"
        ):
            num_outputs(OWN | head, shapes_of_any(build), "tiny")
    with pytest.raises(FkdError, match="tiny has no layer with as many outputs"):
        num_outputs(OWN, shapes_of(build(5)), "tiny")
