"""Which device a model runs on, and how its memory is laid out there."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from fkd.errors import FkdError, ModelError, first_line
from fkd.machine.memory import keep_freed_memory


@contextmanager
def device_memory(remedy: str) -> Iterator[None]:
    """Say in one line what to do where the device has no memory left for what is done inside."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise FkdError(f"the device is out of memory; {remedy}") from error


_KINDS = ("cpu", "cuda", "mps")
_REMEDY = "choose auto, cpu, cuda, cuda:N or mps"

_AMP = {"bf16": torch.bfloat16, "fp16": torch.float16}


def autocast(device: torch.device, amp: str) -> torch.autocast:
    """Run what is inside at the precision of `--amp`: "off", "bf16" or "fp16"."""
    return torch.autocast(device.type, _AMP.get(amp), enabled=amp in _AMP)


def widest_float(device: torch.device) -> torch.dtype:
    """Return the type of floats in which a device sums so exactly that the order hardly matters."""
    return torch.float32 if device.type == "mps" else torch.float64  # MPS has no wider one


def make_current(device: torch.device) -> torch.device:
    """Let what asks for no device in particular, such as a compiled kernel, use this one; return it.

    A GPU must have its number, as those of `resolve_device` have.
    """
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def place(model: nn.Module, device: torch.device) -> nn.Module:
    """Move a model to a device, in the channels-last memory that convolutions are fastest on."""
    return model.to(device).to(memory_format=torch.channels_last)


def resolve_device(name: str) -> torch.device:
    """Return the device of a `--device` value; "auto" takes CUDA, then MPS, then the CPU.

    A run on the CPU keeps the memory that it frees; see `fkd.machine.memory`.
    """
    device = _find_device(name)
    if device.type == "cpu":
        keep_freed_memory()
    return device


def _find_device(name: str) -> torch.device:
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        # A tensor on it names it in full: "cuda" becomes "cuda:0", which `make_current` needs.
        device = torch.empty(1, device=torch.device(name)).device
    except NotImplementedError as error:  # torch names each kind that it has
        raise ModelError(f"--device {name}: there is none on this machine; {_REMEDY}") from error
    except (RuntimeError, AssertionError, ImportError) as error:
        if name.partition(":")[0] not in _KINDS:
            raise ModelError(f"--device {name} is unknown; {_REMEDY}") from error
        raise ModelError(f"--device {name}: {first_line(error)}; {_REMEDY}") from error
    if device.type == "meta":
        raise ModelError(f"--device meta holds no data; {_REMEDY}")
    return device


def own_device(name: str, local_rank: int) -> str:
    """Return the `--device` of one of several processes on a machine."""
    if name == "cuda" or (name == "auto" and torch.cuda.is_available()):
        return f"cuda:{local_rank % max(1, torch.cuda.device_count())}"
    return name
