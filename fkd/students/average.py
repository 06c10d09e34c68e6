"""The moving average of a student's weights."""

import copy

import torch
from torch import nn
from torch.optim.swa_utils import get_ema_multi_avg_fn


class MovingAverage:
    """An exponential moving average: w ← decay · w + (1 - decay) · student, after each step.

    `module` is a copy of the student with averaged parameters and batch statistics; counters of batches
    are copied. The first of the `updates` copies all. torch's `AveragedModel` averages alike, and moves
    its count to the device at every step, for which the CPU waits until the GPU has nothing left to do.
    """

    def __init__(self, student: nn.Module, decay: float) -> None:
        """Begin with a copy of `student`; `decay` lies in [0, 1)."""
        self.module = copy.deepcopy(student)
        for layer in self.module.modules():
            if isinstance(layer, nn.RNNBase):  # cuDNN wants the weights of a copy in one piece, too
                layer.flatten_parameters()
        self.updates, self._decay = 0, decay
        self._lerp = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]

    @property
    def first_share(self) -> float:
        """The share of the average that is the first step's, decay^updates."""
        return self._decay**self.updates

    @torch.no_grad()
    def update(self, student: nn.Module) -> None:
        """Take the student's weights into the average."""
        pairs = list(zip(_tensors(self.module), _tensors(student), strict=True))
        averaged = [(own, new) for own, new in pairs if self.updates and own.is_floating_point()]
        copied = [
            (own, new) for own, new in pairs if not self.updates or not own.is_floating_point()
        ]
        if averaged:
            self._lerp([own for own, _ in averaged], [new for _, new in averaged], self.updates)
        if copied:
            torch._foreach_copy_([own for own, _ in copied], [new for _, new in copied])
        self.updates += 1


def _tensors(model: nn.Module) -> list[torch.Tensor]:
    return [t.detach() for t in (*model.parameters(), *model.buffers())]
