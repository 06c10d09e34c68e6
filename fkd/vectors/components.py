"""The first principal components of vectors, in steps of one size.

With x the numbers of a vector, or their roots where no vector of the sample has a number below 0, with m
their mean and r_1 … r_N the directions in which a sample varies most, a code is

    c_i = round(r_i · (x - m) / s),    restored as  x ≈ m + s Σ c_i r_i.

One step s for all components spreads the error evenly, as reverse water-filling asks (Cover and Thomas,
Elements of Information Theory, §10.3.3). The compressor gives each component a table of its own, so a
component takes no more bits than it has to say. s is one and a half standard deviations of the last
component, which then takes little more than a bit; and it is so large that no code is cut off.

Pooled features behind a ReLU are many small numbers and few large ones. Roots make them alike, and at the
same bytes they are restored with a third less error. A root that comes out below 0 is known to be 0.

Legend: n sampled vectors, B views, L numbers of a vector, N components.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.machine import widest_float

_LARGEST = 127  # of a code
_STEP = 1.5  # standard deviations of the last component
_ROOM = 1.25  # how much further than those of the sample other vectors reach
_MOST_SIDES = 4096  # of the matrix whose eigenvectors the directions are
_NOTHING = 1e-10  # a direction's share of the first one's variance that is rounding alone


@dataclass(frozen=True)
class Components:
    """What is learned of a sample, on a device: `mean` f32 [L], `rotation` f32 [N, L], `step` f32 [1].

    `rotation` holds numbers of float16. With `rooted`, codes are of the roots of numbers from 0 up.
    """

    mean: Tensor
    rotation: Tensor
    step: Tensor
    rooted: bool

    @classmethod
    def learned(cls, sample: Tensor, count: int) -> "Components":
        """Learn the first `count` components of vectors f32 [n, L], on the CPU.

        Of fewer vectors than components, those that are left are zeros and say nothing.
        """
        values = sample.cpu()
        if min(values.shape) > _MOST_SIDES:
            values = values[torch.linspace(0, len(values) - 1, _MOST_SIDES).long()]
        values = values.double()
        rooted = len(values) > 0 and bool((values >= 0).all())
        values = values.sqrt_() if rooted else values
        mean = values.mean(dim=0) if len(values) else values.new_zeros(values.shape[1])
        mean = mean.float()
        centred = values.sub_(mean)
        rotation = _directions(centred, count).half().float()
        along = centred @ rotation.double().T
        reach = along.abs().amax().item() if along.numel() else 0.0
        last = along[:, -1].square().mean().sqrt().item() if len(along) else 0.0
        step = max(_STEP * last, _ROOM * reach / _LARGEST) or 1.0
        return cls(mean, rotation, torch.tensor([step], dtype=torch.float32), rooted)

    @classmethod
    def of_arrays(
        cls, arrays: dict[str, NDArray[np.generic]], device: torch.device
    ) -> "Components":
        """Take what `arrays` gave from a store, to a device."""
        mean, rotation, step = (
            torch.from_numpy(arrays[name].astype(np.float32)).to(device)
            for name in ("mean", "rotation", "step")
        )
        return cls(mean, rotation, step, bool(arrays["root"][0]))

    def arrays(self) -> dict[str, NDArray[np.generic]]:
        """Return what a store keeps: "mean" f32, "rotation" f16, "step" f32 and "root" u8 [1]."""
        return {
            "mean": self.mean.cpu().numpy(),
            "rotation": self.rotation.half().cpu().numpy(),
            "step": self.step.cpu().numpy(),
            "root": np.array([self.rooted], np.uint8),
        }

    def to_codes(self, vectors: Tensor) -> Tensor:
        """Return the codes int8 [B, N] of vectors, f32 [B, L].

        Sums are in double precision where the device has it, so that they round to the same codes
        whichever vectors are asked for together.
        """
        exact = widest_float(vectors.device)
        with torch.autocast(vectors.device.type, enabled=False):
            values = vectors.float()
            values = values.clamp(min=0).sqrt() if self.rooted else values
            along = (values - self.mean).to(exact) @ self.rotation.to(exact).T
            code = (along / self.step).round().clamp(-_LARGEST, _LARGEST)
        return code.to(torch.int8)

    def from_codes(self, code: Tensor) -> Tensor:
        """Return the vectors, f32 [B, L], of codes int8 [B, N]."""
        with torch.autocast(code.device.type, enabled=False):
            values = torch.addmm(self.mean, code.float() * self.step, self.rotation)
        return values.clamp_(min=0).square_() if self.rooted else values


def _directions(centred: Tensor, count: int) -> Tensor:
    """Return the `count` directions in which vectors f64 [n, L] vary most, f64 [count, L], zeros last."""
    rows = centred.new_zeros(count, centred.shape[1])
    if not len(centred):
        return rows
    few = len(centred) < centred.shape[1]
    variance, vector = torch.linalg.eigh(centred @ centred.T if few else centred.T @ centred)
    there = min(count, int((variance > _NOTHING * variance[-1]).sum()))
    variance, vector = variance.flip(0)[:there], vector.flip(1)[:, :there]
    found = centred.T @ vector / variance.sqrt() if few else vector
    rows[:there] = found.T
    return rows
