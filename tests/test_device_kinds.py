"""Vectors, maps, lines and teachers of every kind on a GPU, as far as a CPU can tell.

The device "meta" holds no data: whoever reads a number from it fails, as whoever reads one from a GPU
waits. What stays behind on the CPU is no error there, and is one on a GPU.
"""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from fkd import TeacherChoice
from fkd.teachers.sources import open_source

META, CPU = torch.device("meta"), torch.device("cpu")

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit")


class OneDevice(TorchDispatchMode):
    """Refuses an operation on tensors of the CPU and of a device, as a GPU does; copies are none."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        there = {t.device.type for t in given if t.dim() or t.device != CPU}
        assert len(there) < 2 or "copy" in func.name(), f"{func} of tensors on {there}"
        return func(*args, **(kwargs or {}))


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
def test_an_exported_program_makes_its_tensors_where_it_runs(tmp_path):
    torch.export.save(
        torch.export.export(MakesTensors().eval(), (torch.zeros(3, 3, 8, 16),)), tmp_path / "p.pt2"
    )
    choice = TeacherChoice(str(tmp_path / "p.pt2"), size=(8, 16), mean=(0, 0, 0), std=(1, 1, 1))
    with OneDevice():
        source = open_source(choice, None, META)
    assert (source.outputs.count, source.outputs.grid) == (5, (16,))


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
    with OneDevice():
        source = open_source(choice, None, runs_on)
    assert (source.outputs.count, source.outputs.grid) == (5, (16,))
