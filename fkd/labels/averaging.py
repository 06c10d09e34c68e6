"""The mean of several teachers' labels of the same views, from what stores keep of them.

Legend: n images, m crops of each, b crops, C classes; store t of T keeps K_t classes, U = Σ K_t.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Scheme
from fkd.labels.compared import row_fidelity
from fkd.labels.fidelity import NUM_MEASURES
from fkd.labels.kept import KeptLabels, StoredArray
from fkd.labels.narrowing import some_crops
from fkd.labels.quantization import as_codes, quantize, restore
from fkd.labels.soft import SoftLabels

_LAST = np.iinfo(np.int64).max  # sorted behind all others


def averaged(
    kept: Sequence[Mapping[str, StoredArray]],
    schemes: Sequence[Scheme],
    weights: Sequence[float],
    wanted: Scheme,
    num_classes: int,
) -> dict[str, StoredArray]:
    """Return the mean of T stores' labels [n, m, …] as the scheme `wanted` keeps it; weights sum to 1.

    `check_averaging` must have allowed it. With p_t the teachers' labels and q_t what stores keep of
    them, read whole, the mean is q = Σ w_t q_t. Where all keep all classes it is the teachers' own,
    p = Σ w_t p_t, but for their rounding. A store that keeps K_t classes says of each other one what its
    residual is on average, and then:

    - TV(p, q) ≤ Σ w_t TV(p_t, q_t), by the triangle inequality class by class.
    - KL(p ‖ q) ≤ Σ w_t KL(p_t ‖ q_t), by the log-sum inequality Σ a_t log(a_t / b_t) ≥ a log(a / b) class
      by class, with a_t = w_t p_t and b_t = w_t q_t.
    - A class that every store keeps has its right value, but for rounding. One that some do not keep is
      off by at most the smallest value that each of those keeps, times its weight.

    Then the top K of q are kept, quantized once. They are among the U classes that a store keeps, since
    such a class has w_t q_t above its store's tail and no less than the tails of the others. The label
    l that is stored has TV(p, l) ≤ TV(p, q) + TV(q, l).
    """
    wide = any(scheme.kind == "full" for scheme in schemes)
    # Of sparse labels so few at a time that they stay in the cache.
    width = num_classes if wide else 16 * sum(scheme.kept(num_classes) for scheme in schemes)
    labels = KeptLabels(wanted, num_classes).empty(*next(iter(kept[0].values())).shape[:2])
    flat = {name: values.reshape(-1, values.shape[-1]) for name, values in labels.items()}
    for parts in zip(*(some_crops(each, width) for each in kept), strict=True):
        read = [
            restore(part, scheme, scheme.whole, num_classes)
            for (_, part), scheme in zip(parts, schemes, strict=True)
        ]
        for name, values in _mean(read, weights, wanted, num_classes).items():
            flat[name][parts[0][0]] = values.numpy()
    return labels


def _mean(
    labels: Sequence[SoftLabels], weights: Sequence[float], wanted: Scheme, num_classes: int
) -> dict[str, Tensor]:
    if any(label.index is None for label in labels):
        return quantize(_dense_mean(labels, weights, num_classes), wanted)
    return _top_of_union(labels, weights, wanted, num_classes)


def _dense_mean(labels: Sequence[SoftLabels], weights: Sequence[float], num_classes: int) -> Tensor:
    """Return the mean of labels, f32 [b, C]."""
    probs = torch.zeros((len(labels[0]), num_classes))
    for label, weight in zip(labels, weights, strict=True):
        probs += weight * label.dense(num_classes)
    return probs


def _top_of_union(
    labels: Sequence[SoftLabels], weights: Sequence[float], wanted: Scheme, num_classes: int
) -> dict[str, Tensor]:
    """Quantize the mean of sparse labels, of which no dense form is made."""
    shares = list(zip(labels, weights, strict=True))
    tail = torch.stack([weight * label.tail for label, weight in shares]).sum(dim=0)
    # What a store adds to the mean of the tails where it keeps a class.
    gain = torch.cat([w * (label.value - label.tail[:, None]) for label, w in shares], dim=1)
    index = torch.cat([label.index for label in labels if label.index is not None], dim=1)
    every, value, distinct = _sorted_union(index, gain.clamp_(min=0), tail, len(labels))
    k = wanted.kept(num_classes)
    if wanted.kind == "hard":
        return {"index": every[:, :k]}
    # Summing what is left is exact where one minus the kept sum would cancel.
    left = value[:, k:].sum(dim=1) + (num_classes - distinct) * tail
    rest = torch.minimum(left / max(1, num_classes - k), value[:, k - 1])[:, None]
    entries = torch.cat([value[:, 1:k], rest], dim=1)
    return {"index": every[:, :k], "code": as_codes(value[:, :1], entries, wanted)}


def _sorted_union(
    index: Tensor, gain: Tensor, tail: Tensor, num_stores: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the classes int64 [b, U] and values f32 [b, U] of a mean by falling value, and their number.

    `index` int64 [b, U] are the classes that stores keep, `gain` f32 [b, U] what each adds to the mean of
    the tails, `tail` f32 [b]. A class that several keep is there once; behind the last are zeros. Numbers
    that go together are sorted as one of 64 bits, the class or the value above: floats that are not
    negative rise as their bits do.
    """
    key = index.numpy() << 32 | gain.numpy().view(np.int32)
    key.sort(axis=1)
    classes, gains = key >> 32, key.astype(np.uint32).view(np.float32)
    value = tail.numpy()[:, None] + gains
    for apart in range(1, num_stores):
        same = classes[:, apart:] == classes[:, :-apart]
        value[:, :-apart] += np.where(same, gains[:, apart:], np.float32(0))
    falling = classes - (value.view(np.int32).astype(np.int64) << 32)
    falling[:, 1:][classes[:, 1:] == classes[:, :-1]] = _LAST
    falling.sort(axis=1)
    there = falling != _LAST
    value = (-(falling >> 32)).astype(np.int32).view(np.float32)
    return (
        torch.from_numpy(falling & 0xFFFF_FFFF),
        torch.from_numpy(np.where(there, value, np.float32(0))),
        torch.from_numpy(there.sum(axis=1)),
    )


