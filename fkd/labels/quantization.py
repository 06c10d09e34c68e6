"""Soft labels: quantize what the teacher said, and restore it for the loss.

The four quantizers of FKD §3.3, one branch per scheme. With p the teacher's probabilities over C
classes and K the kept classes of a crop, in falling order:

- full: log p of every class, float16; coarse, a code of each class, its log-ratio to the largest in steps
  of 1/8 nat, uint8.
- hard: the id of the largest p.
- smoothing: as top-K with K = 1.
- samples: K classes drawn from p, the same one perhaps more than once; see `samples`. It is no quantizer
  of the paper.
- top-K: the ids, and for ranks 2 … K and for the tail a code; the tail counts as one more entry, the
  mean of the classes that are not kept, (1 - Σ kept) / (C - K), which is never above the smallest
  kept value. A code is the entry's log-ratio to the largest value in steps of 1/8 nat, of 3/4 where
  the scheme is coarse, uint8, so codes never fall with rank. The largest value follows from the sum
  being 1. With a deviation, one code more for the standard deviation σ of the teacher's logits over
  all C classes, 16 (log2 σ + 8), uint8: steps of a sixteenth of an octave from 0.004 to 245. Logits are
  log p but for a constant, which σ does not see. Softmax does not see their mean, so p and σ tell the
  label of standardized logits.

Legend: B crops, C classes, K kept classes.
"""

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from fkd.config import Scheme
from fkd.errors import SoftLabelError
from fkd.labels.readings import check_reading
from fkd.labels.samples import as_labels, draw
from fkd.labels.soft import SoftLabels

# Quantized soft labels by the name of the store's array: "log_prob" f16 [B, C] for full, "log_code"
# u8 [B, C] where that is coarse, "index" int64 [B, K] for all others, of samples in no order, and "code"
# u8 [B, K] (ranks 2 … K, then the tail) for top-K, with "deviation" u8 [B, 1] where it is kept.
Quantized = Mapping[str, Tensor]

# Exactly zero; 254 is the smallest value that is not, e^-31.75 of the largest or less.
ZERO_CODE = 255

_PER_OCTAVE, _OCTAVES_BELOW_ONE = 16, 8  # of codes of deviations

_FLOOR = -100.0  # log of a probability that float32 could not hold; float16 holds it well
_SUM_TOLERANCE = 1e-3


def quantize(probs: Tensor, scheme: Scheme, draws: Tensor | None = None) -> dict[str, Tensor]:
    """Quantize teacher probabilities, f32 [B, C], on their own device and without waiting for it.

    `draws`, f64 [B] in [0, 1) on the CPU, decide which classes are sampled; other schemes need none.
    The labels of `faulty_rows` mean nothing. Raises `SoftLabelError` where samples have no draws.
    """
    if scheme.kind == "samples":
        if draws is None:
            raise SoftLabelError(
                f"{scheme} needs draws; give a number in [0, 1) for each crop, f64 [B]"
            )
        return {"index": draw(probs, scheme.k, draws)}
    if scheme.kind == "full" and scheme.coarse:
        return {"log_code": as_codes(probs.amax(dim=1, keepdim=True), probs, scheme)}
    if scheme.kind == "full":
        return {"log_prob": probs.log().clamp_(min=_FLOOR).half()}
    num_classes = probs.shape[1]
    value, index = probs.topk(scheme.kept(num_classes), dim=1)
    if scheme.kind == "hard":
        return {"index": index}
    # Summing what is left is exact where one minus the kept sum would cancel.
    others = max(1, num_classes - index.shape[1])
    tail = probs.scatter(1, index, 0.0).sum(dim=1, keepdim=True) / others
    entries = torch.cat([value[:, 1:], torch.minimum(tail, value[:, -1:])], dim=1)
    kept = {"index": index, "code": as_codes(value[:, :1], entries, scheme)}
    return kept | {"deviation": _deviation_codes(probs)} if scheme.deviation else kept


def _deviation_codes(probs: Tensor) -> Tensor:
    """Return the codes u8 [B, 1] of the deviation of log p over all classes, of probabilities [B, C]."""
    log = probs.clamp(min=torch.finfo(probs.dtype).tiny).log_()
    deviation = log.std(dim=1, correction=min(1, probs.shape[1] - 1), keepdim=True)
    code = (_PER_OCTAVE * (deviation.log2() + _OCTAVES_BELOW_ONE)).round()
    return code.clamp_(0, 255).to(torch.uint8)


def _deviations(code: Tensor) -> Tensor:
    """Turn codes u8 [B, 1] into deviations, f32 [B]."""
    return torch.exp2(code[:, 0].float() / _PER_OCTAVE - _OCTAVES_BELOW_ONE)


