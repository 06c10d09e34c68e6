"""Teachers that are programs in a file: torch.export's, and TorchScript."""

import warnings
from pathlib import Path
from typing import Any

import torch

from fkd.config import Preprocessing, TeacherChoice
from fkd.errors import ModelError, first_line
from fkd.students import EXPORT_KEY, Sidecar, read_sidecar
from fkd.teachers.kinds import Kind
from fkd.teachers.source import Source, file_hash, override, refuse_weights, try_on_views
from fkd.teachers.taught import inside_program, names_of, only_features

_CALLED: dict[Kind, str] = {"exported program": "an exported program", "TorchScript": "TorchScript"}


def open_program(choice: TeacherChoice, kind: Kind, device: torch.device) -> Source:
    """Open a program. Only those that `fkd export` wrote say how their input is prepared."""
    path = Path(choice.name)
    refuse_weights(choice)
    try:
        program, about = _load_script(path) if kind == "TorchScript" else _load_exported(path)
        model = program.to(device)
    except Exception as error:  # both loaders fail in a dozen ways on other files
        raise ModelError(
            f"teacher {path}: cannot be loaded as {_CALLED[kind]} ({first_line(error)}); a state dict "
            "goes to --teacher-weights, beside its model's name as --teacher"
        ) from error
    preprocessing = override(
        Preprocessing() if about is None else inside_program(about.card), choice
    )
    remedy = "give its --size, and export it with a batch dimension that is dynamic"
    outputs = try_on_views(model, choice, preprocessing.size, device, remedy)
    names, why = names_of(about, choice), only_features(about)
    return Source(model, preprocessing, file_hash(path), outputs, names=names, no_logits=why)


def _load_exported(path: Path) -> tuple[Any, Sidecar | None]:
    beside = {EXPORT_KEY: ""}
    model = torch.export.load(path, extra_files=beside).module()
    return model, read_sidecar(beside[EXPORT_KEY])


def _load_script(path: Path) -> tuple[Any, Sidecar | None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated, and yet what people have
        script = torch.jit.load(path, map_location="cpu")  # type: ignore[no-untyped-call]
    return script.eval(), None
