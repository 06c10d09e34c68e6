"""Teachers that are programs in a file: torch.export's, and TorchScript."""

import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export.passes import move_to_device_pass

from fkd.amounts import as_count
from fkd.config import TeacherChoice
from fkd.errors import ModelError, first_line
from fkd.models import find_logits
from fkd.students import EXPORT_KEY, Sidecar, read_sidecar
from fkd.teachers.kinds import Kind
from fkd.teachers.source import (
    Source,
    file_hash,
    override,
    refuse_weights,
    size_taken,
    try_on_views,
)
from fkd.teachers.taught import names_of, only_features, preprocessing_of

_CALLED: dict[Kind, str] = {"exported program": "an exported program", "TorchScript": "TorchScript"}


def open_program(choice: TeacherChoice, kind: Kind, device: torch.device) -> Source:
    """Open a program. Only those that `fkd export` wrote say how their input is prepared."""
    path = Path(choice.name)
    refuse_weights(choice)
    try:
        program, about, takes = (
            _load_script(path, device) if kind == "TorchScript" else _load_exported(path, device)
        )
        model = program.to(device)
    except torch.OutOfMemoryError:
        raise  # the file is as it should be
    except Exception as error:  # both loaders fail in a dozen ways on other files
        raise ModelError(
            f"teacher {path}: cannot be loaded as {_CALLED[kind]} ({first_line(error)}); a state dict "
            "goes to --teacher-weights, beside its model's name as --teacher"
        ) from error
    if takes.channels not in (None, 3):
        raise ModelError(
            f"teacher {path} takes views of {as_count(takes.channels, 'channel')}, and these have 3; "
            "export it with one input, float32 [views, 3, height, width]"
        )
    recorded = preprocessing_of(about, choice)
    size = size_taken(takes.sides, choice.size, f"teacher {path}", recorded.size)
    preprocessing = override(replace(recorded, size=size or recorded.size), choice)
    model = model if takes.batch is None else _InBatches(model, takes.batch, f"teacher {path}")
    remedy = "give its --size, and export it with a batch dimension that is dynamic"
    outputs = try_on_views(model, choice, preprocessing.size, device, remedy)
    names, why = names_of(about, choice), only_features(about)
    return Source(model, preprocessing, file_hash(path), outputs, names=names, no_logits=why)


@dataclass(frozen=True)
class _Taken:
    """What a program takes: its batch, channels and sides, each None where any will do."""

    batch: int | None = None
    channels: int | None = None
    sides: tuple[int | None, int | None] = (None, None)


class _InBatches(nn.Module):
    """A program of one batch size, which gets views in batches of that size, the last filled up."""

    def __init__(self, program: nn.Module, size: int, what: str) -> None:
        super().__init__()
        self.program, self._size, self._what = program, size, what

    def forward(self, views: Tensor) -> Tensor:
        """Return the outputs of views, f32 [B, 3, H, W]."""
        return torch.cat([self._said(part) for part in torch.split(views, self._size)])

    def _said(self, views: Tensor) -> Tensor:
        full = torch.cat([views, views.new_zeros(self._size - len(views), *views.shape[1:])])
        outputs: Tensor = find_logits(self.program(full), self._size, self._what)
        return outputs[: len(views)]


def _load_exported(path: Path, device: torch.device) -> tuple[Any, Sidecar | None, _Taken]:
    beside = {EXPORT_KEY: ""}
    # `.to` moves weights alone. Tensors that are made on the way stay where the program was exported.
    program = move_to_device_pass(torch.export.load(path, extra_files=beside), device)
    return program.module(), read_sidecar(beside[EXPORT_KEY]), _taken_by(program)


def _taken_by(program: torch.export.ExportedProgram) -> _Taken:
    wanted = program.graph_signature.user_inputs[:1]
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in wanted:
            fixed = [side if isinstance(side, int) else None for side in node.meta["val"].shape]
            if len(fixed) == 4:
                return _Taken(fixed[0], fixed[1], (fixed[2], fixed[3]))
    return _Taken()


def _load_script(path: Path, device: torch.device) -> tuple[Any, Sidecar | None, _Taken]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and yet what people have
        script: Any = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
    _make_tensors_on(script, device)
    return script.eval(), None, _Taken()


def _make_tensors_on(script: Any, device: torch.device) -> None:
    """Let a script that was traced make its tensors on a device, and not where it was traced."""
    for module in script.modules():
        for method in module._c._method_names():
            for constant in module._c._get_method(method).graph.findAllNodes("prim::Constant"):
                if constant.output().type().kind() == "DeviceObjType":
                    constant.s_("value", str(device))
