"""Steps of every kind of loss as a GPU would take them, as far as a CPU can tell.

The device "meta" holds no data: whoever reads a number from it fails, as whoever reads one from a GPU
waits. Autocast and `torch.compile` are a CPU's.
"""

from contextlib import closing, nullcontext
from dataclasses import replace

import pytest
import torch
from helpers.devices import CPU, META, AGpu
from helpers.learners import VIEWS, Lines, batch_of, learner_of, of_maps, of_views, stored
from torch import nn
from torch.nn import functional

from fkd import Scheme, Term, TrainConfig
from fkd.config import LoaderConfig, Preprocessing
from fkd.evaluation import Features, judge, judging
from fkd.feeding.feed import Feed
from fkd.labels import KeptLabels
from fkd.losses import text_loss
from fkd.models import crnn
from fkd.students import MovingAverage, StudentCard
from fkd.training import Group
from fkd.training.network import Network

FULL = KeptLabels(Scheme("full"), 5)
LOGITS = ("ce", "kl", "wttm", "dist", "nkd")
VECTORS = ("l1", "l2", "smooth_l1", "cosine", "relation", "channel_kl")
SMOOTH = Scheme("topk", 3, tail="smooth")
EVERYTHING = {"ema": 0.9, "mixup": 0.2, "cutmix": 1.0, "color_jitter": 0.4, "clip_grad": 1.0}


def terms_on(to, by, **how):
    return [Term(to, one, **how) for one in by]


# Terms, and what a learner and a batch of `helpers.learners` are of beside.
KINDS = {
    "labels": (terms_on("store", LOGITS, temperature=4.0), {"mixup": 0.2, "clip_grad": 1.0}),
    "smoothed": (terms_on("store", ("mse", "symmetric_kl")), {"scheme": SMOOTH, "cutmix": 1.0}),
    "dense": (
        [*terms_on("store", ("ce", "kl"), standardize=True), *terms_on("store", ("mse", "dist"))],
        {"labels": FULL, "mixup": 0.2},
    ),
    "samples": ([Term()], {"labels": KeptLabels(Scheme("samples", 8), 5), "color_jitter": 0.4}),
    "hardened": ([Term()], {"calibrate": True, "ema": 0.9}),
    "truth of mixed views": (
        [Term(by="nkd"), Term("truth", label_smoothing=0.1)],
        {"own_share": 0.25},
    ),
    "mutual": ("kl", {"students": 3, "hard_weight": 0.5, "optimizer": "adamw", **EVERYTHING}),
    "peers": (
        [*terms_on("peers", ("mse", "symmetric_kl", *LOGITS)), *terms_on("peers", VECTORS)],
        {"students": 2, "mixup": 0.2},
    ),
    "layers of peers": (terms_on("peers", VECTORS, layer="0"), {"students": 2}),
    "vectors": (
        [
            *terms_on("store:v", VECTORS, layer="features", adapt="mlp"),
            *terms_on("store:v", VECTORS),
        ],
        {"vectors": {"v": stored((10,))}, "mixup": 0.2},
    ),
    "components": (terms_on("store:v", VECTORS), {"vectors": {"v": stored((10,), pca=True)}}),
    "maps of features": (
        terms_on("store:v", VECTORS, layer="0"),
        {"vectors": {"v": stored((4, 7, 7))}, "mixup": 0.2},
    ),
    "maps": (
        [
            *terms_on("store", LOGITS[:4]),
            *terms_on("peers", ("kl", "cosine")),
            Term("truth", label_smoothing=0.1),
        ],
        {
            "labels": KeptLabels(Scheme("topk", 3), 5, (4, 4)),
            "network": of_maps,
            "students": 2,
            "masks": True,
        },
    ),
    "lines": (
        [*terms_on("store", LOGITS[:4]), *terms_on("peers", ("kl", "channel_kl"))],
        {"labels": KeptLabels(Scheme("topk", 3), 5, (6,)), "network": Lines, "students": 2},
    ),
}


