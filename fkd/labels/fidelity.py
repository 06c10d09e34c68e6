"""What the labels of a store give up of the teacher's own: six means a block, and how they are read."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fkd.config import Scheme

# The temperatures of the last four numbers of a block; the first two are its divergences.
SHARE_TEMPERATURES = (1.0, 2.0, 4.0, 10.0)
NUM_MEASURES = 2 + len(SHARE_TEMPERATURES)

_MOST_NATS = 128.0  # a class that a label rules out costs log 1e-44 at most, which is 100 nats
_ROUNDING = 1e-4  # of float32, in the sums that a mean is made of


@dataclass(frozen=True)
class Fidelity:
    """How near the stored labels are to the teacher's, on average over crops.

    `kl` is KL(p ‖ q) in nats, with p the teacher's label and q all that a student can read of it. It is
    the sum of `quantization`, which is what rounding the kept classes and their residual costs, and of
    what is lost since the other classes share that residual evenly. Both are None where a label rules
    classes out, as hard ones do. `kept_shares` are the shares of p^(1/T), normalised anew, that the kept
    classes hold at each T of `SHARE_TEMPERATURES`.
    """

    kl: float | None
    quantization: float | None
    kept_shares: tuple[float, ...]

    def kept_share(self, temperature: float) -> float:
        """Return the share that the kept classes hold at a temperature.

        Between those that were measured it is interpolated in log T; beyond 10 it is at most that at 10.
        """
        at = math.log(max(temperature, SHARE_TEMPERATURES[0]))
        return float(np.interp(at, np.log(SHARE_TEMPERATURES), self.kept_shares))


def mean_fidelity(blocks: NDArray[np.float32], num_labelled: NDArray[np.int64]) -> Fidelity | None:
    """Return the mean over blocks f32 [L, 6], each of so many labelled images int64 [L].

    Blocks that were not measured do not count; None where none was.
    """
    means = mean_measures(blocks, num_labelled)
    if np.isnan(means).all():
        return None
    kl, quantization, *shares = means.tolist()
    if math.isnan(kl):
        return Fidelity(None, None, tuple(shares))
    return Fidelity(kl, quantization, tuple(shares))


def mean_measures(
    blocks: NDArray[np.float32], num_labelled: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the mean f64 [6] of measures f32 [L, 6], each of so many crops or images int64 [L].

    What was not measured does not count; all six are NaN where nothing was.
    """
    measured = ~np.isnan(blocks[:, -1]) & (num_labelled > 0)
    if not measured.any():
        return np.full(NUM_MEASURES, np.nan)
    means: NDArray[np.float64] = np.average(
        blocks[measured].astype(np.float64), axis=0, weights=num_labelled[measured]
    )
    return means


def fidelity_fault(measures: NDArray[np.float32], scheme: Scheme) -> str | None:
    """Say why six means f32 [6] of a block cannot be of labels of a scheme, or return None.

    All six are NaN where nothing was measured: of labels that came without their teacher's
    probabilities, and of a block without labelled images.
    """
    if np.isnan(measures).all():
        return None
    if scheme.kind == "samples":
        return "samples have none"
    nats, shares = measures[:2], measures[2:]
    possible = (shares >= 0) & (shares <= 1 + _ROUNDING)
    if not possible.all():
        return f"a share of kept classes is {_first(shares, possible)}"
    if scheme.kind == "hard":
        return None if np.isnan(nats).all() else "hard labels have a divergence"
    possible = (nats >= 0) & (nats <= _MOST_NATS)
    if not possible.all():
        return f"a divergence is {_first(nats, possible)} nats"
    return "rounding costs more than all is" if nats[1] > nats[0] + _ROUNDING else None


def _first(values: NDArray[np.float32], good: NDArray[np.bool_]) -> str:
    return f"{float(values[~good][0]):g}"
