"""Teachers that are programs in a file: torch.export's, and TorchScript."""

import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch.export.passes import move_to_device_pass

from fkd.config import Size, TeacherChoice, as_size, size_text
from fkd.errors import ConfigError, ModelError, first_line
from fkd.students import EXPORT_KEY, Sidecar, read_sidecar
from fkd.teachers.kinds import Kind
from fkd.teachers.source import (
    Source,
    file_hash,
    override,
    refuse_weights,
    try_on_views,
)
from fkd.teachers.taught import names_of, only_features, preprocessing_of

_CALLED: dict[Kind, str] = {"exported program": "an exported program", "TorchScript": "TorchScript"}


def open_program(choice: TeacherChoice, kind: Kind, device: torch.device) -> Source:
    """Open a program. Only those that `fkd export` wrote say how their input is prepared."""
    path = Path(choice.name)
    refuse_weights(choice)
    try:
        program, about, made_for = (
            _load_script(path, device) if kind == "TorchScript" else _load_exported(path, device)
        )
        model = program.to(device)
    except Exception as error:  # both loaders fail in a dozen ways on other files
        raise ModelError(
            f"teacher {path}: cannot be loaded as {_CALLED[kind]} ({first_line(error)}); a state dict "
            "goes to --teacher-weights, beside its model's name as --teacher"
        ) from error
    recorded = preprocessing_of(about, choice)
    if made_for is not None and choice.size not in (None, made_for):
        alone = size_text(made_for)
        raise ConfigError(
            f"--size {size_text(choice.size)}: teacher {path} takes views of {alone} px alone"
        )
    preprocessing = override(replace(recorded, size=made_for or recorded.size), choice)
    remedy = "give its --size, and export it with a batch dimension that is dynamic"
    outputs = try_on_views(model, choice, preprocessing.size, device, remedy)
    names, why = names_of(about, choice), only_features(about)
    return Source(model, preprocessing, file_hash(path), outputs, names=names, no_logits=why)


def _load_exported(path: Path, device: torch.device) -> tuple[Any, Sidecar | None, Size | None]:
    beside = {EXPORT_KEY: ""}
    # `.to` moves weights alone. Tensors that are made on the way stay where the program was exported.
    program = move_to_device_pass(torch.export.load(path, extra_files=beside), device)
    return program.module(), read_sidecar(beside[EXPORT_KEY]), _fixed_size(program)


def _fixed_size(program: torch.export.ExportedProgram) -> Size | None:
    """Return the size of views that a program was exported for, None where it takes others too."""
    wanted = program.graph_signature.user_inputs[:1]
    for node in program.graph.nodes:
        if node.op == "placeholder" and node.name in wanted:
            sides = node.meta["val"].shape[2:]
            fixed = len(sides) == 2 and all(isinstance(side, int) for side in sides)
            return as_size(*sides) if fixed else None
    return None


def _load_script(path: Path, device: torch.device) -> tuple[Any, Sidecar | None, None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and yet what people have
        script: Any = torch.jit.load(path, map_location=device)  # type: ignore[no-untyped-call]
    _make_tensors_on(script, device)
    return script.eval(), None, None


def _make_tensors_on(script: Any, device: torch.device) -> None:
    """Let a script that was traced make its tensors on a device, and not where it was traced."""
    for module in script.modules():
        for method in module._c._method_names():
            for constant in module._c._get_method(method).graph.findAllNodes("prim::Constant"):
                if constant.output().type().kind() == "DeviceObjType":
                    constant.s_("value", str(device))
