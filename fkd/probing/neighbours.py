"""Nearest neighbours by cosine, and the class that they vote for (Wu et al., CVPR 2018)."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from fkd.amounts import as_count
from fkd.errors import ConfigError

# Features that are compared with, f32 [N, D], and their classes, int64 [N].
Bank = tuple[Tensor, Tensor]

# Vectors that are compared at a time with so many of the bank: 64 MiB of cosines.
_QUERIES, _BANK = 1024, 16_384


@torch.inference_mode()
def knn_top1(
    features: Tensor,
    classes: Tensor,
    bank: Bank | None = None,
    k: int = 20,
    temperature: float = 0.07,
) -> float:
    """Return how often the k nearest neighbours vote for the class of a vector, a share in [0, 1].

    `features` are f32 [n, D] and `classes` int64 [n] of 0 and above. Neighbours are found in the `bank`
    or, without one, among the other n - 1. Each votes for its class with exp(cos / T), T the
    `temperature` (Wu et al., CVPR 2018, section 3.4). Raises `ConfigError` where there are fewer than k.
    """
    cosines, rows = nearest(features, k, None if bank is None else bank[0])
    voters = (classes if bank is None else bank[1])[rows]
    # The nearest one's weight is 1, so that no temperature makes a weight infinite.
    weights = ((cosines - cosines[:, :1]) / temperature).exp()
    num_classes = 1 + int(max(classes.max(), voters.max()))
    hits = torch.zeros((), dtype=torch.int64, device=features.device)
    for first, some in _parts(weights, _QUERIES):
        own = slice(first, first + len(some))
        votes = some.new_zeros(len(some), num_classes)
        for rank in range(k):  # all at once, a GPU would add in another order every time
            votes.scatter_add_(1, voters[own, rank, None], some[:, rank, None])
        hits += (votes.argmax(dim=1) == classes[own]).sum()
    return int(hits) / len(features)


@torch.inference_mode()
def nearest(features: Tensor, k: int, bank: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return the k vectors of a bank that are most like each of `features`, f32 [n, D], by cosine.

    The bank is f32 [N, D] or, without one, `features` themselves, of which each leaves itself out.
    Returns cosines f32 [n, k], falling, and rows of the bank, int64 [n, k]. A vector of zeros has
    cosine 0 to all. Memory beside the vectors does not grow with n · N. Raises `ConfigError` where the
    bank has fewer than k, and where a number is not finite.
    """
    check_k(k, len(features) - 1 if bank is None else len(bank))
    if not (features.isfinite().all() and (bank is None or bank.isfinite().all())):
        raise ConfigError(
            "features are not finite, and have no neighbours; take another checkpoint"
        )
    queries = functional.normalize(features, dim=1)
    best = queries.new_full((len(queries), k), -torch.inf)
    rows = torch.zeros(len(queries), k, dtype=torch.int64, device=queries.device)
    for first, part in _parts(queries if bank is None else bank, _BANK):
        against = part if bank is None else functional.normalize(part, dim=1)
        for start, some in _parts(queries, _QUERIES):
            cosines = some @ against.T
            if bank is None:
                _leave_itself_out(cosines, start - first)
            here = cosines.topk(min(k, len(part)), dim=1)
            own = slice(start, start + len(some))
            both = torch.cat([best[own], here.values], dim=1).topk(k, dim=1)
            known = torch.cat([rows[own], here.indices + first], dim=1)
            best[own], rows[own] = both.values, known.gather(1, both.indices)
    return best, rows


def check_k(k: int, size: int) -> None:
    """Raise `ConfigError` where there are fewer than k images to be neighbours."""
    if size < 1:
        raise ConfigError("one image alone has no neighbours; give more images")
    if not 1 <= k <= size:
        raise ConfigError(
            f"--k is {k:,}, and there are {as_count(size, 'image')} to be neighbours; give a k from 1 "
            f"to {size:,}"
        )


def _parts(vectors: Tensor, size: int) -> Iterator[tuple[int, Tensor]]:
    """Yield pieces of vectors with the row at which each begins."""
    starts = range(0, len(vectors), size)
    return ((start, vectors[start : start + size]) for start in starts)


def _leave_itself_out(cosines: Tensor, offset: int) -> None:
    """Make each row's cosine with itself, in column row + offset, that of nobody."""
    first, stop = max(0, -offset), min(len(cosines), cosines.shape[1] - offset)
    if first < stop:
        cosines[first:stop, first + offset : stop + offset].diagonal().fill_(-torch.inf)
