"""A teacher of next to no cost: what a benchmark of labelling then measures is fkd itself."""

import torch
from torch import Tensor, nn

CLASSES = 1000


class Weightless(nn.Module):
    """Logits [B, 1000] that depend on the views, and no weights."""

    fkd_identity = "weightless"

    def forward(self, views: Tensor) -> Tensor:
        """Spread the mean of each view over the classes."""
        ramp = torch.linspace(-3, 3, CLASSES, device=views.device)
        return views.mean((1, 2, 3))[:, None] * ramp + ramp.flip(0)


def make() -> Weightless:
    """Return the teacher, as `--teacher weightless:make` wants it."""
    return Weightless()


def class_names(first: list[str]) -> str:
    """Return the text of a --teacher-classes file that begins with these names."""
    return "\n".join(first + [f"class {n}" for n in range(CLASSES - len(first))])
