"""Weight files, and what identifies the weights of a network."""

import hashlib
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fkd.errors import ModelError

# Where checkpoints of common trainers, ours included, keep the weights.
_WRAPPERS = ("state_dict", "model", "student")


def read_file(path: Path) -> Any:
    """Read a file of `torch.save` onto the CPU, running no code in it; raises whatever torch does."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about old or odd pickles, which the caller judges
        return torch.load(path, map_location="cpu", weights_only=True)


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weight file by name, running no code in it.

    What trainers wrap around them, and the prefix `module.` of DDP, are left out. Raises `ModelError`
    for any other file.
    """
    if not os.path.isfile(path):
        raise ModelError(f"weights {path}: no such file; give a state dict that torch.save wrote")
    try:
        content = read_file(path)
    except Exception as error:  # torch.load fails in a dozen ways, and says a paragraph each time
        raise ModelError(
            f"weights {path}: not a state dict that loads with weights_only=True; save one with "
            "torch.save(model.state_dict(), path)"
        ) from error
    for key in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if (
        not isinstance(content, Mapping)
        or not content
        or not all(isinstance(value, Tensor) for value in content.values())
    ):
        raise ModelError(f"weights {path}: holds no state dict (names to tensors)")
    return {str(name).removeprefix("module."): value for name, value in content.items()}


def load_weights(model: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load all tensors into a model, or raise `ModelError` with the first one that does not fit."""
    expected = model.state_dict()
    # Files from before 2018 have no batch counters; they count training steps and change no output.
    counters = {k: v for k, v in expected.items() if k.endswith("num_batches_tracked")}
    state = {**counters, **state}
    for name in [*expected, *state]:
        if name not in state or name not in expected:
            problem = "misses" if name not in state else "has an unknown tensor"
            raise ModelError(f"{what} {problem} {name!r}; is it of another architecture?")
        if state[name].shape != expected[name].shape:
            raise ModelError(
                f"{what}: tensor {name!r} has shape {tuple(state[name].shape)}, "
                f"the model needs {tuple(expected[name].shape)}"
            )
    model.load_state_dict(state)


def num_outputs(
    name: str, state: Mapping[str, Tensor], build_with: Callable[[int], nn.Module], what: str
) -> int:
    """Return how many outputs the model of a weight file has: the length of its head's tensors.

    `build_with` builds the model `name` with a number of outputs, and `what` names the file in the
    `ModelError` that is raised where it has no such head.
    """
    heads = head_tensors(build_with)
    for key in heads:
        if key in state and state[key].dim():
            return int(state[key].shape[0])
    raise ModelError(
        f"{what} has no tensor {heads[-1]!r}, so it is not of {name}; give the weights' own model"
    )


def head_tensors(build_with: Callable[[int], nn.Module]) -> list[str]:
    """Name the tensors of a model that change with its number of outputs."""
    with torch.device("meta"):
        two, three = (build_with(n).state_dict() for n in (2, 3))
    return [key for key in two if two[key].shape != three[key].shape]


def weights_hash(model: nn.Module) -> str:
    """Return a SHA-256 over names and values of all tensors: the identity of a model's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return "sha256:" + digest.hexdigest()
