"""Where the logits are in what a model returns: networks return tuples, dicts and objects as well.

Legend: B views, C classes; h and w the height and width of a map, T the frames of a line of text.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from fkd.config import Grid
from fkd.errors import ModelError

_LOGITS = "logits"
_NAMES = (_LOGITS, "out")  # what transformers and torchvision's segmentation models call them
_DIMS = (2, 4, 3)  # [B, C]; where nothing is, [B, C, h, w]; and where that is nothing, [B, T, C]


def classes_of(logits: Tensor) -> int:
    """Return C of logits [B, C] of views, [B, C, h, w] of maps or [B, T, C] of lines."""
    return logits.shape[2] if logits.dim() == 3 else logits.shape[1]


def grid_of(logits: Tensor) -> Grid:
    """Return the grid of logits: () of [B, C], (h, w) of maps [B, C, h, w], (T,) of lines [B, T, C]."""
    return (logits.shape[1],) if logits.dim() == 3 else tuple(logits.shape[2:])


def find_logits(answer: Any, num_views: int, what: str) -> Any:
    """Return the logits in a model's answer to a batch, or the answer itself where none are found.

    They are a tensor alone, what is called `logits` or `out`, the one tensor [num_views, C] of several
    things, or the first of a sequence where others have as many columns, as those of auxiliary heads.
    Where there is no such tensor, maps [num_views, C, h, w] are looked for alike, and then lines
    [num_views, T, C]. Raises `ModelError`, which calls the model `what`, where several may be the logits.
    """
    if isinstance(answer, Tensor):
        return answer
    parts = parts_of(answer)
    for name in _NAMES:
        if isinstance(parts.get(name), Tensor):
            return parts[name]
    for dims in _DIMS:
        fitting = {
            name: part
            for name, part in parts.items()
            if isinstance(part, Tensor) and part.dim() == dims and part.shape[0] == num_views
        }
        if fitting:
            return _one_of(fitting, answer, what)
    return answer


def _one_of(fitting: Mapping[str, Tensor], answer: Any, what: str) -> Tensor:
    """Return the logits among parts of an answer that may be them; raises `ModelError` for several."""
    in_order = (
        isinstance(answer, (tuple, list)) and len({t.shape[1] for t in fitting.values()}) == 1
    )
    if len(fitting) == 1 or (in_order and next(iter(parts_of(answer))) in fitting):
        return next(iter(fitting.values()))
    listed = ", ".join(f"{name} {list(part.shape)}" for name, part in fitting.items())
    raise ModelError(
        f"{what} returns several tensors that may be its logits ({listed}); return the logits alone, or "
        "under the name `logits`"
    )


def parts_of(answer: Any) -> dict[str, Any]:
    """Return what a model's answer, or a layer's, consists of, by name or number."""
    if isinstance(answer, Mapping):
        return {str(name): part for name, part in answer.items()}
    if isinstance(answer, (tuple, list)):
        names = getattr(answer, "_fields", range(len(answer)))  # those of a named tuple
        return {str(name): part for name, part in zip(names, answer, strict=True)}
    if is_dataclass(answer):
        return {field.name: getattr(answer, field.name) for field in fields(answer)}
    return {_LOGITS: getattr(answer, _LOGITS, None)}
