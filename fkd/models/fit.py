"""Whether a network takes the views that it will get, and what its outputs are of."""

import copy
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from fkd.amounts import as_count
from fkd.config import Grid, Size, grid_words, is_line, num_positions, sides_of, size_text
from fkd.errors import ModelError, first_line
from fkd.models.outputs import classes_of, find_logits, grid_of


@dataclass(frozen=True)
class OutputShape:
    """What a network says of a view: `count` logits, at each position of a `grid` of them.

    The grid is () where that is one row of logits, (h, w) where it is a map of h x w, and (T,) where it
    is a line of T frames.
    """

    count: int
    grid: Grid = ()

    def __str__(self) -> str:
        return grid_words(self.grid)


def output_shape(
    model: Callable[[Tensor], Any], views: Tensor, what: str, remedy: str, *, learns: bool = False
) -> OutputShape:
    """Run a model on views, f32 [B, 3, H, W], and return what its logits are of.

    They are [B, C], or [B, C, h, w] of a map, or [B, T, C] of a line. With `learns` the logits must have
    a gradient too. Raises `ModelError` where the model fails or returns anything else; its message names
    the model as `what` and ends with `remedy`.
    """
    num_views, size = len(views), size_text((views.shape[-2], views.shape[-1]))
    try:
        # The mode of training is left as it is: a model may have turned gradients off for good.
        with nullcontext() if learns else torch.inference_mode():
            answer = model(views)
    except torch.OutOfMemoryError:
        raise  # who asked knows what takes less
    except (Exception, SystemExit) as error:  # a user's model raises whatever it likes
        raise ModelError(
            f"{what} cannot take {as_count(num_views, 'view')} of {size} px ({type(error).__name__}: "
            f"{first_line(error)}); {remedy}"
        ) from error
    logits = find_logits(answer, num_views, what)
    if not isinstance(logits, Tensor) or logits.dim() not in (2, 3, 4):
        given = list(logits.shape) if isinstance(logits, Tensor) else f"a {type(logits).__name__}"
        raise ModelError(
            f"{what} returns {given}, not logits of shape [batch, classes], [batch, classes, height, "
            f"width] of a map, or [batch, frames, classes] of a line; {remedy}"
        )
    grid = grid_of(logits)
    if grid and num_positions(grid) == 1:
        raise ModelError(
            f"{what} returns {list(logits.shape)}, a {'line' if is_line(grid) else 'map'} of one "
            "position; flatten it to logits of shape [batch, classes]"
        )
    if len(logits) != num_views:
        raise ModelError(
            f"{what} returns {as_count(len(logits), 'row')} for {as_count(num_views, 'view')}; {remedy}"
        )
    if not logits.numel():
        raise ModelError(
            f"{what} returns {list(logits.shape)} of views of {size} px, no number; {remedy}"
        )
    if learns and not logits.requires_grad:
        raise ModelError(f"{what} has nothing to learn: its logits need no gradient; {remedy}")
    return OutputShape(classes_of(logits), grid)


def output_shape_without_data(
    model: nn.Module, num_views: int, size: Size, what: str, remedy: str
) -> OutputShape:
    """Return what `output_shape` does, of a copy of the model that holds shapes and no data.

    Only a library's model is sure to run so: a user's may keep tensors that the copy cannot move.
    """
    views = torch.empty(num_views, 3, *sides_of(size), device="meta")
    return output_shape(shapes_alone(model), views, what, remedy)


def shapes_alone(model: nn.Module) -> nn.Module:
    """Return a copy of a model that holds shapes and no data."""
    # What `deepcopy` finds under its id is taken, not copied: of a large model no second set of weights.
    held = [*model.parameters(), *model.buffers()]
    shapes = {id(values): values.detach().to("meta") for values in held}
    return copy.deepcopy(model, shapes).to("meta")


def has_unused(model: nn.Module, pixels: Tensor) -> bool:
    """Say whether some weights of a model have no part in what it says of views, f32 [B, 3, H, W]."""
    said = tree_leaves(model.eval()(pixels))  # no statistics of batches change
    model.train()
    nodes = [one.grad_fn for one in said if isinstance(one, Tensor) and one.grad_fn is not None]
    seen: set[Any] = set(nodes)
    while nodes:
        for node, _ in nodes.pop().next_functions:
            if node is not None and node not in seen:
                seen.add(node)
                nodes.append(node)
    reached = {id(node.variable) for node in seen if hasattr(node, "variable")}
    return any(p.requires_grad and id(p) not in reached for p in model.parameters())
