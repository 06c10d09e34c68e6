"""Vectors become codes, and codes vectors again.

- f16: every number in half precision.
- int8: codes from -127 to 127, with a scale s for each vector or each channel of a map, float16, so that
  v ≈ s · code. Half a step is the largest error: s / 2 = max |v| / 254.

Legend: B views, L numbers of a vector, D channels of a map.
"""

import torch
from torch import Tensor

_LARGEST = 127
_HALF = torch.finfo(torch.float16)


def to_half(vectors: Tensor) -> Tensor:
    """Return vectors, f32 [B, …], in half precision [B, L]; what is beyond is its largest number."""
    return vectors.float().reshape(len(vectors), -1).clamp(_HALF.min, _HALF.max).half()


def to_codes(vectors: Tensor, channels: int) -> tuple[Tensor, Tensor]:
    """Return the codes int8 [B, L] of vectors, f32 [B, …], and their scales f16 [B, channels]."""
    flat = vectors.float().reshape(len(vectors), channels, -1)
    scale = (flat.abs().amax(dim=2) / _LARGEST).clamp(max=_HALF.max).half()
    step = scale.float()[..., None]
    code = torch.where(step > 0, flat / step, 0.0).round().clamp(-_LARGEST, _LARGEST)
    return code.to(torch.int8).reshape(len(vectors), -1), scale


def from_codes(code: Tensor, scale: Tensor) -> Tensor:
    """Return the vectors, f32 [B, L], of codes int8 [B, L] and scales f16 [B, channels]."""
    by_channel = code.float().reshape(*scale.shape, -1)
    return (by_channel * scale.float()[..., None]).reshape(len(code), -1)
