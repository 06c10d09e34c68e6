"""The teacher's labels beside what is kept of them, crop by crop.

Legend: B crops, C classes, K kept classes.
"""

import torch
from torch import Tensor

from fkd.config import Scheme
from fkd.labels.fidelity import NUM_MEASURES, SHARE_TEMPERATURES
from fkd.labels.quantization import Quantized, restore
from fkd.labels.soft import SoftLabels

# Below every log of a float32, so that 0 · log 0 counts as 0; and e^-100, a tenth of it, is nothing.
_LOG_OF_ZERO = -1000.0
# A class that a label rules out and a teacher does not costs as much as the full scheme's lowest.
_LOG_FLOOR = -100.0


def row_fidelity(probs: Tensor, kept: Quantized, scheme: Scheme) -> Tensor:
    """Return what labels give up of the teacher's probabilities f32 [B, C]: six numbers each, f32 [B, 6].

    With p the teacher's label, q what `restore` gives of the whole of it, and R the residual, p's sum
    over the classes that are not kept:

        0      KL(p ‖ q), nats
        1      Σ_kept p log(p / q) + R log(R / R_q), nats: quantization, with the residual as one outcome
        2 … 5  Σ_kept p^(1/T) / Σ p^(1/T) for T = 1, 2, 4, 10

    The first is the second and Σ_others p log(p · (C - K) / R), what the evenness of the residual costs.
    Of hard labels, which rule classes out, the first two are NaN; of samples, which are true on average
    alone, all six. All is done on the device of `probs`,
    without waiting for it.
    """
    if scheme.kind == "samples":
        return probs.new_full((len(probs), NUM_MEASURES), torch.nan)
    label = restore(kept, scheme, scheme.whole, probs.shape[1])
    if label.index is None:
        kl = (torch.special.xlogy(probs, probs) - probs * _log(label.value)).sum(dim=1)
        every = torch.ones_like(kl)
        return torch.stack([kl.clamp(min=0)] * 2 + [every] * len(SHARE_TEMPERATURES), dim=1)
    return _sparse(probs, label, label.index, divergent=scheme.kind != "hard")


def _sparse(probs: Tensor, label: SoftLabels, index: Tensor, *, divergent: bool) -> Tensor:
    """Measure labels of K classes and a tail; those that rule classes out are not `divergent`."""
    top, others = probs.gather(1, index), probs.scatter(1, index, 0.0)
    log_others = others.log().clamp_(min=_LOG_OF_ZERO)
    weighed = torch.linalg.vecdot(others, log_others)
    shares = _kept_shares(top, others, log_others)
    if not divergent:
        none = torch.full_like(shares[0], torch.nan)
        return torch.stack([none, none, *shares], dim=1)
    count, rest = max(1, probs.shape[1] - index.shape[1]), others.sum(dim=1)
    kept = torch.special.xlogy(top, top) - top * _log(label.value)
    residual = torch.special.xlogy(rest, rest) - rest * _log(label.tail * count)
    quantization = (kept.sum(dim=1) + residual).clamp_(min=0)
    # A share of the smallest numbers is 0, and its logarithm without end.
    share = (rest / count).clamp_(min=torch.finfo(rest.dtype).tiny)
    evenness = weighed - torch.special.xlogy(rest, share)
    return torch.stack([quantization + evenness.clamp_(min=0), quantization, *shares], dim=1)


def _kept_shares(top: Tensor, others: Tensor, log_others: Tensor) -> list[Tensor]:
    """Return what the kept classes hold at each temperature, f32 [B]; roots are cheaper than logs.

    `log_others` are overwritten: of maps, each of these has as many numbers as the teacher said.
    """
    root = top.sqrt()
    kept = [part.sum(dim=1) for part in (top, root, root.sqrt(), top**0.1)]
    rest, root = [others.sum(dim=1)], others.sqrt()
    rest += [root.sum(dim=1), root.sqrt_().sum(dim=1), log_others.mul_(0.1).exp_().sum(dim=1)]
    return [mine / (mine + theirs) for mine, theirs in zip(kept, rest, strict=True)]


def _log(probs: Tensor) -> Tensor:
    return probs.log().clamp_(min=_LOG_FLOOR)