def as_codes(largest: Tensor, entries: Tensor, scheme: Scheme) -> Tensor:
    """Return the codes u8 [B, …] of entries beside the largest value [B, 1]."""
    log_ratio = largest.log() - entries.log()
    code = (log_ratio * (1 / scheme.step)).round().clamp(0, ZERO_CODE - 1)
    return code.masked_fill(entries == 0, ZERO_CODE).to(torch.uint8)


def faulty_rows(probs: Tensor) -> Tensor:
    """Return which rows are no distribution, bool [B]: a value is < 0 or no number, or the sum not 1."""
    return ~((probs.sum(dim=1) - 1).abs() <= _SUM_TOLERANCE) | (probs < 0).any(dim=1)


def restore(
    kept: Quantized, stored: Scheme, wanted: Scheme, num_classes: int, temperature: float = 1.0
) -> SoftLabels:
    """Read quantized labels as `wanted`; raises `SoftLabelError` where `stored` cannot give that.

    `temperature` re-tempers what is stored, p^(1/T) normalised anew, before it is narrowed to the
    wanted K. That is exact for full; for top-K the tail's classes share their residual evenly, and
    samples have none but their own. A deviation that is stored goes with the label, but for hard ones.
    """
    check_reading(stored, wanted, temperature, num_classes)
    deviation = None
    if stored.kind == "full":
        probs = _dense(kept, stored, temperature)
        if wanted.kind == "full":
            return SoftLabels(None, probs, probs.new_zeros(len(probs)), num_classes)
        value, index = probs.topk(wanted.kept(num_classes), dim=1)
        others = probs.scatter(1, index, 0.0).sum(dim=1)
        tail = others / max(1, num_classes - index.shape[1])
    else:
        index = kept["index"].long()
        if stored.kind == "hard":
            return _hard(index, num_classes)
        if stored.kind == "samples":
            return as_labels(index, num_classes)
        value, tail = _decode(kept["code"], index.shape[1], stored, num_classes, temperature)
        if stored.deviation:
            deviation = _deviations(kept["deviation"]) / temperature
    if wanted.kind == "hard":
        return _hard(index, num_classes)
    return replace(_keep(index, value, tail, wanted, num_classes), deviation=deviation)


def _hard(index: Tensor, num_classes: int) -> SoftLabels:
    ones = torch.ones((len(index), 1), dtype=torch.float32, device=index.device)
    return SoftLabels(index[:, :1], ones, ones.new_zeros(len(index)), num_classes)


def _dense(kept: Quantized, stored: Scheme, temperature: float) -> Tensor:
    """Turn what is kept of all classes into probabilities, f32 [B, C]."""
    if not stored.coarse:
        return (kept["log_prob"].float() / temperature).softmax(dim=1)
    ratio = ratios(kept["log_code"], stored, temperature)
    return ratio / ratio.sum(dim=1, keepdim=True)


def ratios(code: Tensor, stored: Scheme, temperature: float = 1.0) -> Tensor:
    """Turn codes u8 [B, …] into ratios to the largest value, f32."""
    ratio = torch.exp(code.float() / (-1 / stored.step * temperature))
    return ratio.masked_fill(code == ZERO_CODE, 0.0)


def _decode(
    code: Tensor, k: int, stored: Scheme, num_classes: int, temperature: float
) -> tuple[Tensor, Tensor]:
    """Turn codes u8 [B, K] into values f32 [B, K] and the tail f32 [B] of each other class."""
    ratio = ratios(code, stored, temperature)
    value = torch.cat([ratio.new_ones((len(ratio), 1)), ratio[:, :-1]], dim=1)
    tail = ratio[:, -1] if num_classes > k else ratio.new_zeros(len(ratio))
    total = value.sum(dim=1) + tail * (num_classes - k)
    return value / total[:, None], tail / total


def _keep(
    index: Tensor, value: Tensor, tail: Tensor, wanted: Scheme, num_classes: int
) -> SoftLabels:
    """Narrow K kept values and their tail to the wanted K and apply its tail rule (FKD §3.3)."""
    had, k = value.shape[1], wanted.kept(num_classes)
    top = value[:, :k]
    if wanted.kind == "topk" and wanted.tail == "renorm":
        share = top / top.sum(dim=1, keepdim=True)
        return SoftLabels(index[:, :k], share, torch.zeros_like(tail), num_classes)
    residual = value[:, k:].sum(dim=1) + tail * (num_classes - had)
    return SoftLabels(index[:, :k], top, residual / max(1, num_classes - k), num_classes)
