"""Stored labels as another scheme keeps them, without the teacher.

Legend: n images, m crops of each, C classes, A and K the classes that are kept before and after.
"""

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from fkd.config import Scheme
from fkd.labels.kept import KeptLabels, StoredArray
from fkd.labels.quantization import ZERO_CODE, as_codes, quantize, ratios, restore

# Probabilities that are made at once, of all classes of some crops.
_VALUES_AT_ONCE = 2**23


def narrowed(
    kept: Mapping[str, StoredArray], stored: Scheme, wanted: Scheme, num_classes: int
) -> dict[str, StoredArray]:
    """Return labels [n, m, …] of a scheme as the scheme `wanted` keeps them.

    `check_narrowing` must have allowed it. Beside labels that a teacher makes of the same views:

    - Of top-K labels the classes are the same, and so are their codes. The tail pools what is kept no
      more, r_K = (Σ_{K<i≤A} r_i + (C - A) r_A) / (C - K), with r the ratios to the largest value. Each
      is within half a step of the teacher's, so their mean is too, and its code is the teacher's or one
      beside it, as long as none of them is the least that a code can say, e^-31.75.
    - Codes of 1/8 nat become those of 3/4 by rounding once more. They are the teacher's but for those in
      the middle between two, which may be the one or the other.
    - Of coarse labels, classes of equal codes stand in no order, so of those at the K-th place another
      may be kept.
    - Of full labels, p is what is stored, normalised. What float16 or 8 bits rounded may move a code by
      one, and let classes change places that were as near.
    """
    if stored == wanted:
        return dict(kept)
    if stored.kind == "full":
        return _of_all_classes(kept, stored, wanted, num_classes)
    k = wanted.kept(num_classes)
    narrow = {"index": kept["index"][..., :k]}
    if wanted.kind != "hard":
        code = torch.from_numpy(kept["code"])
        narrow["code"] = _narrow_codes(code, stored, wanted, k, num_classes).numpy()
    if wanted.deviation:  # of all classes, whatever is kept of them
        narrow["deviation"] = kept["deviation"]
    return narrow


def _of_all_classes(
    kept: Mapping[str, StoredArray], stored: Scheme, wanted: Scheme, num_classes: int
) -> dict[str, StoredArray]:
    """Quantize dense labels [n, m, C] anew, few crops at a time."""
    first = next(iter(kept.values()))
    labels = KeptLabels(wanted, num_classes).empty(*first.shape[:2])
    flat = {name: values.reshape(-1, values.shape[-1]) for name, values in labels.items()}
    for rows, part in some_crops(kept, num_classes):
        probs = restore(part, stored, stored.whole, num_classes).value
        for name, values in quantize(probs, wanted).items():
            flat[name][rows] = values.numpy()
    return labels


def some_crops(
    kept: Mapping[str, StoredArray], width: int
) -> Iterator[tuple[slice, dict[str, Tensor]]]:
    """Yield labels [n, m, …] as tensors [b, …], few crops at a time: `width` values are made of each."""
    flat = {name: values.reshape(-1, values.shape[-1]) for name, values in kept.items()}
    count = len(next(iter(flat.values())))
    step = max(1, _VALUES_AT_ONCE // width)
    for first in range(0, count, step):
        rows = slice(first, min(first + step, count))
        yield rows, {name: _as_tensor(values[rows]) for name, values in flat.items()}


def _as_tensor(values: StoredArray) -> Tensor:
    """Return an array as a tensor; ids, which are below 2^31, as signed numbers."""
    return torch.from_numpy(values.view("int32") if values.dtype == "uint32" else values)


def _narrow_codes(code: Tensor, stored: Scheme, wanted: Scheme, k: int, num_classes: int) -> Tensor:
    """Return codes u8 [n, m, K] of ranks 2 to K and of the tail, from those u8 [n, m, A] of A classes."""
    had = code.shape[-1]
    if k == had:
        return _in_steps(code, stored, wanted)
    ranks = _in_steps(code[..., : k - 1], stored, wanted)
    ratio = ratios(code[..., k - 1 :], stored)
    pooled = ratio[..., :-1].sum(dim=-1, keepdim=True) + ratio[..., -1:] * (num_classes - had)
    tail = as_codes(torch.ones(()), pooled / (num_classes - k), wanted)
    if k > 1:  # two roundings of two equal numbers may differ, and codes never fall with rank
        tail = torch.maximum(tail, ranks[..., -1:])
    return torch.cat([ranks, tail], dim=-1)


def _in_steps(code: Tensor, stored: Scheme, wanted: Scheme) -> Tensor:
    """Return codes in the steps of another scheme."""
    if stored.step == wanted.step:
        return code
    steps = (code.float() * stored.step / wanted.step).round().clamp(0, ZERO_CODE - 1)
    return steps.masked_fill(code == ZERO_CODE, ZERO_CODE).to(torch.uint8)
