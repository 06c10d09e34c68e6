"""What stands between a layer of a student and the vectors that it is compared with.

Legend: b views, D numbers of a vector or channels of a map [D, h, w].
"""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from fkd.amounts import as_count, as_large
from fkd.config import Adapt
from fkd.errors import ModelError
from fkd.models.pooling import mean_of

Shape = tuple[int, ...]  # of what one view has: (D,), or (D, h, w)


class Adaptor(nn.Module):
    """Brings vectors or maps of a student to the shape of what they are compared with.

    A map is averaged over its positions where a vector is wanted, and else resized (bilinear) to the
    wanted grid. "auto" has a linear layer where the numbers of channels differ, "linear" always, "mlp"
    two of them with a GELU between, as wide as the wider side; of maps they are 1 × 1 convolutions.
    "none" has no weights, and takes equal numbers alone. Raises `ModelError` for shapes that cannot be
    brought together.
    """

    def __init__(self, own: Shape, wanted: Shape, adapt: Adapt) -> None:
        super().__init__()
        self._own, self._wanted = own, wanted
        if len(own) < len(wanted):
            raise ModelError(
                f"it says {shape_words(own)}, which is no map, and is compared with {shape_words(wanted)}"
            )
        of_maps, (width, *_), (out, *_) = len(wanted) > 1, own, wanted
        self.layers = (
            nn.Identity() if width == out and adapt in ("auto", "none") else nn.Sequential()
        )
        if width != out and adapt == "none":
            raise ModelError(
                f"it says {shape_words(own)}, and is compared with {shape_words(wanted)}; with "
                'adapt="none" both must have as many: leave adapt out'
            )
        if isinstance(self.layers, nn.Sequential):
            widths = [width, *([max(width, out)] if adapt == "mlp" else []), out]
            for number, (before, after) in enumerate(pairwise(widths)):
                if number:
                    self.layers.append(nn.GELU())
                self.layers.append(_linear(before, after, of_maps=of_maps))

    @property
    def learns(self) -> bool:
        """Whether it has weights."""
        return any(True for _ in self.parameters())

    def __str__(self) -> str:
        count = sum(weights.numel() for weights in self.parameters())
        return (
            f"{shape_words(self._own)} to {shape_words(self._wanted)}, {as_large(count)} parameters"
        )

    def forward(self, said: Tensor) -> Tensor:
        """Return vectors [b, D] or maps [b, D, h, w] in the wanted shape, [b, *wanted]."""
        if said.dim() == 4 and len(self._wanted) == 1:
            said = mean_of(said, (2, 3))
        adapted: Tensor = self.layers(said)
        return on_grid(adapted, self._wanted[1:])


def on_grid(said: Tensor, grid: Sequence[int]) -> Tensor:
    """Return maps [b, D, h, w] resized (bilinear) to a grid (h, w), vectors and (), as they are."""
    if not grid or said.shape[2:] == tuple(grid):
        return said
    # As float32, since half precision has no such kernel everywhere.
    return functional.interpolate(said.float(), tuple(grid), mode="bilinear", antialias=True)


def _linear(before: int, after: int, *, of_maps: bool) -> nn.Module:
    return nn.Conv2d(before, after, 1) if of_maps else nn.Linear(before, after)


def shape_words(shape: Shape) -> str:
    """Say what a vector or a map of a shape has."""
    if len(shape) == 1:
        return as_count(shape[0], "number")
    return f"{as_count(shape[0], 'channel')} of {' x '.join(map(str, shape[1:]))} positions"
