"""What a layer of the teacher says today of some views, against the vectors that are stored of them.

Legend: n views, v what the layer says today, r what is restored of the store, q(v) what the store's
scheme would keep of v.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from fkd.amounts import as_count
from fkd.vectors import StoredVectors

# As shares of how far vectors of other views are away. MobileNetV2's of photos moved by 0.003 to 0.005 in
# bfloat16, in mean, and by 0.05 to 0.08 where boxes were one pixel off.
_MEAN, _WORST = 0.02, 0.25
# What another precision may cost, as a cosine, where vectors of other views are no further away.
_LEAST_MEAN, _LEAST_WORST = 0.003, 0.02


@dataclass(frozen=True)
class VectorAgreement:
    """What a target's layer says today of n stored views, against what is stored.

    `stored` f32 [n] is cos(v, r), and `rounded` f32 [n] is cos(v, q(v)), which the scheme alone leaves.
    `apart` is 1 - cos between views that follow one another, in mean. `views` int64 [n, 2] are
    (image index, crop).
    """

    name: str
    stored: NDArray[np.float32]
    rounded: NDArray[np.float32]
    apart: float
    views: NDArray[np.int64]

    @property
    def ok(self) -> bool:
        """Whether vectors differ no more than rounding and other kernels make them."""
        lost = self.rounded - self.stored
        mean, worst = max(_MEAN * self.apart, _LEAST_MEAN), max(_WORST * self.apart, _LEAST_WORST)
        return bool(lost.mean() <= mean and lost.max() <= worst)

    def __str__(self) -> str:
        row = int((self.rounded - self.stored).argmax())
        image, crop = self.views[row].tolist()
        return (
            f"{self.name}: cosine to the stored vectors of {as_count(len(self.stored), 'view')}: mean "
            f"{self.stored.mean():.5f}, and rounding alone leaves {self.rounded.mean():.5f}; at worst "
            f"{self.stored[row]:.5f} where it leaves {self.rounded[row]:.5f} (image {image}, crop "
            f"{crop}); other views have {1 - self.apart:.3f}"
        )


class Comparing:
    """Compares the vectors of a target, batch by batch."""

    def __init__(self, name: str, vectors: StoredVectors) -> None:
        """Compare the stored `vectors` of the target `name`."""
        self._name, self._vectors = name, vectors
        self._found: list[tuple[Tensor, Tensor, Tensor]] = []
        self._last: Tensor | None = None

    def add(self, said: Tensor, kept: Mapping[str, Tensor]) -> None:
        """Take what the layer says of n views, f32 [n, …], and what is stored of them, [n, …]."""
        today = said.cpu()
        rounded = self._vectors.restore(self._vectors.quantize(today))
        others = today if self._last is None else torch.cat([self._last, today])
        self._last = today[-1:]
        self._found.append(
            (
                cosines(today, self._vectors.restore(kept)),
                cosines(today, rounded),
                1 - cosines(others[1:], others[:-1]),
            )
        )

    def agreement(self, views: NDArray[np.int64]) -> VectorAgreement:
        """Return what was found of all `views`, int64 [n, 2]."""
        stored, rounded, apart = (torch.cat(each) for each in zip(*self._found, strict=True))
        mean = float(apart.mean()) if len(apart) else 0.0
        return VectorAgreement(self._name, stored.numpy(), rounded.numpy(), mean, views)


def cosines(one: Tensor, other: Tensor) -> Tensor:
    """Return the cosines f32 [n] of vectors or maps, f32 [n, …]; of two zeros it is 1."""
    flat, others = one.flatten(1), other.flatten(1)
    both = ~(flat.any(dim=1) | others.any(dim=1))
    return functional.cosine_similarity(flat, others).masked_fill(both, 1.0)
