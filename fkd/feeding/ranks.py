"""Which share of each batch a process takes, and which device is its own."""

import os

import torch
import torch.distributed as dist
from torch.utils.data import get_worker_info

from fkd.config import MAX_BATCH, check_count
from fkd.errors import ConfigError
from fkd.machine import own_device, resolve_device


def own_share(rank: int | None, num_ranks: int | None) -> tuple[int, int]:
    """Return the rank of this process and the number of ranks.

    Where neither is given they are those of torch.distributed or, before it has been initialised, those
    that torchrun tells its processes. Raises `ConfigError` for one without the other.
    """
    if rank is None and num_ranks is None:
        if _in_a_group():
            return dist.get_rank(), dist.get_world_size()
        told = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
        rank, num_ranks = (int(told[0]), int(told[1])) if told[0] and told[1] else (0, 1)
    if rank is None or num_ranks is None:
        raise ConfigError("rank and num_ranks go together; give both, or neither")
    check_count("num_ranks", num_ranks, 1, MAX_BATCH)
    check_count("rank", rank, 0, num_ranks - 1)
    return rank, num_ranks


def refuse_to_repeat(rank: int, num_ranks: int, *, told: bool) -> None:
    """Raise `ConfigError` in a process that would take what other processes take, too.

    `told` is for a share that the user gave, which may be of other processes than torch.distributed's.
    """
    if get_worker_info() is not None:
        raise ConfigError(
            "a StudentLoader in the worker processes of a DataLoader would yield every batch once in "
            "each of them; use num_workers=0, and give the loader itself more workers, which are threads"
        )
    if not told and _in_a_group() and (dist.get_rank(), dist.get_world_size()) != (rank, num_ranks):
        raise ConfigError(
            f"this StudentLoader was built as rank {rank} of {num_ranks}, before this process joined its "
            "group; build it after torch.distributed is initialised, or give rank and num_ranks"
        )


def _in_a_group() -> bool:
    return dist.is_available() and dist.is_initialized()


def device_of(name: str) -> torch.device:
    """Return the device of a `device` setting: of torchrun's processes, each has a GPU of its own."""
    local = os.environ.get("LOCAL_RANK")
    return resolve_device(own_device(name, int(local)) if local else name)
