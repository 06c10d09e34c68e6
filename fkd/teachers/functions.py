"""Teachers that a function of the user's own returns, and what tells one such model from another."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fkd import models
from fkd.config import TeacherChoice
from fkd.errors import ModelError
from fkd.machine import place
from fkd.teachers.onnx_files import graph_hash
from fkd.teachers.source import Source, override, refuse_weights, try_on_views, usual_preprocessing

# The attribute by which a model without weights says what it is.
IDENTITY = "fkd_identity"


def open_function(choice: TeacherChoice, device: torch.device) -> Source:
    """Call a function without arguments for its model."""
    refuse_weights(choice)
    own = models.call_function(choice.name, role="teacher", takes="without arguments")
    model = place(own.eval(), device)
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    preprocessing = override(usual_preprocessing(choice), choice)
    remedy = "mend it, or give another --size"
    outputs = try_on_views(model, choice, preprocessing.size, device, remedy)
    return Source(model, preprocessing, _identity(model, choice.name), outputs)


def _identity(model: nn.Module, name: str) -> str:
    """Return a hash that another model does not have: of its tensors, its ONNX sessions, and its word.

    Raises `ModelError` for a model that has none of them: a store could go on with another one.
    """
    said = getattr(model, IDENTITY, None)
    if said is not None and not (isinstance(said, str) and said):
        raise ModelError(
            f"teacher {name}: its {IDENTITY} is {said!r}; give it a text that changes when its labels do"
        )
    more = [*_sessions(model), *([f"says {said}"] if said else [])]
    if not more and not model.state_dict():
        raise ModelError(
            f"teacher {name}: nothing tells its model from another, for it has no parameters and no "
            f"buffers; give it an attribute {IDENTITY}, a text that changes when its labels do"
        )
    weights = models.weights_hash(model)
    if not more:
        return weights
    return "sha256:" + hashlib.sha256("\0".join([weights, *more]).encode()).hexdigest()


def _sessions(model: nn.Module) -> Iterator[str]:
    """Yield what identifies each session of onnxruntime that a model or a part of it holds."""
    for part in model.modules():
        for value in vars(part).values():
            kind = type(value)
            if kind.__name__ == "InferenceSession" and kind.__module__.startswith("onnxruntime"):
                yield _of_session(value)


def _of_session(session: Any) -> str:
    path, content = getattr(session, "_model_path", None), getattr(session, "_model_bytes", None)
    if path:
        return graph_hash(Path(path))
    return "sha256:" + hashlib.sha256(content or b"").hexdigest()
