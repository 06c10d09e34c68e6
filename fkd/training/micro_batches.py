"""How many views go through a student at a time, and which of a batch these are."""

from collections.abc import Iterator

import torch

from fkd.config import TrainConfig

# Where the user does not say: what fits comfortably.
_MICRO_BATCH = {"cpu": 64, "mps": 64}
_MICRO_BATCH_GPU = 256


def views_at_a_time(config: TrainConfig, device: torch.device) -> int:
    """Return how many views go through the student at a time."""
    return config.micro_batch or _MICRO_BATCH.get(device.type, _MICRO_BATCH_GPU)


def dealt_out(num_views: int, at_a_time: int) -> Iterator[slice]:
    """Deal a batch out into near-equal parts.

    Dealt like cards, the m views of an image go to different parts, so batch norm sees as many different
    images as it can; and no part is left with one view, which has no batch statistics.
    """
    parts = -(-num_views // at_a_time)
    return (slice(part, None, parts) for part in range(parts))
