"""The processes that train one student together: one alone, or those that torchrun started.

They do the same steps, each with its share of every batch, and differ in nothing but that share.
"""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from fkd.config import Size, sides_of
from fkd.errors import FkdError, Stopped, ToldElsewhere, first_line
from fkd.machine import make_current, own_device, resolve_device
from fkd.models import has_unused
from fkd.progress import note

T = TypeVar("T")

# Longer than the leading process evaluates, while the others wait for it.
_PATIENCE = timedelta(hours=4)

# Under this key the processes count those of them that failed. Each looks for it so often, and then has
# so long to end by itself, in seconds: one that waits for the dead inside NCCL never would.
_FAILED, _LOOK_EVERY, _GRACE = "failed", 1.0, 10.0


@dataclass(frozen=True)
class Group:
    """This process, `rank`, among `num_ranks`."""

    rank: int = 0
    num_ranks: int = 1
    device: str = "auto"

    @property
    def leads(self) -> bool:
        """Whether this is the process that evaluates, writes and reports."""
        return self.rank == 0

    def sum(self, values: Tensor) -> Tensor:
        """Return the sum of a tensor over all processes."""
        if self.num_ranks > 1:
            dist.all_reduce(values)
        return values

    def share(self, value: Any) -> Any:
        """Return on every process what the leading one has: plain values and arrays."""
        if self.num_ranks == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values)
        return values[0]

    def once(self, work: Callable[[], T]) -> T:
        """Return on every process what the leading one works out; what it refuses, all refuse."""
        value: T | FkdError | None = None
        if self.leads:
            try:
                value = work()
            except FkdError as error:
                value = FkdError(str(error))  # not all of them can be sent
        value = self.share(value)
        if isinstance(value, FkdError):
            raise value
        return cast("T", value)

    def wrap(self, model: nn.Module, device: torch.device, view: Size) -> nn.Module:
        """Return the model with gradients averaged over all processes; `view` is a size that it sees.

        Weights of which its answer knows nothing are looked for in each step where there are such, since
        no gradient of theirs will come. Looking takes time.
        """
        if self.num_ranks == 1:
            return model
        numbered = [device.index] if device.type == "cuda" else None
        pixels = torch.zeros(2, 3, *sides_of(view), device=device)
        return DistributedDataParallel(
            model, device_ids=numbered, find_unused_parameters=has_unused(model, pixels)
        )


def launched() -> bool:
    """Say whether torchrun started this process."""
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def joined(device: str) -> Iterator[Group]:
    """Meet the other processes of torchrun and part at the end; without torchrun, be alone.

    `device` is the value of `--device`; each process of a machine gets a GPU of its own. Where one of
    them fails, all end: the first to fail raises its error, the others raise `ToldElsewhere`.
    """
    if not launched():
        yield Group(device=device)
        return
    own = own_device(device, int(os.environ["LOCAL_RANK"]))
    keys, rank, size = next(iter(rendezvous("env://")))
    # The agents keep their store over a restart, and with it the addresses of the dead.
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    keys = PrefixStore(f"fkd-train/{attempt}/{size}", keys)
    backend, failed = "", True
    try:
        with _one_tells(keys), _ends_with_others(keys):
            if own.startswith("cuda"):
                make_current(resolve_device(own))
            backend = _backend(own, keys, rank, size)
            dist.init_process_group(
                backend,
                store=keys,
                rank=rank,
                world_size=size,
                timeout=_PATIENCE,
                device_id=torch.device(own) if backend == "nccl" else None,
            )
            yield Group(dist.get_rank(), dist.get_world_size(), own)
        failed = False
    finally:
        # NCCL would wait for those that still work.
        if dist.is_initialized() and (not failed or backend == "gloo"):
            dist.destroy_process_group()


@contextmanager
def _one_tells(keys: Store) -> Iterator[None]:
    """Let the first process that fails raise its error, and the others follow without a word."""
    try:
        yield
    except Stopped:  # as all of them do, after the same step
        raise
    except BaseException as error:
        told = True
        with suppress(dist.DistError, RuntimeError):  # the store ends with the agents
            told = keys.add(_FAILED, 1) > 1
        if isinstance(error, KeyboardInterrupt):
            raise
        if told:
            raise ToldElsewhere("another process of this run says what ended it") from error
        if "gloo/transport" in str(error):
            raise FkdError(
                "another process of this run is gone "
                f"({first_line(error).split('] ')[-1].split('. ')[0]}); see what it said, and go on with "
                "--resume"
            ) from error
        raise


@contextmanager
def _ends_with_others(keys: Store) -> Iterator[None]:
    """End this process where another one has failed and this one does not end by itself."""
    over = threading.Event()

    def look() -> None:
        with suppress(dist.DistError, RuntimeError):
            while not over.wait(_LOOK_EVERY):
                if keys.check([_FAILED]) and not over.wait(_GRACE):
                    os._exit(2)

    threading.Thread(target=look, name="fkd-look", daemon=True).start()
    try:
        yield
    finally:
        over.set()


def _backend(device: str, keys: Store, rank: int, size: int) -> str:
    """Choose how gradients are summed; NCCL wants a GPU for each process, on every machine.

    A GPU that `--device` names, as cuda:1, is that of all processes of a machine.
    """
    crowded = not device.startswith("cuda")
    if not crowded and (here := int(os.environ["LOCAL_WORLD_SIZE"])) > 1:
        own = own_device("cuda", int(os.environ["LOCAL_RANK"]))
        crowded = here > torch.cuda.device_count() or device != own
    keys.set(f"crowded/{rank}", str(int(crowded)))
    if not any(int(keys.get(f"crowded/{other}")) for other in range(size)):
        return "nccl"
    if rank == 0 and device.startswith("cuda"):
        note(
            "processes share a GPU, so gradients go through the CPU; start one for each GPU instead, "
            "with --device cuda"
        )
    return "gloo"
