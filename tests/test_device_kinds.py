"""Vectors, maps, lines and teachers of every kind on a GPU, as far as a CPU can tell.

The device "meta" holds no data: whoever reads a number from it fails, as whoever reads one from a GPU
waits. What stays behind on the CPU is no error there, and is one on a GPU.
"""

import math
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.devices import CPU, META, SIZE, AGpu, Net, Sent
from torch import nn

from fkd import LabelConfig, TeacherChoice
from fkd.config import Preprocessing, Target, VectorScheme
from fkd.joining.stored_views import JoinedViews
from fkd.labelling import Strip
from fkd.labelling.answers import _ask
from fkd.labelling.batches import TeacherBatch
from fkd.labels import KeptLabels
from fkd.models import OutputShape, as_vectors
from fkd.teachers import ClassMap, Ensemble, Source, Teacher
from fkd.teachers.sources import open_source
from fkd.vectors import KeptVectors, StoredVectors

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


SEEN = Preprocessing(SIZE)
# Two of six outputs are one class, and one is none.
CLASSES = ClassMap(
    np.array([5, 0, 1, 2, 3]), tuple("abcd"), np.empty(0, np.int64), np.array([0, 1, 1, 2, 3])
)


def a_teacher(model, grid, device=META, targets=()):
    source = Source(model, SEEN, "sha256:0", OutputShape(6, grid))
    return Teacher("t", source, CLASSES, device, targets=targets)


@pytest.fixture
def no_data(monkeypatch):
    """Let code run on the device "meta", which autocast does not know."""
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())
    monkeypatch.setattr("fkd.labelling.answers.Download", Sent)


GRIDS = [(), (4, 6), (6,)]
TARGETS = (
    Target("conv", VectorScheme("int8"), name="map"),
    Target("conv", VectorScheme("pca", 2), "mean", name="mean"),
    Target("conv", VectorScheme("f16"), "mean", name="half"),
)


def a_batch(teachers, count=4):
    views = [torch.zeros(count, 3, *SIZE, dtype=torch.uint8) for _ in teachers.view_formats]
    return TeacherBatch(views, [Strip(0, 0, 0, 0, 1), Strip(1, 1, 0, 1, count - 1)], [])


def stored_vectors(shapes):
    kept = {t.name: KeptVectors(t.name, t.keep, shapes[t.name]) for t in TARGETS}
    sample = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    return {
        name: StoredVectors(one, one.fit(sample) if one.scheme.kind == "pca" else {})
        for name, one in kept.items()
    }


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize(
    "scheme", ["full", "full-8bit", "topk3", "topk3-coarse", "topk2-std", "hard", "smooth"]
)
def test_a_batch_of_each_kind_is_labelled_without_waiting(grid, scheme, no_data):
    teachers = Ensemble([a_teacher(Net(grid).to(META), grid)] * 2)
    config = LabelConfig(Path("photos"), TeacherChoice("t"), scheme=scheme)
    batch = a_batch(teachers)
    for asked_before in (False, True):
        with AGpu(may_wait=not asked_before):
            sent = _ask(teachers, batch, config, None, {}, None).coming.tensors
    kept = KeptLabels(config.kept, 4, grid)
    assert sent.pop("faulty").shape == (4,)
    assert sent.pop("fidelity").shape == (4, 6)
    assert {n: tuple(t.shape) for n, t in sent.items()} == {
        f.name: (4, f.length) for f in kept.fields
    }


@pytest.mark.parametrize("grid", GRIDS)
def test_vectors_of_each_kind_are_kept_without_waiting(grid, no_data):
    teacher = a_teacher(Net(grid).to(META), grid, targets=TARGETS)
    config = LabelConfig(Path("photos"), TeacherChoice("t"), scheme="none", targets=TARGETS)
    teachers, vectors = Ensemble([teacher]), stored_vectors(teacher.shapes)
    batch = a_batch(teachers)
    for asked_before in (False, True):
        with AGpu(may_wait=not asked_before):
            sent = _ask(teachers, batch, config, None, vectors, None).coming.tensors
    for one in vectors.values():
        assert one.restore(sent).shape == (4, *one.shape)
        for field in one.kept.fields:
            kept = sent[field.name]
            assert (kept.shape, kept.dtype) == ((4, field.length), getattr(torch, field.dtype))


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_what_a_function_says_on_the_cpu_is_brought_to_the_device(grid, dtype, no_data):
    """As one does that asks another library."""
    sides = {0: (6,), 1: (*grid, 6), 2: (6, *grid)}[len(grid)]
    teacher = a_teacher(lambda pixels: torch.zeros(len(pixels), *sides, dtype=dtype), grid)
    views = torch.zeros(3, 3, *SIZE, dtype=torch.uint8)
    for asked_before in (False, True):
        with AGpu(may_wait=not asked_before):
            probs = teacher.probs(views, 2, 1.0)
    assert (probs.device, probs.dtype) == (META, torch.float32)
    assert probs.shape == (2 * math.prod(grid), 4)


