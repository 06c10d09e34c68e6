"""Refuse what decodes and yet cannot be: boxes outside of their images, ids that are no class, NaN.

A checksum says that bytes are those that were written, not that they were written by a labeller.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def outside(box: Array, size: Array) -> NDArray[np.bool_]:
    """Say of boxes u16 [n, m, 4] whether they leave their images of size u16 [n, 2]: bool [n, m].

    An image of size (0, 0) has no labels, and its boxes mean nothing.
    """
    wrong = np.zeros(box.shape[:2], np.bool_)
    for side in (0, 1):
        first, extent, whole = box[..., side], box[..., side + 2], size[:, side, None]
        # In 16 bits: an extent of 0 wraps to more than any image has, and so is outside.
        wrong |= (first >= whole) | (extent - 1 > whole - 1 - first)
    wrong[(size == 0).all(axis=1)] = False
    return wrong


def label_fault(kept: Mapping[str, Array], num_classes: int) -> str | None:
    """Say what is wrong with quantized labels as they are read, [n, m, …], or return None."""
    if "index" in kept and kept["index"].size and int(kept["index"].max()) >= num_classes:
        return f"class id {int(kept['index'].max())} is not below {num_classes}"
    if "log_prob" in kept and not np.isfinite(kept["log_prob"]).all():
        return "a log-probability is not finite"
    return None


def disordered(kept: Mapping[str, Array]) -> NDArray[np.bool_]:
    """Say of crops whether their labels are none that a labeller writes, bool [n, m].

    Ids of a crop differ, codes never fall with rank, and probabilities of all classes sum to 1. Reading
    does not depend on it, so that this is for whoever checks a store.
    """
    if "log_prob" in kept:
        total = np.exp(kept["log_prob"].astype(np.float32)).sum(axis=2)
        unlike: NDArray[np.bool_] = ~(np.abs(total - 1) <= 0.02)
        return unlike
    ids = np.sort(kept["index"], axis=2)
    wrong: NDArray[np.bool_] = (ids[..., 1:] == ids[..., :-1]).any(axis=2)
    if "code" in kept:
        wrong |= (kept["code"][..., 1:] < kept["code"][..., :-1]).any(axis=2)
    return wrong
