"""A model's weights: which shapes they have, whether others fit, and what identifies them."""

import hashlib
from collections.abc import Callable, Collection, Mapping

import torch
from torch import Tensor, nn

from fkd.errors import ModelError

# The shapes of a model's tensors by name; None is a dimension that is the number of outputs.
Shapes = Mapping[str, tuple[int | None, ...]]

_COUNTER = "num_batches_tracked"  # of a batch norm: it counts training steps and changes no output


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

    Raises `ModelError`, which names the model as `what`, where no tensor says so, or one says more than
    it holds: a view that repeats a number takes no room in a file, and a model of its shape would.
    """
    for name in head_tensors(shapes):
        value = state[name]
        if not value.numel() or value.untyped_storage().nbytes() < value.nbytes:
            raise ModelError(
                f"{what}: tensor {name!r} has shape {tuple(value.shape)} and no numbers for it; give "
                "other weights"
            )
        return int(value.shape[shapes[name].index(None)])
    raise ModelError(f"{what} has no layer with as many outputs as classes; choose another model")


def misfit(state: Mapping[str, Tensor], shapes: Shapes, may_miss: Collection[str] = ()) -> str:
    """Say which tensor is missing, unknown or of another shape; return "" where all fit.

    Those that it `may_miss` need not be there. Files from before 2018 have no counters of batches.
    """
    for name, shape in shapes.items():
        if name not in state:
            if name.endswith(_COUNTER) or name in may_miss:
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
    """Load all tensors into a model, in its own precision.

    Raises `ModelError` with the first tensor that does not fit, that is no number where the model has
    numbers, or that is of another kind: integers in the place of floats are quantized weights without
    their scales, and so are floats of 8 bits. Counters of batches are taken in any kind.
    """
    problem = misfit(state, shapes_of(model))
    if problem:
        raise ModelError(f"{what} {problem}; is it of another architecture?")
    expected = model.state_dict()
    for name, value in state.items():
        if name.endswith(_COUNTER):  # a file in half precision may have them in it too
            continue
        given, needed = _kind(value), _kind(expected[name])
        if given != needed:
            raise ModelError(
                f"{what}: tensor {name!r} holds {given} ({value.dtype}), the model needs {needed}; give "
                "weights that are not quantized"
            )
        if not value.isfinite().all() and expected[name].isfinite().all():
            raise ModelError(f"{what}: tensor {name!r} holds NaN or infinity; give other weights")
    counters = {k: v for k, v in expected.items() if k.endswith(_COUNTER)}
    model.load_state_dict({**counters, **state})


def _kind(value: Tensor) -> str:
    if value.is_floating_point():
        return "floats" if value.dtype.itemsize > 1 else "8-bit floats"
    if value.is_complex():
        return "complex numbers"
    return "truth values" if value.dtype == torch.bool else "integers"


def weights_hash(model: nn.Module) -> str:
    """Return a SHA-256 over names and values of all tensors: the identity of a model's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name}\0{value.dtype}\0{tuple(value.shape)}\0".encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return "sha256:" + digest.hexdigest()
