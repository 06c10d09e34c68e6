"""What labels give up of the teacher's once another scheme keeps them: six means, without the teacher.

Legend: b crops, C classes, A and K the classes that are kept before and after, p the teacher's label,
q_A and q_K what the two schemes keep of it, read whole.
"""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import Scheme
from fkd.labels.compared import row_fidelity
from fkd.labels.fidelity import NUM_MEASURES, SHARE_TEMPERATURES
from fkd.labels.kept import StoredArray
from fkd.labels.narrowing import some_crops
from fkd.labels.quantization import ZERO_CODE, Quantized, restore

_NUM_SHARES = len(SHARE_TEMPERATURES)


def narrowed_fidelity(
    before: NDArray[np.float32],
    kept: Mapping[str, StoredArray],
    stored: Scheme,
    narrow: Mapping[str, StoredArray],
    wanted: Scheme,
    num_classes: int,
) -> NDArray[np.float32]:
    """Return the means f32 [6] of `row_fidelity` of labels `narrow` [n, m, …], from those of `kept`.

    All crops must have labels. All six are NaN where `before` is, which is not known, unless that is of
    float16 of all classes: those are the teacher's label but for 1e-7 nats.

    KL(p ‖ q_K) = KL(p ‖ q_A) + Σ p log(q_A / q_K), and the last sum asks of p only what A kept classes
    and their residual hold: elsewhere the ratio is the same. q_A has these numbers but for its own
    rounding, whose sign is as often the one as the other, so the sum is KL(q_A ‖ q_K), and the
    divergence is exact but for that rounding: to a thousandth of a nat, and a few hundredths of coarse
    labels. What quantization costs is at most what it cost, and the divergence of the two labels with
    the residual of q_K as one outcome: outcomes that are pooled are never further apart.

    The share of kept classes at temperature 1 is exact but for rounding. At others it is that of q_A,
    s_K, times what was measured of p over the same of q_A, s / s_A. Even residuals have the largest sum
    of roots, so the share lies between s_K and s.
    """
    if stored.without_deviation == wanted.without_deviation:
        return before
    known = before
    if np.isnan(before).all() and stored.kind == "full" and not stored.coarse:
        known = np.array([0, 0, *[1] * _NUM_SHARES], np.float32)
    if np.isnan(known).all() or wanted.kind == "samples" or not next(iter(kept.values())).size:
        return np.full(NUM_MEASURES, np.nan, np.float32)
    sums, count = torch.zeros(NUM_MEASURES + _NUM_SHARES, dtype=torch.float64), 0
    wide = num_classes if stored.kind == "full" else 32 * kept["index"].shape[-1]
    both = zip(some_crops(kept, wide), some_crops(narrow, wide), strict=True)
    for (rows, mine), (_, theirs) in both:
        sums += _measured(mine, stored, theirs, wanted, num_classes).double().sum(dim=0)
        count += rows.stop - rows.start
    means = (sums / count).numpy()
    nats, shares = means[:2] + known[:2], means[2:NUM_MEASURES] * known[2:]
    shares = np.minimum(shares / means[NUM_MEASURES:], known[2:])
    return np.concatenate([nats, shares]).astype(np.float32)


def _measured(
    kept: Quantized, stored: Scheme, narrow: Quantized, wanted: Scheme, num_classes: int
) -> Tensor:
    """Return `row_fidelity` of narrow labels, with q_A as p, and what q_A's classes hold, f32 [b, 10]."""
    if stored.kind == "full":
        probs = restore(kept, stored, stored.whole, num_classes).value
        narrow = {name: v.long() if name == "index" else v for name, v in narrow.items()}
        all_kept = probs.new_ones((len(probs), _NUM_SHARES))
        return torch.cat([row_fidelity(probs, narrow, wanted), all_kept], dim=1)
    label = _Ratios(kept["code"], stored, num_classes)
    k = wanted.kept(num_classes)
    shares = [each for group in label.shares(k) for each in group]
    if wanted.kind == "hard":
        return torch.stack([torch.full_like(shares[0], torch.nan)] * 2 + shares, dim=1)
    return torch.stack(
        [*label.divergences(_Ratios(narrow["code"], wanted, num_classes)), *shares], dim=1
    )


class _Ratios:
    """Labels of A classes as ratios to the largest value.

    `ratio` f32 [b, A + 1] has that of the tail last, `nats` its log; `times` f32 [A + 1] says how many
    classes each stands for.
    """

    def __init__(self, code: Tensor, scheme: Scheme, num_classes: int) -> None:
        self.num_kept = code.shape[1]
        padded = torch.nn.functional.pad(code, (1, 0))
        self.nats = padded.float() * -scheme.step
        self._logs = self.nats.masked_fill(padded == ZERO_CODE, -torch.inf)
        self.ratio = self._logs.exp()
        self.times = torch.ones(self.num_kept + 1)
        self.times[-1] = num_classes - self.num_kept
        self.total = self.ratio @ self.times

    def shares(self, k: int) -> tuple[list[Tensor], list[Tensor]]:
        """Return what the first K classes and the A hold at each temperature, f32 [b] each."""
        of_k, of_all = [], []
        for temperature in SHARE_TEMPERATURES:
            power = (self._logs / temperature).exp_()
            total = power @ self.times
            of_k.append(power[:, :k].sum(dim=1) / total)
            of_all.append(1 - power[:, -1] * self.times[-1] / total)
        return of_k, of_all

    def divergences(self, other: "_Ratios") -> tuple[Tensor, Tensor]:
        """Return KL to a label of fewer classes, nats f32 [b]: of all classes, and with one residual."""
        k = other.num_kept
        wide = torch.cat(
            [other.nats[:, :k], other.nats[:, -1:].expand(-1, self.num_kept + 1 - k)], dim=1
        )
        share, change = self.ratio / self.total[:, None], (other.total / self.total).log()
        gain = share * (self.nats - wide)
        rest = share[:, k:] @ self.times[k:]
        rest_said = other.ratio[:, -1] * other.times[-1] / other.total
        kept = gain[:, :k].sum(dim=1) + change * share[:, :k].sum(dim=1)
        pooled = torch.special.xlogy(rest, rest) - torch.special.xlogy(rest, rest_said)
        return (gain @ self.times + change).clamp(min=0), (kept + pooled).clamp(min=0)
