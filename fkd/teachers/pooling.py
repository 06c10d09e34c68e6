"""What a layer of a teacher said, as one vector or one map of each view.

Legend: B views, T tokens, D numbers, h and w sides of a map.
"""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any

from torch import Tensor

from fkd.config import Pool
from fkd.errors import ModelError


def as_vectors(said: Any, pool: Pool, num_views: int, what: str) -> Tensor:
    """Return vectors [B, D], or maps [B, D, h, w], of what a layer said.

    That is a tensor, or several of which the first of `num_views` rows counts: [B, D] as it is; tokens
    [B, T, D] as their mean ("auto", "mean") or the first ("cls"); maps [B, D, h, w] as they are ("auto",
    "none") or as their mean. Of square views maps are square, so that [B, h, h, D] are taken for maps
    whose channels stand last. Raises `ModelError`, which calls the layer `what`, for anything else.
    """
    found: Tensor | None = next((part for part in _parts(said) if _has_rows(part, num_views)), None)
    if found is None:
        raise ModelError(f"{what} says no tensor with a row for each view; choose another layer")
    if found.dim() == 4 and _channels_last(found):
        found = found.permute(0, 3, 1, 2)
    shape = list(found.shape)
    if found.dim() == 2 and pool in ("auto", "none"):
        return found
    if found.dim() == 3 and pool != "none":
        return found[:, 0] if pool == "cls" else found.mean(dim=1)
    if found.dim() == 4 and pool != "cls":
        return found if pool in ("auto", "none") else found.mean(dim=(2, 3))
    fits = {2: "auto", 3: "mean or cls", 4: "none or mean"}.get(found.dim())
    if fits is None:
        raise ModelError(
            f"{what} says {shape}; it must be vectors [B, D], tokens [B, T, D] or maps [B, D, h, w]"
        )
    raise ModelError(f"{what} says {shape}, which has no pool {pool}; choose {fits}")


def _channels_last(found: Tensor) -> bool:
    """Say whether maps are [B, h, h, D], as a Swin transformer's are."""
    _, rows, columns, last = found.shape
    return rows == columns != last


def _parts(said: Any) -> list[Any]:
    if isinstance(said, Tensor):
        return [said]
    if isinstance(said, Mapping):
        return list(said.values())
    if is_dataclass(said):
        return [getattr(said, field.name) for field in fields(said)]
    return list(said) if isinstance(said, (tuple, list)) else []


def _has_rows(part: Any, num_views: int) -> bool:
    return isinstance(part, Tensor) and part.dim() >= 2 and len(part) == num_views
