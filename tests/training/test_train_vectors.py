"""Students that learn stored vectors and each other's layers: terms, adaptors, what is refused."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from helpers.processes import refused, trained
from helpers.vector_stores import MID, OUTPUT, some_vectors, with_vectors

from fkd import (
    FkdError,
    Term,
    TrainConfig,
    evaluate_features,
    export_student,
    load_student,
    rehearse,
    train_student,
)
from fkd.cli import main
from fkd.errors import Stopped
from fkd.runs import read_metrics
from fkd.students import read_checkpoint
from fkd.training import Learner, check_inputs

SMALL, WIDE = "helpers.networks:student", "vector_students:wide"
MODULE = """
from torch import nn
def wide(classes):
    return nn.Sequential(
        nn.Conv2d(3, 12, 5, 4), nn.ReLU(), nn.Conv2d(12, 24, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(24, classes),
    )
class Pairs(nn.Module):
    def forward(self, x): return x.sum(), x.T
class First(nn.Module):
    def forward(self, x): return x[1].T
def odd(classes): return nn.Sequential(
    nn.AdaptiveAvgPool2d(9), nn.Flatten(), Pairs(), First(), nn.Linear(3 * 81, classes)
)
class Turned(nn.Module):
    def forward(self, x): return x.permute(0, 2, 3, 1)
class Back(nn.Module):
    def forward(self, x): return x.permute(0, 3, 1, 2)
def turned(classes): return nn.Sequential(
    nn.Conv2d(3, 12, 4, 4), Turned(), nn.ReLU(), Back(), nn.Flatten(2), nn.AdaptiveAvgPool1d(1),
    nn.Flatten(), nn.Linear(12, classes),
)
"""


@pytest.fixture(scope="module", autouse=True)
def students(tmp_path_factory):
    home = tmp_path_factory.mktemp("students")
    (home / "vector_students.py").write_text(MODULE)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(home))
        yield


@pytest.fixture(scope="module")
def beside(shared_store, tmp_path_factory):
    """A store of labels, of vectors and of maps."""
    kinds = {"output": some_vectors(shared_store, OUTPUT), "mid": some_vectors(shared_store, MID)}
    return with_vectors(shared_store, tmp_path_factory.mktemp("v") / "beside.zarr", **kinds)


@pytest.fixture(scope="module")
def alone(shared_store, tmp_path_factory):
    """A store of vectors alone."""
    output = some_vectors(shared_store, OUTPUT)
    out = tmp_path_factory.mktemp("v") / "alone.zarr"
    return with_vectors(shared_store, out, labels=False, output=output)


def config(store, out, **changes):
    read = {"scheme": "topk3"} if store.spec.labels.there else {}
    settings = {
        **read, "student": SMALL, "crops_per_image": 2, "epochs": 4, "batch_size": 12,
        "lr": 5.0, "device": "cpu", "workers": 1, "log": "none", "val": "none",
    }  # fmt: skip
    return TrainConfig.of(store=store.path, out=out, **(settings | changes))


def losses(run, name="loss"):
    return [line[name] for line in read_metrics(run) if line["kind"] == "train"]


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def test_a_store_of_vectors_alone_is_learned_without_a_word(alone, tmp_path, capsys):
    run = train_student(
        config(alone, tmp_path / "run", epochs=40, optimizer="adamw", lr=0.5, ema=0.5)
    )
    said = capsys.readouterr().err
    assert "labels   none, but vectors" in said
    assert "vectors  output: 5 numbers, kept as f16" in said
    assert "loss     cosine to store:output, layer features, weight 1" in said
    assert "adapted  features to store:output: 16 numbers to 5 numbers, 85 parameters" in said
    assert "val      none; best.pt is the checkpoint with the least training loss" in said
    learned = losses(run)
    assert learned[-1] < 0.8 * learned[0]
    assert learned == losses(run, "loss/cosine_of_features_to_store.output")
    told = json.loads((run / "config.json").read_text())
    assert told["loss"] == [{"to": "store:output", "by": "cosine", "layer": "features"}]
    assert told["scheme"] == "none"
    # What adapts it is kept for the run alone.
    content = torch.load(run / "last.pt", weights_only=True)
    adaptor = content["adaptors"]["helpers.networks-student"]
    assert {name: tuple(values.shape) for name, values in adaptor.items()} == {
        "0.layers.0.weight": (5, 16), "0.layers.0.bias": (5,)
    }  # fmt: skip
    card, student = load_student(run)
    assert student.state_dict().keys() == content["student"].keys() == content["ema"].keys()
    assert card.classes == alone.class_names()
    exported = torch.load(export_student(run).path, weights_only=True)
    assert exported.keys() == content["student"].keys()


def test_a_run_without_classes_is_judged_by_neighbours(alone, shared_folder, tmp_path, capsys):
    """Class folders may have any names; kNN decides which checkpoint is the best, and is drawn."""
    val = tmp_path / "val"
    for kind in ("circle", "square"):
        shutil.copytree(shared_folder / "train" / kind, val / f"other {kind}")
    run = train_student(
        config(alone, tmp_path / "run", epochs=12, eval_every=3, ema=0.5, lr=0.5, val=val)
    )
    said = capsys.readouterr().err
    assert "by kNN of features, since no loss is on classes" in said
    evaluated = [line for line in read_metrics(run) if line["kind"] == "eval"]
    assert {"knn", "ema_knn"} <= set(evaluated[0])
    assert not any("top1" in name for line in evaluated for name in line)
    best, last = max(reversed(evaluated), key=lambda line: line["ema_knn"]), evaluated[-1]
    content = torch.load(run / "best.pt", weights_only=True)
    assert (content["step"], content["best"]) == (best["step"], best["ema_knn"])
    for name, line in (("best", best), ("last", last)):
        words = f"kNN {line['knn']:.2%}, moving average {line['ema_knn']:.2%} at epoch"
        assert re.search(rf"{name} +{words}", said)
    assert f"fkd eval {run} {val} --knn --ema" in said
    assert f"fkd export {run} --ema --without-head" in said
    found = evaluate_features(run, val, ema=True, device="cpu", batch_size=12)
    assert (found.knn, found.accuracy) == (best["ema_knn"], None)
    assert f"kept for the kNN of their moving average ({found.knn:.2%})" in told(run, val, capsys)
    assert (run / "curves.png").exists()
    rehearsed = rehearse(config(alone, tmp_path / "dry", val=val))
    assert rehearsed.evaluation_seconds is not None
    assert "cosine to store:output, layer features" in dict(rehearsed.lines())["loss"]


def told(run, val, capsys):
    evaluate_features(run, val, device="cpu")
    return capsys.readouterr().err


def test_one_of_several_students_may_learn_no_classes(beside, shared_folder, tmp_path):
    students = ({"model": SMALL, "name": "a"}, {"model": SMALL, "name": "b"})
    loss = (Term(of="a"), Term(of="b", to="store:output", by="cosine", layer="features"))
    run = train_student(
        config(beside, tmp_path / "run", student=students, loss=loss, val=shared_folder / "val")
    )
    line = next(line for line in read_metrics(run) if line["kind"] == "eval")
    assert {"top1", "top5", "b/knn"} <= set(line)
    assert not {"knn", "b/top1"} & set(line)
    assert load_student(run, student="a")[0].learned_classes
    assert not load_student(run, student="b")[0].learned_classes


LIVELY = {
    "optimizer": "adamw",
    "lr": 0.5,
    "ema": 0.8,
    "mixup": 0.5,
    "clip_grad": 0.1,
    "micro_batch": 4,
}


@pytest.mark.parametrize(
    ("student", "loss"),
    [
        (
            SMALL,
            (
                Term(by="kl", weight=(1, 0)),
                Term("store:output", "l2", layer="features", weight=(0, 1), adapt="mlp"),
                Term("store:mid", "channel_kl", layer="3", temperature=2.0),
                Term("store:output", "relation", layer="features", adapt="mlp"),
            ),
        ),
        (
            ({"model": SMALL, "name": "a"}, {"model": WIDE, "name": "b"}),
            (Term(), Term("peers", "l2", layer="features"), Term("a", "l1", "b"),
             Term("store:mid", "cosine", "b", layer="2")),
        ),
    ],
    ids=["one", "two"],
)  # fmt: skip
def test_a_run_on_vectors_goes_on_after_a_stop_as_if_it_had_none(beside, tmp_path, student, loss):
    """Adaptors too, which also those terms need that weigh nothing yet."""
    whole = train_student(config(beside, tmp_path / "whole", student=student, loss=loss, **LIVELY))

    class Stops(Learner):
        def step(self, batch, step, **more):
            if step == 3:
                raise Stopped("stopped", 15)
            return super().step(batch, step, **more)

    halved = config(
        beside,
        tmp_path / "halved",
        student=student,
        loss=loss,
        resume=True,
        save_every=1e-9,
        **LIVELY,
    )
    with pytest.raises(Stopped):
        train_student(halved, learner=Stops)
    assert read_checkpoint(tmp_path / "halved" / "last.pt").step == 3
    ends = [
        torch.load(run / "last.pt", weights_only=True) for run in (whole, train_student(halved))
    ]
    assert same(ends[0]["student"], ends[1]["student"])
    assert ends[0]["adaptors"].keys() == ends[1]["adaptors"].keys()
    for name, adaptor in ends[0]["adaptors"].items():
        assert same(adaptor, ends[1]["adaptors"][name])
    assert losses(whole) == losses(tmp_path / "halved")
    names = [name for name in read_metrics(whole)[0] if name.startswith("loss/")]
    assert losses(whole)[-1] == pytest.approx(sum(losses(whole, n)[-1] for n in names), rel=1e-5)


def test_peers_compare_layers_of_other_widths(beside, tmp_path):
    pair = ({"model": SMALL, "name": "a"}, {"model": WIDE, "name": "b"})
    loss = (Term("truth"), Term("peers", "l2", layer="features"))
    run = train_student(config(beside, tmp_path / "run", student=pair, loss=loss))
    content = torch.load(run / "last.pt", weights_only=True)
    widths = {n: tuple(a["0.layers.0.weight"].shape) for n, a in content["adaptors"].items()}
    assert widths == {"a": (24, 16), "b": (16, 24)}
    assert losses(run, "b/loss/l2_of_features_to_peers")[0] > 0
    assert (
        load_student(run, student="b")[1].state_dict().keys()
        == content["peers"]["b"]["student"].keys()
    )


def test_peers_compare_maps_of_other_grids_while_views_grow(beside, tmp_path):
    pair = ({"model": SMALL, "name": "a"}, {"model": WIDE, "name": "b"})
    loss = (Term("truth"), Term("peers", "l2", layer="0"))
    sizes = {"size": "32:64", "size_multiple": 32, "val": "none"}
    run = train_student(config(beside, tmp_path / "run", student=pair, loss=loss, **sizes))
    assert losses(run, "b/loss/l2_of_0_to_peers")[0] > 0


def test_relations_are_between_three_views_at_least(beside, tmp_path):
    term = Term("store:output", "relation", layer="features")
    few = config(beside, tmp_path / "run", loss=term, batch_size=4, micro_batch=3)
    with pytest.raises(FkdError, match="choose a larger --micro-batch"):
        check_inputs(few)


def test_a_term_on_vectors_beside_takes_nothing_from_the_others(beside, tmp_path):
    """A student that also has a term of weight 0 learns what it learns without that, and so do labels."""
    plain = train_student(config(beside, tmp_path / "plain", loss=Term()))
    nothing = Term("store:mid", "l2", layer="3", weight=0)
    both = train_student(config(beside, tmp_path / "both", loss=(Term(), nothing)))
    assert same(
        read_checkpoint(plain / "last.pt").student, read_checkpoint(both / "last.pt").student
    )
    assert "adaptors" not in torch.load(plain / "last.pt", weights_only=True)


def test_a_student_is_compared_as_it_is_where_shapes_agree(shared_store, tmp_path):
    """Unlabelled images: as many outputs as the vector has numbers, which then need no adaptor."""
    count = shared_store.spec.num_classes
    store = with_vectors(
        shared_store, tmp_path / "s.zarr", labels=False, output=some_vectors(shared_store, (count,))
    )
    run = train_student(config(store, tmp_path / "run", loss=Term("store:output", "l2")))
    assert "adaptors" not in torch.load(run / "last.pt", weights_only=True)
    assert losses(run)[0] > 0


def test_a_rehearsal_takes_steps_on_vectors(alone):
    found = rehearse(config(alone, None))
    assert found.steps_timed > 0
    assert found.evaluation_seconds is None


def test_what_a_store_does_not_have_is_refused(beside, alone, shared_store, tmp_path):
    def said(store, loss):
        with pytest.raises(FkdError) as error:
            check_inputs(config(store, tmp_path / "run", loss=loss))
        return str(error.value)

    assert "has no vectors named neck; it has output, mid" in said(beside, Term("store:neck", "l2"))
    assert "has no vectors named mid; it has none (`fkd label" in said(
        shared_store, Term("store:mid", "l2")
    )
    for loss in ("kl", (Term(), Term("truth"))):
        assert "holds vectors and no labels: output; name them, as in" in said(alone, loss)
    with pytest.raises(FkdError, match="holds vectors and no labels, which say nothing of"):
        train_student(config(alone, tmp_path / "run", min_confidence=0.5))


def test_a_scheme_of_labels_that_are_not_there_is_refused_whoever_says_it(
    alone, shared_store, tmp_path
):
    out = ("--out", tmp_path / "run", "--student", SMALL, "--crops-per-image", "2")
    words = f"{alone.path} holds vectors and no labels that could be read so; leave it out"
    for scheme in ("topk5", "full"):  # the first is what is read where nobody says it
        line = refused("train", alone.path, "--compress", scheme, *out)
        assert f"error: --compress {scheme}: {words}" in line
    line = refused("train", alone.path, "--recipe", "hinton", *out)
    assert f"error: recipe hinton: --compress full: {words}, or say --compress none" in line
    line = refused("train", shared_store.path, "--compress", "none", *out)
    assert "--compress none is of a store without labels, and this one holds topk3, which" in line
    check_inputs(config(alone, tmp_path / "run", scheme="none"))


def test_a_run_on_vectors_alone_has_their_name_and_goes_on_by_it(
    alone, shared_store, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    short = {"epochs": 2, "batch_size": 12, "num_crops": None}
    run = train_student(config(alone, None, **short))
    assert run == Path("runs/helpers.networks-student-vectors-m2-1")
    args = ("--student", SMALL, "--crops-per-image", 2, "--resume", "--device", "cpu")

    def resumed(*store):
        result = CliRunner().invoke(main, ["train", *map(str, (*store, *args))])
        return result.stderr

    is_finished = f"{run} is finished: 3 of 3 steps"
    # Without a store in its place, the run says which it is of.
    assert is_finished in resumed(alone.path)
    assert is_finished in resumed()
    assert is_finished in resumed(alone.path, "--recipe", "fkd")
    assert "asks for more than the store keeps" in resumed(shared_store.path, "--compress", "full")
    assert train_student(config(alone, None, **short)).name.endswith("-vectors-m2-2")


CANNOT = {
    "has no layer layer3; it has features, ": (SMALL, Term("store:mid", "l2", layer="layer3")),
    "is no map, and is compared with 4 channels": (SMALL, Term("store:mid", "l2", layer="features")),
    "16 channels of 3 x 3 positions, and is": (SMALL, Term("store:mid", "l2", layer="3", adapt="none")),
    "it says 3 numbers, and is compared with 5": (SMALL, Term("store:output", "l2", adapt="none")),
    "layer 2 of student vector_students:odd says a tuple of [], [243, 2]; of 2 views": (
        "vector_students:odd", Term("store:output", "l2", layer="2"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("words", CANNOT)
def test_layers_that_cannot_be_compared_are_refused_before_the_run(beside, tmp_path, words):
    student, term = CANNOT[words]
    with pytest.raises(FkdError) as refused:
        train_student(config(beside, tmp_path / "run", student=student, loss=term))
    assert words in str(refused.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("size", ["32", "24x32", "64x32:128x64"])
def test_a_layer_with_its_channels_last_is_a_map_of_them(beside, tmp_path, size):
    """As those of a Swin transformer, of views that are square or not."""
    loss = (Term("store:mid", "l2", layer="2"), Term("store:output", "l1", layer="2"))
    student = {"student": "vector_students:turned", "size": size, "epochs": 2}
    run = train_student(config(beside, tmp_path / "run", loss=loss, **student))
    names = torch.load(run / "last.pt", weights_only=True)["adaptors"]["vector_students-turned"]
    assert tuple(names["0.layers.0.weight"].shape) == (4, 12, 1, 1)
    assert tuple(names["1.layers.0.weight"].shape) == (5, 12)


def test_a_layer_that_grows_with_the_views_is_refused_before_the_run(beside, tmp_path):
    loss = (Term(), Term("store:output", "l2", layer="4"))
    growing = {"student": "vector_students:turned", "size": "32:64", "loss": loss}
    # Position by position, [b, 12, 64] is taken for 12 tokens of so many numbers.
    with pytest.raises(
        FkdError, match="says 256 numbers of views of 64 px, and 64 numbers of smal"
    ):
        train_student(config(beside, tmp_path / "run", **growing))
    assert not (tmp_path / "run").exists()


def test_a_library_student_is_tapped_by_its_own_names(beside, tmp_path):
    """Its shapes are found without data."""
    loss = (Term("store:mid", "l2", layer="stage3"), Term("store:output", "l1", layer="features"))
    small = {"student": "shufflenet_v2_x0_5", "epochs": 1, "batch_size": 6}
    run = train_student(config(beside, tmp_path / "run", loss=loss, **small))
    names = torch.load(run / "last.pt", weights_only=True)["adaptors"]["shufflenet_v2_x0_5"]
    assert tuple(names["0.layers.0.weight"].shape) == (4, 96, 1, 1)
    assert tuple(names["1.layers.0.weight"].shape) == (5, 1024)


def test_two_processes_take_the_steps_of_one(beside, tmp_path):
    """Also the first, where one term weighs nothing, and none is on the student's last layer."""
    loss = ('{to="store:output", by="cosine", layer="features"}',)
    loss += ('{to="store:mid", by="l2", layer="0", weight=[0, 1]}',)
    more = [word for term in loss for word in ("--loss", term)]
    for ranks in (1, 2):
        for done in trained(beside, tmp_path / str(ranks), tmp_path, ranks, *more, "--ema", 0.9):
            assert done.code == 0, done.err
    assert losses(tmp_path / "1") == pytest.approx(losses(tmp_path / "2"), rel=1e-4)
    one, two = (torch.load(tmp_path / n / "last.pt", weights_only=True) for n in "12")
    name = "tiny_student-make"
    states = (one["student"], two["student"]), (one["adaptors"][name], two["adaptors"][name])
    for own, other in states:
        assert own.keys() == other.keys()
        assert all(torch.allclose(own[n], other[n], atol=1e-4) for n in own)
