"""A model's weights: which shapes they have, whether others fit, and what identifies them."""

import hashlib
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from fkd.errors import ModelError

# The shapes of a model's tensors by name; None is a dimension that is the number of outputs.
Shapes = Mapping[str, tuple[int | None, ...]]


def shapes_of(model: nn.Module) -> Shapes:
    """Return the shapes of a model's tensors, the number of its outputs among them."""
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def shapes_of_any(build_with: Callable[[int], nn.Module]) -> Shapes:
    """Return the shapes of a model that `build_with` builds with any number of outputs."""
    with torch.device("meta"):
        two, three = (shapes_of(build_with(n)) for n in (2, 3))
    return {
        name: tuple(a if a == b else None for a, b in zip(two[name], three[name], strict=True))
        for name in two
    }


def head_tensors(shapes: Shapes) -> list[str]:
    """Name the tensors that change with the number of outputs."""
    return [name for name, shape in shapes.items() if None in shape]


def num_outputs(state: Mapping[str, Tensor], shapes: Shapes, what: str) -> int:
    """Return how many outputs the model has whose weights fit `shapes`.

    Raises `ModelError`, which names the model as `what`, where no tensor says so.
    """
    for name in head_tensors(shapes):
        return int(state[name].shape[shapes[name].index(None)])
    raise ModelError(f"{what} has no layer with as many outputs as classes; choose another model")


def misfit(state: Mapping[str, Tensor], shapes: Shapes) -> str:
    """Say which tensor is missing, unknown or of another shape; return "" where all fit.

    Files from before 2018 have no counters of batches, which count training steps and change no output.
    """
    for name, shape in shapes.items():
        if name not in state:
            if name.endswith("num_batches_tracked"):
                continue
            return f"misses {name!r}"
        given = tuple(state[name].shape)
        if len(given) != len(shape) or any(
            b not in (None, a) for a, b in zip(given, shape, strict=True)
        ):
            needed = ", ".join("classes" if side is None else str(side) for side in shape)
            return f"has {name!r} in shape {given}, the model needs ({needed})"
    unknown = next((name for name in state if name not in shapes), None)
    return "" if unknown is None else f"has an unknown tensor {unknown!r}"


def load_weights(model: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load all tensors into a model, or raise `ModelError` with the first one that does not fit."""
    problem = misfit(state, shapes_of(model))
    if problem:
        raise ModelError(f"{what} {problem}; is it of another architecture?")
    expected = model.state_dict()
    counters = {k: v for k, v in expected.items() if k.endswith("num_batches_tracked")}
    model.load_state_dict({**counters, **state})


def weights_hash(model: nn.Module) -> str:
    """Return a SHA-256 over names and values of all tensors: the identity of a model's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return "sha256:" + digest.hexdigest()
