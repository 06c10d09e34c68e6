"""A GPU that is none: its tensors lie in the CPU's memory, and say that they are on "cuda".

Whole commands run on it, with real numbers. A tensor of the CPU beside one of its own is refused, as CUDA
refuses it, and so is an array of one of its own. Each place where the CPU would wait for it is noted.
Backward passes do not run on it, since torch asks the driver for a thread to run them in.
"""

import sys
from collections import Counter
from contextlib import contextmanager, nullcontext
from types import SimpleNamespace

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from fkd.machine import transfer
from fkd.views import render_cpu, render_device

GPU = torch.device("cuda", 0)

# What reads a number, or how many there are, before it goes on.
_READERS = (
    "_local_scalar_dense", "nonzero", "bincount", "masked_select", "_unique2", "equal", "is_nonzero",
    "ctc_loss",
)  # fmt: skip
_WHOLE = ("lstm", "ctc_loss")  # what a GPU has kernels of its own for

_waits = Counter()  # by file and function


class There(torch.Tensor):
    """A tensor of the pretended GPU; `held` has its numbers."""

    @staticmethod
    def __new__(cls, inner):
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(),
            dtype=inner.dtype, device=GPU, layout=inner.layout,
        )  # fmt: skip
        made.held = inner
        return made

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def tolist(self):
        _wait()
        return self.held.tolist()

    def record_stream(self, stream):
        pass


class _Mode(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


def _wait():
    """Note who in fkd waits."""
    frame = sys._getframe(1)
    while frame is not None and "/fkd/" not in frame.f_code.co_filename:
        frame = frame.f_back
    if frame is not None:
        _, _, file = frame.f_code.co_filename.rpartition("/fkd/")
        _waits[f"{file}: {frame.f_code.co_name}"] += 1


def _run(func, args, kwargs):
    name = func.name().removeprefix("aten::").partition(".")[0]
    if name == "pin_memory":
        return args[0]
    if name not in _WHOLE and torch._C._dispatch_has_kernel_for_dispatch_key(
        func.name(), "CompositeImplicitAutograd"
    ):
        with _Mode():
            return func.decompose(*args, **kwargs)
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, torch.Tensor)]
    there = [t for t in tensors if isinstance(t, There)]
    beside = [t for t in tensors if t.dim() and not isinstance(t, There)]
    copied = name in ("_to_copy", "copy_")
    if there and beside and not copied:
        raise RuntimeError(f"{func} got tensors on the CPU and on a GPU")
    device = kwargs.get("device")
    to = None if device is None else torch.device(device).type
    if _waits_for(name, args, kwargs, there, beside, to):
        _wait()
    own = {}
    args, kwargs = tree_map(lambda t: _inner(t, own), (args, kwargs))
    done = func(*args, **_on_cpu(kwargs))
    if name == "copy_":
        return own.get(id(args[0]), args[0])
    if to == "cpu" or not (to == "cuda" or there):
        return done
    # What is seen of a tensor is of inference mode if that is, whichever mode it is seen in.
    plain = func.is_view and not args[0].is_inference()
    with torch.inference_mode(torch.is_inference_mode_enabled() and not plain):
        return tree_map(lambda value: _outer(value, own), done)


def _outer(value, own):
    if not isinstance(value, torch.Tensor):
        return value
    return own[id(value)] if id(value) in own else There(value)


def _waits_for(name, args, kwargs, there, beside, to):
    """Say whether the CPU waits for an operation."""
    if name == "_to_copy":
        moves = to is not None and (to == "cuda") != bool(there)
        return moves and not kwargs.get("non_blocking")
    if name == "copy_":
        return bool(there and beside) and not (len(args) > 2 and args[2])
    by_mask = name.startswith("index") and any(
        isinstance(t, There) and t.dtype == torch.bool for t in tree_leaves(args[1:2])
    )
    return bool(there) and (by_mask or name in _READERS)


def _inner(value, own):
    if not isinstance(value, There):
        return value
    own[id(value.held)] = value
    return value.held


def _on_cpu(kwargs):
    found = {k: v for k, v in kwargs.items() if k != "pin_memory"}
    return found | {"device": torch.device("cpu")} if found.get("device") is not None else found


@contextmanager
def pretended_gpu(monkeypatch):
    """Let "cuda" be such a GPU inside; yield how often each file and function has waited for it."""
    with monkeypatch.context() as patch:
        _pretend(patch)
        _waits.clear()
        try:
            with _Mode():
                yield _waits
        finally:
            for of_device in (
                transfer._copy_stream, render_cpu._scale_and_shift, render_device.kernels_render
            ):  # fmt: skip
                of_device.cache_clear()


def _pretend(patch):
    torch._C._ensureCUDADeviceGuardSet()
    stream = SimpleNamespace(wait_stream=lambda other: None)
    event = SimpleNamespace(record=lambda stream: None, synchronize=lambda: None)
    for name, value in {
        "_lazy_init": lambda: None, "is_available": lambda: True, "current_device": lambda: 0,
        "set_device": lambda device: None, "device_count": lambda: 1,
        "get_device_name": lambda device: "pretended", "is_bf16_supported": lambda: True,
        "get_device_properties": lambda device: SimpleNamespace(total_memory=2**33, major=9),
        "Stream": lambda device: stream, "current_stream": lambda device: stream,
        "stream": lambda stream: nullcontext(), "Event": lambda blocking: event,
    }.items():  # fmt: skip
        patch.setattr(torch.cuda, name, value)
    patch.setattr(torch.backends.cudnn, "enabled", False)
    patch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    patch.setattr("fkd.views.threads.empty_views", _unpinned(render_cpu.empty_views))
    plain, move = torch.tensor, nn.Module.to

    def tensor(data, *args, device=None, **kwargs):
        made = plain(data, *args, **kwargs)
        return made if device is None else made.to(device)

    def to(module, *args, **kwargs):
        """Make new parameters on the way: plain ones cannot take the numbers of others."""
        swap = torch.__future__.set_overwrite_module_params_on_conversion
        there = any(isinstance(p, There) for p in module.parameters())
        swap(there or GPU in [torch.device(a) for a in args if isinstance(a, (str, torch.device))])
        try:
            return move(module, *args, **kwargs)
        finally:
            swap(False)

    patch.setattr(torch, "tensor", tensor)
    patch.setattr(nn.Module, "to", to)


def _unpinned(empty):
    return lambda count, size, device=None, *, pin=False: empty(count, size, device, pin=False)
