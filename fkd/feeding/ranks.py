"""Which share of each batch a process takes, and which device is its own."""

import os

import torch
import torch.distributed as dist

from fkd.config import MAX_BATCH, check_count
from fkd.errors import ConfigError
from fkd.machine import own_device, resolve_device


def own_share(rank: int | None, num_ranks: int | None) -> tuple[int, int]:
    """Return the rank of this process and the number of ranks.

    Where neither is given they are those of torch.distributed or, before it has been initialised, those
    that torchrun tells its processes. Raises `ConfigError` for one without the other.
    """
    if rank is None and num_ranks is None:
        if dist.is_available() and dist.is_initialized():
            return dist.get_rank(), dist.get_world_size()
        told = os.environ.get("RANK"), os.environ.get("WORLD_SIZE")
        rank, num_ranks = (int(told[0]), int(told[1])) if told[0] and told[1] else (0, 1)
    if rank is None or num_ranks is None:
        raise ConfigError("rank and num_ranks go together; give both, or neither")
    check_count("num_ranks", num_ranks, 1, MAX_BATCH)
    check_count("rank", rank, 0, num_ranks - 1)
    return rank, num_ranks


def device_of(name: str) -> torch.device:
    """Return the device of a `device` setting: of torchrun's processes, each has a GPU of its own."""
    local = os.environ.get("LOCAL_RANK")
    return resolve_device(own_device(name, int(local)) if local else name)
