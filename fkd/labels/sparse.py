"""Labels that come as K classes and what each other one has: kept as a store keeps them, and measured.

They are the labels of other programs, and those of stores. Nothing of size C is made of them.

Legend: B crops, C classes, K classes that a label names, k of them that are kept.
"""

import torch
from torch import Tensor

from fkd.amounts import as_count
from fkd.config import Scheme
from fkd.errors import SoftLabelError
from fkd.labels.fidelity import NUM_MEASURES, SHARE_TEMPERATURES
from fkd.labels.quantization import as_codes, restore
from fkd.labels.soft import SoftLabels

_LOG_FLOOR = -100.0  # what a class that a label rules out costs at most, as in `compared`


def quantize_sparse(labels: SoftLabels, scheme: Scheme) -> dict[str, Tensor]:
    """Keep the first k of labels whose `value` f32 [B, K] falls; the others join the residual.

    The arrays are those that `quantize` makes of the same labels written out, f32 [B, C]. Raises
    `SoftLabelError` for dense labels, and for a scheme that asks for more than K classes or a deviation.
    """
    index, num_classes = _require_sparse(labels)
    k = scheme.kept(num_classes)
    if scheme.kind in ("full", "samples") or k > index.shape[1]:
        raise SoftLabelError(
            f"labels of {as_count(index.shape[1], 'class')} and a residual cannot be kept as {scheme}; "
            "keep fewer"
        )
    if scheme.deviation:
        raise SoftLabelError(
            f"labels of {as_count(index.shape[1], 'class')} and a residual do not tell the deviation of "
            f"logits that {scheme} keeps; choose {scheme.without_deviation}"
        )
    if scheme.kind == "hard":
        return {"index": index[:, :1]}
    value = labels.value[:, :k]
    tail = _residual(labels, k) / max(1, num_classes - k)
    entries = torch.cat([value[:, 1:], torch.minimum(tail, value[:, -1])[:, None]], dim=1)
    return {"index": index[:, :k], "code": as_codes(value[:, :1], entries, scheme)}


def sparse_fidelity(labels: SoftLabels, kept: dict[str, Tensor], scheme: Scheme) -> Tensor:
    """Return what kept labels give up of the labels that came: six numbers each, f32 [B, 6].

    They are those of `row_fidelity`, with p the label that came. Its own residual counts as even, as its
    format spreads it: what an even residual cost when it was made is not known, and not counted.
    """
    index, num_classes = _require_sparse(labels)
    k = scheme.kept(num_classes)
    shares = _kept_shares(labels, k, num_classes - index.shape[1])
    if scheme.kind == "hard":
        none = torch.full_like(shares[0], torch.nan)
        return torch.stack([none, none, *shares], dim=1)
    read = restore(kept, scheme, scheme.whole, num_classes)
    top, residual = labels.value[:, :k], _residual(labels, k)
    at_top = (torch.special.xlogy(top, top) - top * _log(read.value)).sum(dim=1)
    # Of the classes that are not kept, K - k were named by the label, and the rest are even.
    dropped = labels.value[:, k:]
    at_rest = torch.special.xlogy(dropped, dropped).sum(dim=1) - residual * _log(read.tail)
    rest = residual - dropped.sum(dim=1)
    at_rest += torch.special.xlogy(rest, labels.tail)
    pooled = residual / max(1, num_classes - k)
    as_one = torch.special.xlogy(residual, pooled) - residual * _log(read.tail)
    quantization = (at_top + as_one).clamp(min=0)
    evenness = (at_rest - as_one).clamp(min=0)
    return torch.stack([quantization + evenness, quantization, *shares], dim=1)


def _require_sparse(labels: SoftLabels) -> tuple[Tensor, int]:
    if labels.index is None or labels.num_classes is None:
        raise SoftLabelError("these labels name no classes; give sparse ones that say how many are")
    return labels.index, labels.num_classes


def _residual(labels: SoftLabels, k: int) -> Tensor:
    """Return the sum over all but the first k classes, f32 [B]."""
    assert labels.index is not None
    assert labels.num_classes is not None
    even = labels.num_classes - labels.index.shape[1]
    return labels.value[:, k:].sum(dim=1) + labels.tail * even


def _kept_shares(labels: SoftLabels, k: int, even: int) -> list[Tensor]:
    """Return what the first k classes hold at each temperature, f32 [B]."""
    shares = []
    for temperature in SHARE_TEMPERATURES:
        value, tail = labels.value ** (1 / temperature), labels.tail ** (1 / temperature)
        held, whole = value[:, :k].sum(dim=1), value.sum(dim=1) + tail * even
        shares.append(held / whole)
    assert len(shares) == NUM_MEASURES - 2
    return shares


def _log(probs: Tensor) -> Tensor:
    return probs.log().clamp(min=_LOG_FLOOR)
