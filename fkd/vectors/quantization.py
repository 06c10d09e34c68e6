"""Vectors become codes, and codes vectors again.

- f16: every number in half precision.
- int8: codes from -127 to 127, with a scale s for each vector or each channel of a map, float16, so that
  v ≈ s · code. Half a step is the largest error: s / 2 = max |v| / 254.

Legend: B views, L numbers of a vector, D channels of a map.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from fkd.vectors.kept import Constants, KeptVectors

_LARGEST = 127
_HALF = torch.finfo(torch.float16)


def quantize(what: "KeptVectors", vectors: Tensor, constants: "Constants") -> dict[str, Tensor]:
    """Return what is kept of vectors, f32 [B, …]; numbers beyond float16 are kept as its largest."""
    flat = vectors.float().reshape(len(vectors), what.channels, -1)
    if what.scheme.kind == "f16":
        kept = flat.clamp(_HALF.min, _HALF.max).half()
        return {f"vector.{what.name}": kept.reshape(len(vectors), -1)}
    largest = flat.abs().amax(dim=2) / _LARGEST
    scale = largest.clamp(max=_HALF.max).half()
    step = scale.float()[..., None]
    code = torch.where(step > 0, flat / step, 0.0).round().clamp(-_LARGEST, _LARGEST)
    return {
        f"vector.{what.name}": code.to(torch.int8).reshape(len(vectors), -1),
        f"scale.{what.name}": scale,
    }


def restore(what: "KeptVectors", kept: Mapping[str, Tensor], constants: "Constants") -> Tensor:
    """Return the vectors that are kept, f32 [B, *shape]."""
    vector = kept[f"vector.{what.name}"]
    if what.scheme.kind == "f16":
        return vector.float().reshape(len(vector), *what.shape)
    code = vector.float().reshape(len(vector), what.channels, -1)
    restored = code * kept[f"scale.{what.name}"].float()[..., None]
    return restored.reshape(len(vector), *what.shape)
