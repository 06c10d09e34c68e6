"""Teachers that are ONNX files, run by onnxruntime."""

import hashlib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fkd.config import TeacherChoice, sides_of
from fkd.errors import ModelError, first_line
from fkd.machine import upload
from fkd.progress import note_once
from fkd.students import EXPORT_PROPERTY, Sidecar, read_sidecar
from fkd.teachers.source import (
    Source,
    file_hash,
    override,
    refuse_weights,
    size_taken,
    try_on_views,
)
from fkd.teachers.taught import names_of, only_features, preprocessing_of

_LOGITS = "logits"


def open_onnx(choice: TeacherChoice, device: torch.device) -> Source:
    """Open an ONNX file whose one input is f32 [views, 3, H, W]; any other is refused."""
    path, what = Path(choice.name), f"teacher {choice.name}"
    refuse_weights(choice)
    session = _open_session(path, device, what)
    graph = _Graph.of(session, what)
    about = _about(session)
    preprocessing = override(preprocessing_of(about, choice), choice)
    size = size_taken(graph.sides, choice.size, what)
    if size is not None:
        preprocessing = replace(preprocessing, size=size)
    model = OnnxModel(session, graph)
    remedy = "give its --size, or export it anew"
    outputs = try_on_views(model, choice, preprocessing.size, device, remedy)
    names, why = names_of(about, choice), only_features(about)
    made_for = None if size is None else min(sides_of(size))
    return Source(model, preprocessing, graph_hash(path), outputs, made_for, names, why)


@dataclass(frozen=True)
class _Graph:
    """What a graph takes and gives; a side of its views, and `batch`, are None where any will do."""

    input: str
    output: str
    sides: tuple[int | None, int | None]
    batch: int | None

    @classmethod
    def of(cls, session: Any, what: str) -> "_Graph":
        """Read it from a session; raises `ModelError` for a graph that takes anything but views."""
        inputs = session.get_inputs()
        if len(inputs) != 1:
            names = ", ".join(one.name for one in inputs)
            raise ModelError(f"{what} has {len(inputs)} inputs ({names}); {_WANTED}")
        (views,) = inputs
        shape = [side if isinstance(side, int) and side > 0 else None for side in views.shape]
        shown = ", ".join(map(str, views.shape))
        if views.type != "tensor(float)":
            raise ModelError(f"{what} takes {views.type} [{shown}]; {_WANTED}")
        if len(shape) != 4 or shape[1] not in (3, None):
            last = len(shape) == 4 and shape[3] == 3
            why = ", with the channels last" if last else ""
            raise ModelError(f"{what} takes [{shown}]{why}; {_WANTED}")
        outputs = [one.name for one in session.get_outputs()]
        output = _LOGITS if _LOGITS in outputs else outputs[0]
        return cls(views.name, output, (shape[2], shape[3]), shape[0])


_WANTED = "export it with one input, float32 [views, 3, height, width]"


class OnnxModel:
    """A session of onnxruntime as a function of a batch.

    Views go through the host's memory. A graph of one batch size gets the views in batches of that size,
    the last of them filled up.
    """

    def __init__(self, session: Any, graph: _Graph) -> None:
        self._session, self._graph = session, graph

    def __call__(self, views: Tensor) -> Tensor:
        """Return the outputs, on the device of the views, f32 [B, 3, H, W]."""
        pixels = views.float().contiguous().cpu().numpy()
        size = self._graph.batch or len(pixels)
        parts = [self._run(pixels[first : first + size]) for first in range(0, len(pixels), size)]
        return upload(torch.from_numpy(np.concatenate(parts)), views.device)

    def _run(self, pixels: Any) -> Any:
        missing = (self._graph.batch or 0) - len(pixels)
        if missing > 0:
            pixels = np.concatenate([pixels, np.zeros((missing, *pixels.shape[1:]), pixels.dtype)])
        (outputs,) = self._session.run([self._graph.output], {self._graph.input: pixels})
        return outputs[: len(pixels) - max(missing, 0)]


def _open_session(path: Path, device: torch.device, what: str) -> Any:
    try:
        runtime: Any = importlib.import_module("onnxruntime")
        importlib.import_module("onnx")
    except ImportError as error:
        raise ModelError(f"{what} needs {error.name}; `pip install onnx onnxruntime`") from error
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in runtime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    options = runtime.SessionOptions()
    options.log_severity_level = 3  # its warnings are of what it optimises
    try:
        session = runtime.InferenceSession(path, options, providers=providers)
    except (
        Exception
    ) as error:  # onnxruntime has a class for each of its errors, and no base of them
        raise ModelError(
            f"{what}: cannot be loaded as ONNX ({first_line(error)}); export it anew"
        ) from error
    if device.type == "cuda" and session.get_providers()[0] != "CUDAExecutionProvider":
        note_once(
            f"warning: onnxruntime finds no CUDA, so that {what} runs on the CPU; `pip install "
            "onnxruntime-gpu` in the place of onnxruntime"
        )
    return session


def _about(session: Any) -> Sidecar | None:
    """Return what `fkd export` wrote into a file of its own."""
    known: dict[str, str] = session.get_modelmeta().custom_metadata_map
    return read_sidecar(known.get(EXPORT_PROPERTY, ""))


def graph_hash(path: Path) -> str:
    """Return a SHA-256 over an ONNX file and the files that hold its weights, if others do."""
    own = file_hash(path)
    beside = sorted(set(_external(path)))
    if not beside:
        return own
    content = [own, *(f"{place}\0{file_hash(path.parent / place)}" for place in beside)]
    return "sha256:" + hashlib.sha256("\n".join(content).encode()).hexdigest()


def _external(path: Path) -> Iterator[str]:
    """Yield the names of the files in which tensors of a graph lie, relative to its folder."""
    onnx: Any = importlib.import_module("onnx")
    waiting: list[Any] = [onnx.load_model(path, load_external_data=False)]
    while waiting:
        message = waiting.pop()
        if isinstance(message, onnx.TensorProto):
            yield from (entry.value for entry in message.external_data if entry.key == "location")
            continue
        for _, value in message.ListFields():
            each = [value] if hasattr(value, "ListFields") else value
            if not isinstance(each, (str, bytes, int, float)):
                waiting += [one for one in each if hasattr(one, "ListFields")]