def steps_of(kind, device, **more):
    """Return a function that takes a step of a kind, and the learner."""
    terms, settings = KINDS[kind]
    of_batch = {n: settings[n] for n in ("own_share", "masks") if n in settings}
    kept = {n: settings[n] for n in ("labels", "vectors") if n in settings}
    others = {n: value for n, value in settings.items() if n not in of_batch}
    learner, config = learner_of(device, terms, **(others | more))

    def step(number):
        batch = batch_of(**kept, **of_batch)
        return learner.step(batch, number, lr=0.1, terms=config.terms_at(0.3))

    return step, learner


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_leaves_nothing_on_the_cpu_and_waits_for_nothing(kind, monkeypatch):
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # knows no such device
    step, _ = steps_of(kind, META)
    for number in range(2):  # what is made once is made in the first
        with AGpu(may_wait=number == 0):
            loss = step(number)
    assert loss.device == META


@pytest.mark.parametrize("kind", KINDS)
def test_losses_are_in_float32_whatever_precision_a_student_has(kind):
    losses = []
    for amp in ("off", "bf16", "fp16"):
        step, learner = steps_of(kind, CPU, amp=amp)
        losses.append(step(0))
        assert learner.is_finite()
    assert {loss.dtype for loss in losses} == {torch.float32}
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.02, abs=1e-4)
    assert losses[2].item() == pytest.approx(losses[0].item(), rel=0.02, abs=1e-4)


@pytest.mark.parametrize(
    ("store", "asked"),
    [
        ("shared_store", {"calibrate": True}),
        ("vector_store", {"vectors": ("features", "map")}),
        ("bare_store", {}),
        ("map_store", {}),
    ],
)
def test_a_loader_waits_for_nothing(store, asked, request):
    """Everything of a batch is on the device of its loader, whoever renders."""
    opened = request.getfixturevalue(store)
    settings = {"scheme": "topk3"} if opened.spec.labels.there else {}
    settings |= {n: value for n, value in asked.items() if n != "vectors"}
    config = LoaderConfig.of(
        store=opened.path, crops_per_image=2, batch_size=6, epochs=2, device="cpu", workers=1,
        **settings,
    )  # fmt: skip
    feed = Feed.of(config, 0, 1, asked.get("vectors"))
    for render in ("cpu", "device"):
        there = replace(feed, device=META, config=replace(config, render=render))
        with closing(there.batches(0, True, None)) as batches:
            for may_wait in (True, False):
                with AGpu(may_wait):
                    batch = next(batches)
        parts = [batch.images, batch.targets, batch.crop_index, *batch.vectors.values()]
        if batch.labels is not None:
            parts.append(batch.labels.dense())
        assert {part.device for part in parts} == {META}
        assert batch.pin_memory() is batch


def test_lengths_go_to_ctc_as_numbers(monkeypatch):
    """Of tensors torch reads them again and again, and a GPU stands still each time."""
    given, ctc_loss = [], functional.ctc_loss

    def seen(log_probs, targets, *lengths, **options):
        given.extend(lengths)
        return ctc_loss(log_probs, targets, *lengths, **options)

    monkeypatch.setattr(functional, "ctc_loss", seen)
    text_loss(torch.zeros(3, 6, 5), torch.tensor([[1, 2, 0], [3, 3, 4], [-1, 0, 0]]))
    assert given == [(6, 6, 6), (2, 3, 0)]


def test_an_lstm_is_in_float32_under_autocast():
    """On CUDA it would be in float16, even where autocast is to bfloat16."""
    network, seen = crnn(5), []
    network.neck.lstm.register_forward_hook(lambda _, given, said: seen.extend([given[0], said[0]]))
    with torch.autocast("cpu", torch.bfloat16):
        logits = network(torch.rand(2, 3, 16, 32))
    assert [one.dtype for one in (*seen, logits)] == [torch.float32, torch.float32, torch.bfloat16]
    logits.float().sum().backward()
    assert network.backbone[0].weight.grad.abs().sum() > 0


