"""A linear probe: multinomial logistic regression on frozen features."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fkd.errors import ConfigError

_L2 = (1.0, 0.1, 0.01, 1e-3, 1e-4)  # the strongest first: each begins where the one before it ended
_HELD_OUT = 10  # one in so many training images chooses the L2
_ITERATIONS = 60
_ROUGH, _FINE = (
    1e-4,
    1e-5,
)  # the largest gradient of a weight that is left, in the search and at its end


@dataclass(frozen=True)
class Probe:
    """The share of images in [0, 1] that a linear probe names right, and the L2 that it has."""

    top1: float
    l2: float


@torch.no_grad()
def linear_probe(
    train_features: Tensor, train_classes: Tensor, features: Tensor, classes: Tensor
) -> Probe:
    """Train a linear classifier on frozen features, and return how right it is on others.

    Features are f32 [N, D] and [n, D], classes int64 [N] and [n] of 0 and above. Each dimension is
    standardised by its mean and deviation over the training features. The classifier minimises
    mean cross-entropy + L2 / 2 · ‖W‖², its bias free, by full-batch L-BFGS from zero, so that nothing is
    drawn. The L2 is chosen on every tenth training image of the images in order of their classes; then
    all are trained on. Raises `ConfigError` where there are fewer than two training images, and where a
    number is not finite.
    """
    if len(train_features) < 2:
        raise ConfigError("a linear probe needs two training images at least; give a larger --bank")
    if not (train_features.isfinite().all() and features.isfinite().all()):
        raise ConfigError("features are not finite, and cannot be probed; take another checkpoint")
    mean = train_features.mean(dim=0)
    scale = 1 / (train_features - mean).square().mean(dim=0).sqrt().clamp_min(1e-6)
    train, others = (train_features - mean) * scale, (features - mean) * scale
    num_classes = 1 + int(max(train_classes.max(), classes.max()))
    weights = train.new_zeros(train.shape[1] + 1, num_classes)
    l2, weights = _choose(train, train_classes, weights)
    weights = _trained(train, train_classes, weights, l2, _FINE)
    return Probe(_share_right(others, classes, weights), l2)


def _choose(train: Tensor, classes: Tensor, weights: Tensor) -> tuple[float, Tensor]:
    """Return the L2 of the least loss on held-out images, and the weights that it gave.

    How many are right would choose by chance: of 1,800 held-out images that is uncertain by a point. The
    search ends where the loss rises: what is weaker fits them still less, and takes longer.
    """
    order = classes.argsort(stable=True)
    held = torch.zeros_like(classes, dtype=torch.bool)
    held[order[min(_HELD_OUT, len(order)) // 2 :: _HELD_OUT]] = True
    kept, kept_classes = train[~held], classes[~held]
    best, chosen = float("inf"), (_L2[0], weights)
    for l2 in _L2:
        weights = _trained(kept, kept_classes, weights, l2, _ROUGH)
        loss = float(functional.cross_entropy(_logits(train[held], weights), classes[held]))
        if loss >= best:
            break
        best, chosen = loss, (l2, weights)
    return chosen


def _trained(
    features: Tensor, classes: Tensor, weights: Tensor, l2: float, tolerance: float
) -> Tensor:
    """Return the weights f32 [D + 1, C], the bias last, that minimise the loss, from `weights` on."""
    weights = weights.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [weights],
        max_iter=_ITERATIONS,
        tolerance_grad=tolerance,
        tolerance_change=1e-7,
        history_size=10,
        line_search_fn="strong_wolfe",
    )

    @torch.enable_grad()
    def loss() -> Tensor:
        optimizer.zero_grad()
        total = functional.cross_entropy(_logits(features, weights), classes)
        total = total + l2 / 2 * weights[:-1].square().sum()
        total.backward()  # type: ignore[no-untyped-call]
        return total.detach()

    optimizer.step(loss)  # type: ignore[no-untyped-call]
    return weights.detach()


def _logits(features: Tensor, weights: Tensor) -> Tensor:
    return torch.addmm(weights[-1], features, weights[:-1])


def _share_right(features: Tensor, classes: Tensor, weights: Tensor) -> float:
    return int((_logits(features, weights).argmax(dim=1) == classes).sum()) / len(classes)
