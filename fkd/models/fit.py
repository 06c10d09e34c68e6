"""Whether a network takes the views that it will get, and what it returns."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from fkd.errors import ModelError, first_line


def try_out(model: nn.Module, num_views: int, size: int, what: str, remedy: str) -> int:
    """Refuse a user's model that cannot take some views, or learn from them; return its outputs."""
    try:
        logits = model(torch.zeros(num_views, 3, size, size))
    except Exception as error:  # it is the user's own code that runs here
        raise ModelError(
            f"{what} cannot take {num_views} views of {size} px ({type(error).__name__}: "
            f"{first_line(error)}); {remedy}"
        ) from error
    outputs = count_outputs(logits, what)
    if len(logits) != num_views:
        raise ModelError(f"{what} returns {len(logits)} rows for {num_views} views; {remedy}")
    if not logits.requires_grad:
        raise ModelError(f"{what} has nothing to learn: its logits need no gradient; {remedy}")
    return outputs


def check_fit(model: nn.Module, num_views: int, size: int, what: str, remedy: str) -> int:
    """Refuse a model that cannot take `num_views` views of `size` pixels in the mode it is in.

    The forward pass runs on shapes alone, on a copy that holds no data. Returns the number of outputs.
    """
    shapes = copy.deepcopy(model).to("meta")
    try:
        with torch.inference_mode():
            return count_outputs(shapes(torch.empty(num_views, 3, size, size, device="meta")), what)
    except (RuntimeError, ValueError, AssertionError) as error:
        raise ModelError(
            f"{what} cannot take {num_views} views of {size} px ({first_line(error)}); {remedy}"
        ) from error


def count_outputs(logits: Any, what: str) -> int:
    """Return C of logits [B, C]; refuse anything else that a model may return."""
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        raise ModelError(f"{what} returns no logits of shape [batch, classes]")
    return logits.shape[1]
