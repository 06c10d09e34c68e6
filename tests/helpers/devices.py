"""What a GPU refuses, and what it would be waited for, on the CPU and on the device "meta".

The device "meta" holds no data: whoever reads a number from it fails, as whoever reads one from a GPU
waits.
"""

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

META, CPU = torch.device("meta"), torch.device("cpu")

SIZE = (16, 24)  # of views that a `Net` is asked for


class AGpu(TorchDispatchMode):
    """Refuses what a GPU refuses: an operation on tensors of the CPU and of its own, but for a copy.

    Where the CPU may not wait, it refuses a copy that waits, and one of a single number.
    """

    def __init__(self, may_wait=False):
        super().__init__()
        self.may_wait = may_wait

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
        done = func(*args, **(kwargs or {}))
        there = {t.device.type for t in given if t.dim() or t.device != CPU}
        copied = "copy" in func.name()
        assert len(there) < 2 or copied, f"{func} of tensors on {there}"
        made = isinstance(done, torch.Tensor) and done.device == META
        comes = copied and made and any(t.device == CPU for t in given)
        if comes and not self.may_wait:
            assert (kwargs or {}).get("non_blocking"), f"{func} of {given[-1].shape} waits"
        return done


class Waits(TorchDispatchMode):
    """Counts what a GPU would be waited for."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        bools = [
            t for t in tree_leaves(args) if isinstance(t, torch.Tensor) and t.dtype == torch.bool
        ]
        by_mask = "index" in func.name() and len(bools) > 0
        self.count += by_mask or func.name() in ("aten::_local_scalar_dense", "aten::nonzero")
        return func(*args, **(kwargs or {}))


class Net(nn.Module):
    """Says six logits in one row a view, of a map or of a line, by its `grid`."""

    def __init__(self, grid):
        super().__init__()
        self.grid, self.conv, self.head = grid, nn.Conv2d(3, 4, 3, 4), nn.Linear(4, 6)

    def forward(self, pixels):
        said = self.conv(pixels)  # [B, 4, 4, 6]
        if len(self.grid) == 2:
            return self.head(said.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        line = said.mean(dim=2).transpose(1, 2)
        return self.head(line if self.grid else line.mean(dim=1))


class Sent:
    """What was sent for, in the place of a `Download`: of what holds no data nothing comes."""

    def __init__(self, **tensors):
        self.tensors = tensors