def test_the_average_of_an_lstm_has_its_weights_in_one_piece(monkeypatch):
    flattened, network = [], crnn(5)
    monkeypatch.setattr(nn.LSTM, "flatten_parameters", lambda lstm: flattened.append(lstm))
    average = MovingAverage(network, 0.9)
    assert flattened[-1] is average.module.neck.lstm


@pytest.mark.parametrize("students", [1, 2])
def test_each_weight_gets_a_gradient_whatever_terms_are_on(students):
    """Where one gets none, processes that train together wait for it and fail."""

    class Beside(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = of_views()
            self.beside = nn.Linear(3, 4)

        def forward(self, pixels):
            self.beside(pixels.mean(dim=(2, 3)))
            return self.body(pixels)

    vectors = {"v": stored((4,))}
    to = "store:v" if students == 1 else "s1"
    term = Term(to, "l2", of="s0", layer="beside")
    learner, config = learner_of(
        CPU, [term, Term(of="s1")] if students == 2 else [term], network=Beside,
        students=students, vectors=vectors,
    )  # fmt: skip
    learner.step(batch_of(vectors=vectors), 0, lr=0.1, terms=config.terms_at(0))
    for student in learner.students.values():
        assert all(weight.grad is not None for weight in student.parameters())


def test_a_loss_of_which_nothing_weighs_anything_is_zero_whatever_is_said():
    """In float16 logits may be infinite that no loss looks at."""
    learner, _ = learner_of(CPU, [Term(weight=(0.0, 1.0))])
    learner.student[-1].bias.data[:] = torch.inf
    assert learner.step(batch_of(), 0, lr=0.1, terms=()) == 0


def test_weights_that_are_no_numbers_are_noticed_in_any_student():
    learner, _ = learner_of(CPU, "kl", students=2)
    assert learner.is_finite()
    learner.students["s1"].student[0].weight.data[0, 0, 0, 0] = torch.nan
    assert not learner.is_finite()


def test_students_are_compiled_for_every_size_of_views_and_micro_batches(monkeypatch):
    """torch stops after 8 graphs, and says so in no line that a user would look for."""
    real, graphs = torch.compile, []

    def compiled(model, **how):
        def note_graph(graph, inputs):
            graphs.append(graph)
            return graph.forward

        return real(model, backend=note_graph, **how)

    monkeypatch.setattr(torch, "compile", compiled)
    config = TrainConfig.of(compile=True, size="32:64", size_multiple=8)
    card = StudentCard("small", tuple("abcde"), Preprocessing(64))
    with torch._dynamo.config.patch(recompile_limit=8):
        torch._dynamo.reset()
        student = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 5))
        network = Network(config, card, student, CPU, Group(), "")
        for size in config.size.steps(8):
            for views in (3, 4):
                network.said(torch.zeros(views, 3, size, size))
    torch._dynamo.reset()
    assert len(graphs) == 10


def test_neighbours_of_features_are_looked_for_where_the_student_is(monkeypatch):
    """Each image is compared with all others, and meanwhile a GPU would stand still."""
    where = []

    def found(*_, **__):
        return Features(torch.rand(VIEWS, 4), torch.zeros(VIEWS, dtype=torch.int64))

    def noted(vectors, classes, k):
        where.extend([vectors.device, classes.device])
        return 0.5

    monkeypatch.setattr(judging, "gather_features", found)
    monkeypatch.setattr(judging, "knn_top1", noted)
    card = StudentCard("small", tuple("abcde"), Preprocessing(32), learned_classes=False)
    images = range(VIEWS)
    assert judge(nn.Linear(2, 2, device=META), card, images, 4, 1).knn == 0.5
    assert where == [META, META]