def test_stored_labels_join_on_the_device(shared_store):
    joined = JoinedViews(shared_store, 0.5, 1)
    probs = torch.empty(2, shared_store.spec.num_classes, device=META)
    with AGpu():
        mean = joined.mean(probs, [Strip(0, 0, 0, 0, 2)])
    assert (mean.device, mean.shape) == (META, probs.shape)


def test_outputs_of_one_class_have_one_sum_whatever_the_order():
    """A GPU adds them in another order in every run, and stored codes hang on the sum."""
    outputs = torch.randn(50, 60, generator=torch.Generator().manual_seed(1))
    source = Source(nn.Identity(), SEEN, "sha256:0", OutputShape(60))
    classes = ClassMap(None, ("a", "b"), np.empty(0, np.int64), np.arange(60) // 30)
    sums = Teacher("t", source, classes, CPU).as_probs(outputs, 1.0)
    exact = outputs.softmax(dim=1).double().reshape(50, 2, 30).sum(dim=2)
    assert torch.equal(sums, exact.float())


def test_means_of_half_precision_are_rounded_once():
    said = torch.randn(2, 300, 3, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert torch.equal(as_vectors(said, "mean", 2, "it"), said.float().mean(dim=1))
    maps = said.reshape(2, 3, 20, 15)
    assert torch.equal(as_vectors(maps, "mean", 2, "it", (40, 30)), maps.float().mean(dim=(2, 3)))


class MakesTensors(nn.Module):
    """Says lines of five classes, and makes tensors on the way, as an LSTM makes its first state."""

    def __init__(self, constant=True):
        super().__init__()
        self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 5)
        self.constant = torch.ones(5) if constant else None

    def forward(self, pixels):
        said = self.head(self.lstm(pixels.mean(dim=2).transpose(1, 2))[0])
        said = said + torch.arange(5, device=pixels.device)
        return said if self.constant is None else said + self.constant


@pytest.mark.filterwarnings("ignore:The tensor attributes self.lstm._flat_weights")
def test_an_exported_program_makes_its_tensors_where_it_runs(tmp_path, monkeypatch):
    torch.export.save(
        torch.export.export(MakesTensors().eval(), (torch.zeros(3, 3, 8, 16),)), tmp_path / "p.pt2"
    )
    choice = TeacherChoice(str(tmp_path / "p.pt2"), size=(8, 16), mean=(0, 0, 0), std=(1, 1, 1))
    with AGpu(may_wait=True):
        source = open_source(choice, None, META)
    assert (source.outputs.count, source.outputs.grid) == (5, (16,))

    def full(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("fkd.teachers.programs.move_to_device_pass", full)
    with pytest.raises(torch.OutOfMemoryError):  # no fault of the file: who asked says what to do
        open_source(choice, None, CPU)


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(("traced_on", "runs_on"), [("cpu", META), ("cuda:0", CPU)])
def test_a_traced_script_makes_its_tensors_where_it_runs(tmp_path, traced_on, runs_on):
    script = torch.jit.trace(MakesTensors(constant=False).eval(), torch.zeros(3, 3, 8, 16))
    for part in script.modules():
        for node in part.graph.findAllNodes("prim::Constant"):
            if str(node.output().type()) == "Device":
                node.s_("value", traced_on)
    script.save(tmp_path / "s.pt")
    choice = TeacherChoice(str(tmp_path / "s.pt"), size=(8, 16), mean=(0, 0, 0), std=(1, 1, 1))
    with AGpu(may_wait=True):
        source = open_source(choice, None, runs_on)
    assert (source.outputs.count, source.outputs.grid) == (5, (16,))
