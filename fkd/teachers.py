"""Teachers: load one, know its preprocessing, and map its outputs to the folder's classes."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from numpy.typing import NDArray
from torch import Tensor, nn

from fkd import zoo
from fkd.config import Interpolation, Preprocessing, TeacherChoice
from fkd.crops import normalize
from fkd.errors import ModelError


@dataclass(frozen=True)
class ClassMap:
    """How teacher outputs become the store's classes.

    `columns` int64 [C] picks and orders outputs, None keeps all of them as they are; `names` are the
    C classes of the store; `target_of` int64 [folder classes] is each folder's class in the store.
    """

    columns: NDArray[np.int64] | None
    names: tuple[str, ...]
    target_of: NDArray[np.int64]

    def outputs_hash(self) -> str:
        """Return a SHA-256 over the mapping: which output is which class of the store."""
        columns = None if self.columns is None else self.columns.tolist()
        content = json.dumps([columns, self.names, self.target_of.tolist()])
        return "sha256:" + hashlib.sha256(content.encode()).hexdigest()


class Teacher:
    """A frozen labeller: uint8 views in, probabilities out."""

    def __init__(
        self, model: nn.Module, preprocessing: Preprocessing, num_outputs: int, device: torch.device
    ) -> None:
        """Freeze `model` in eval mode on `device`."""
        self.preprocessing = preprocessing
        self.num_outputs = num_outputs
        self.device = device
        self.weights_hash = zoo.weights_hash(model)
        self._model = zoo.place(model.eval().requires_grad_(False), device)

    @torch.inference_mode()
    def probs(self, views: Tensor, columns: Tensor | None, temperature: float) -> Tensor:
        """Label views, uint8 [B, 3, S, S], with probabilities, f32 [B, C], on the teacher's device.

        Logits are restricted to `columns` before the softmax and divided by `temperature`.
        """
        pixels = normalize(
            views.to(self.device, non_blocking=True),
            self.preprocessing.mean,
            self.preprocessing.std,
        )
        logits = self._model(pixels.contiguous(memory_format=torch.channels_last)).float()
        if columns is not None:
            logits = logits[:, columns]
        probs: Tensor = (logits / temperature).softmax(dim=1)
        return probs


def load_teacher(choice: TeacherChoice, num_folder_classes: int, device: torch.device) -> Teacher:
    """Load the teacher of a `TeacherChoice`; with random weights it gets the folder's class count."""
    zoo.check_name(choice.name, "teacher")
    preprocessing = _preprocessing(choice)
    if choice.weights == "none":
        # The same random weights in every run, so that a run can be continued.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = zoo.build(choice.name, num_folder_classes, preprocessing.size)
        outputs = num_folder_classes
    elif choice.weights == "default":
        model, outputs = _download(choice.name)
    elif choice.name in ("googlenet", "inception_v3"):
        raise ModelError(
            f"teacher {choice.name} cannot be read from a state-dict file, which does not say how its "
            "input is transformed; use --teacher-weights default, or another teacher"
        )
    else:
        state = zoo.read_state_dict(Path(choice.weights))
        outputs = zoo.num_outputs(choice.name, state)
        model = zoo.build(choice.name, outputs, preprocessing.size)
        zoo.load_weights(model, state, f"weights {choice.weights}")
    remedy = "choose another --size, or leave it to the weights"
    zoo.check_fit(model.eval(), 2, preprocessing.size, f"teacher {choice.name}", remedy)
    return Teacher(model, preprocessing, outputs, device)


def _download(name: str) -> tuple[nn.Module, int]:
    weights = torchvision.models.get_model_weights(name).DEFAULT
    try:
        model = torchvision.models.get_model(name, weights=weights)
    except (URLError, OSError, RuntimeError) as error:
        raise ModelError(
            f"teacher {name}: its weights could not be downloaded from {weights.url} ({error}); "
            "give a state-dict file with --teacher-weights FILE"
        ) from error
    return model, len(weights.meta["categories"])


def _preprocessing(choice: TeacherChoice) -> Preprocessing:
    """Take size, normalisation and interpolation from the weights' metadata unless overridden."""
    said = torchvision.models.get_model_weights(choice.name).DEFAULT.transforms()
    return Preprocessing(
        size=said.crop_size[0] if choice.size is None else choice.size,
        mean=choice.mean or tuple(said.mean),
        std=choice.std or tuple(said.std),
        interpolation=choice.interpolation or cast("Interpolation", said.interpolation.value),
    )


def map_classes(folder_classes: Sequence[str], num_outputs: int, choice: TeacherChoice) -> ClassMap:
    """Map folder names to teacher outputs, or refuse where neither count nor names fit."""
    folder = tuple(folder_classes)
    if choice.classes_file is None:
        if choice.all_classes:
            raise ModelError("--all-classes needs --teacher-classes FILE to name the outputs")
        if len(folder) != num_outputs:
            raise ModelError(
                f"the folder has {len(folder)} classes, teacher {choice.name} has {num_outputs} "
                "outputs; give --teacher-classes FILE with one class name per output, in order"
            )
        return ClassMap(None, folder, np.arange(len(folder)))
    names = _read_names(choice.classes_file, num_outputs)
    position = {name: output for output, name in enumerate(names)}
    unknown = [name for name in folder if name not in position]
    if unknown:
        raise ModelError(
            f"{len(unknown)} of {len(folder)} class folders are not in {choice.classes_file}: "
            f"{', '.join(unknown[:3])}{' …' if len(unknown) > 3 else ''}; "
            "folder names and lines must be spelled alike"
        )
    columns = np.array([position[name] for name in folder])
    if choice.all_classes:
        return ClassMap(None, names, columns)
    return ClassMap(columns, folder, np.arange(len(folder)))


def _read_names(path: Path, num_outputs: int) -> tuple[str, ...]:
    try:
        names = tuple(line.strip() for line in path.read_text("utf-8").splitlines() if line.strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"--teacher-classes {path}: cannot be read ({error})") from error
    if len(names) != num_outputs:
        raise ModelError(
            f"--teacher-classes {path} has {len(names)} names, the teacher has {num_outputs} outputs; "
            "give one name per output, in order"
        )
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ModelError(f"--teacher-classes {path} names {twice!r} twice; names must be unique")
    return names
