"""The weights of antialiased resampling, as torch's uint8 kernel has them, for many sides at once.

A weight must come out the same to the last bit on every device, so its arithmetic keeps to operations
that are rounded correctly everywhere. A GPU divides by a Python number through the number's reciprocal,
takes powers approximately and sums in an order of its own; none of the three is used.

Legend: n sides, S output pixels of each, K taps, the source pixels under one output pixel.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from fkd.config import Interpolation

SUPPORT = {"bilinear": 1, "bicubic": 2}  # half the kernel's width, in output pixels
_CUBIC = -0.5
_MOST_BITS = 22  # of a weight, behind the point


@dataclass(frozen=True)
class Taps:
    """What output pixels are made of: source positions int64 and weights int32, [n, S, K].

    A weight counts 2^-bits; `bits` int64 [n].
    """

    position: Tensor
    weight: Tensor
    bits: Tensor


def most_taps(longest: int, size: int, interpolation: Interpolation) -> int:
    """Return the most source pixels with a weight; one is to spare, for ends that are rounded."""
    return math.ceil(2 * SUPPORT[interpolation] * max(1.0, longest / size)) + 1


def taps_of(
    length: Tensor,
    longest: int,
    size: int,
    interpolation: Interpolation,
    mirrored: Tensor | None = None,
    fitted: Tensor | None = None,
) -> Taps:
    """Compute the taps of n sides of `length` int64 [n] that become S pixels each.

    Those of sides that are `mirrored`, int64 [n] of 0 and 1, come in the reverse order. With `fitted`,
    int64 [n] of 1 to S, a side becomes so many pixels, and the weights of those behind them are 0.
    """
    device = length.device
    if device.type == "mps":  # it has no float64; the few numbers cost the CPU nothing
        mirrored = None if mirrored is None else mirrored.cpu()
        fitted = None if fitted is None else fitted.cpu()
        taps = taps_of(length.cpu(), longest, size, interpolation, mirrored, fitted)
        return Taps(taps.position.to(device), taps.weight.to(device), taps.bits.to(device))
    reach = SUPPORT[interpolation]
    scale = length.double() / (torch.full_like(length, size) if fitted is None else fitted)
    scale = scale[:, None]
    stretch = scale.clamp(min=1.0)
    pixel = torch.arange(0.5, size, dtype=torch.float64, device=device)
    behind = None if fitted is None else pixel > fitted[:, None]
    if mirrored is not None:
        reverse = pixel.flip(0) if fitted is None else fitted[:, None] - pixel
        pixel = torch.where(mirrored[:, None].bool(), reverse, pixel)
    center = scale * pixel
    begin = torch.sub(center, stretch, alpha=reach).add_(0.5).long().clamp_(min=0)
    end = torch.add(center, stretch, alpha=reach).add_(0.5).long().minimum(length[:, None])
    tap = torch.arange(most_taps(longest, size, interpolation), device=device)
    position = begin[..., None] + tap
    distance = (position - center[..., None]).add_(0.5).mul_(stretch.reciprocal()[..., None])
    weight = _kernel(distance, interpolation)
    weight = weight.masked_fill_(position >= end[..., None], 0.0)
    first, *others = weight.unbind(2)
    total = first.clone()
    for other in others:  # in the kernel's order
        total.add_(other)
    weight.div_(total[..., None])
    if behind is not None:
        weight.masked_fill_(behind[..., None], 0.0)
    bits = _bits(weight.amax(dim=(1, 2)))
    weight.mul_((1 << bits).double()[:, None, None])
    weight.add_(weight.sign(), alpha=0.5)  # a half is rounded away from zero
    position = position.minimum(length[:, None, None] - 1)
    return Taps(position, weight.int(), bits)


def _bits(heaviest: Tensor) -> Tensor:
    """Return how many bits behind the point weights may have, int64 [n], by the heaviest, float64 [n].

    They are as many as let the heaviest weight, times 2^bits and rounded, stay below 2^15.
    """
    mantissa, exponent = heaviest.frexp()  # a mantissa in [0.5, 1), times 2^exponent
    over = mantissa >= 1.0 - 2.0**-16  # rounded, that is 2^15 already
    return (15 - (exponent.long() + over)).clamp_(max=_MOST_BITS)


def _kernel(x: Tensor, interpolation: Interpolation) -> Tensor:
    """The resampling kernel at a distance of x output pixels."""
    x = x.abs_()
    if interpolation == "bilinear":
        return (1.0 - x).clamp_(min=0.0)
    near = ((_CUBIC + 2.0) * x).sub_(_CUBIC + 3.0).mul_(x).mul_(x).add_(1.0)
    far = (x - 5.0).mul_(x).add_(8.0).mul_(x).sub_(4.0).mul_(_CUBIC)
    return torch.where(x < 1.0, near, far.masked_fill_(x >= 2.0, 0.0))
