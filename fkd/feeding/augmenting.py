"""Views that a function of the user's own changes, by random numbers that belong to the step."""

from collections.abc import Callable

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
    devices = [views.device] if views.device.type == "cuda" else []
    with torch.random.fork_rng(devices), seeded(key):
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        changed = augment(views)
    if not _are_views(changed, len(views)):
        raise ConfigError(
            f"augment returned {_what(changed)} for views uint8 {list(views.shape)}; it must return as "
            "many views [B, 3, H, W], uint8 or of a float type in [0, 1]"
        )
    return changed


def _are_views(changed: object, count: int) -> bool:
    if not isinstance(changed, Tensor) or changed.dim() != 4 or changed.shape[1] != 3:
        return False
    return len(changed) == count and (changed.dtype == torch.uint8 or changed.is_floating_point())


def _what(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"{str(value.dtype).removeprefix('torch.')} {list(value.shape)}"
