"""Views that a function of the user's own changes, by random numbers that belong to the step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from fkd.errors import ConfigError
from fkd.machine import seeded

# Takes views, uint8 [B, 3, H, W], and returns B of them: uint8, or of a float type in [0, 1].
Augmentation = Callable[[Tensor], Tensor]


def augmented(views: Tensor, augment: Augmentation, key: np.random.SeedSequence) -> Tensor:
    """Return what `augment` makes of views, uint8 [B, 3, H, W] on any device.

    Whatever it draws, from torch, `random` or `numpy.random`, follows from `key` alone, and the loop
    around it goes on with its own numbers. Raises `ConfigError` for what cannot be views.
    """
    seed = int(key.generate_state(1, np.uint64)[0] >> np.uint64(1))
    with _torch_seeded(views.device, seed), seeded(key):
        changed = augment(views)
    if not _are_views(changed, len(views)):
        raise ConfigError(
            f"augment returned {_what(changed)} for views uint8 {list(views.shape)}; it must return as "
            "many views [B, 3, H, W], uint8 or of a float type in [0, 1]"
        )
    return changed


@contextmanager
def _torch_seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Let the CPU and `device` draw from `seed` inside; outside they go on as before."""
    # torch.manual_seed would seed every GPU, those of the loop around it too.
    others = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(others, device_type=device.type if others else None):
        torch.default_generator.manual_seed(seed)
        for other in others:
            with torch.accelerator.device_index(other.index):
                torch.get_device_module(other).manual_seed(seed)
        yield


def _are_views(changed: object, count: int) -> bool:
    if not isinstance(changed, Tensor) or changed.dim() != 4 or changed.shape[1] != 3:
        return False
    return len(changed) == count and (changed.dtype == torch.uint8 or changed.is_floating_point())


def _what(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