def averaged_fidelity(
    before: Sequence[NDArray[np.float32]],
    kept: Sequence[Mapping[str, StoredArray]],
    schemes: Sequence[Scheme],
    weights: Sequence[float],
    mean: Mapping[str, StoredArray],
    wanted: Scheme,
    num_classes: int,
) -> NDArray[np.float32]:
    """Return the means f32 [6] of `row_fidelity` of an average's labels, from those of its sources.

    All crops must have labels. With p the mean of the teachers, q that of the stores and l what is kept
    of it, KL(p ‖ l) = KL(p ‖ q) + Σ p log(q / l). The first is at most Σ w_t KL(p_t ‖ q_t), and the
    second is KL(q ‖ l) but for the rounding of q. All six are NaN where a store does not keep all
    classes: of those that one keeps and another does not, nothing says what Σ p log(q / l) is.
    """
    unknown = any(
        np.isnan(each).all() and s.coarse for each, s in zip(before, schemes, strict=True)
    )
    sparse = any(scheme.kind != "full" for scheme in schemes)
    if unknown or sparse or not next(iter(kept[0].values())).size:
        return np.full(NUM_MEASURES, np.nan, np.float32)
    sums, count = torch.zeros(NUM_MEASURES, dtype=torch.float64), 0
    for (rows, part), *parts in zip(
        some_crops(mean, num_classes), *(some_crops(k, num_classes) for k in kept), strict=True
    ):
        read = [
            restore(each, scheme, scheme.whole, num_classes)
            for (_, each), scheme in zip(parts, schemes, strict=True)
        ]
        labels = {name: v.long() if name == "index" else v for name, v in part.items()}
        measured = row_fidelity(_dense_mean(read, weights, num_classes), labels, wanted)
        sums += measured.double().sum(dim=0)
        count += rows.stop - rows.start
    found = (sums / count).numpy()
    found[:2] += sum(w * np.nan_to_num(b[:2]) for w, b in zip(weights, before, strict=True))
    return found.astype(np.float32)
