"""Where a teacher's model comes from; its name says which.

`resnet152` is torchvision's, `timm:NAME` is timm's and `hf:NAME` or `hf:FOLDER` is transformers', a run
of `fkd train` or a checkpoint of it is what it taught, `model.pt2` (torch.export), `model.pt`
(TorchScript) and `model.onnx` are programs, and `package.module:function` is a function that returns a
model with its weights.
"""

import torch

from fkd import models
from fkd.config import TeacherChoice
from fkd.teachers.functions import open_function
from fkd.teachers.hub_models import open_hub_model
from fkd.teachers.kinds import Kind, check_teacher, kind_of
from fkd.teachers.libraries import open_library
from fkd.teachers.onnx_files import open_onnx
from fkd.teachers.programs import open_program
from fkd.teachers.source import Source
from fkd.teachers.taught import open_run


def open_source(choice: TeacherChoice, num_classes: int | None, device: torch.device) -> Source:
    """Load what a `TeacherChoice` names; random weights get `num_classes` outputs, or ImageNet's."""
    kind = _kind(choice.name)
    if kind == "run":
        return open_run(choice, device)
    check_teacher(choice)
    if kind == "ONNX":
        return open_onnx(choice, device)
    if kind in ("exported program", "TorchScript"):
        return open_program(choice, kind, device)
    if kind == "function":
        return open_function(choice, device)
    if kind == "hub":
        return open_hub_model(choice, device)
    return open_library(choice, num_classes, device)


def _kind(name: str) -> Kind:
    """Return the kind of a teacher; a name of torchvision's comes before files and folders."""
    return "library" if models.is_known(name) else kind_of(name)
