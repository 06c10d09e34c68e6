"""One student's logits, compared with whatever its terms are to: row by row, or position by position.

Legend: b views, C classes; T the temperature.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from fkd.config import NKD_GAMMA, Distance, Grid, Weighed
from fkd.errors import SoftLabelError
from fkd.labels import GridLabels, Labels, SoftLabels, rows_of
from fkd.losses.given import fitting_labels, in_precision, shown
from fkd.losses.lines import fitting_texts, text_loss
from fkd.losses.maps import fitting_masks, mask_loss
from fkd.losses.matching import (
    centred_mse,
    log_probs,
    normalised,
    relation,
    standardized,
    standardized_labels,
    symmetric_divergence,
    transformed_matching,
)
from fkd.losses.mixing import Mix, require_mix
from fkd.losses.positions import (
    at_positions,
    by_view,
    fitting_positions,
    has_frames,
    has_grid,
    refuse_mix,
)
from fkd.losses.soft import StudentSoftmax
from fkd.losses.truth import Targets, fitting_targets, loss_to_truth
from fkd.models import grid_of

# Distances whose gradient shrinks as 1 / T², which a factor of T² makes up for (Hinton et al. 2015).
_TIMES_T2 = ("ce", "kl", "symmetric_kl", "dist")


class RowComparison:
    """Logits [b, C], one row a view."""

    def __init__(self, logits: Tensor) -> None:
        self._logits, self._num_classes = logits, logits.shape[1]
        self._softmax: dict[tuple[float, bool], StudentSoftmax] = {}

    def fitting_labels(self, labels: object) -> SoftLabels:
        """Return labels in the precision of the logits, or raise `SoftLabelError`."""
        return fitting_labels(self._logits, labels)

    def fitting_truth(self, targets: object, by: Sequence[Distance]) -> Targets:
        """Return classes, at which the distances `by` look, or raise `SoftLabelError`."""
        _require_distance("ce", [one for one in by if one != "nkd"], "of whole views")
        return fitting_targets(self._logits, targets)

    def require_mix(self, mix: object) -> None:
        """Raise `SoftLabelError` unless this is None, or a mix of these views."""
        require_mix(mix, self._logits)

    def to_truth(self, each: Weighed, targets: Targets) -> Tensor:
        """Return the loss of a term to classes, [b]."""
        return each.weight * loss_to_truth(
            lambda ids: functional.cross_entropy(
                in_precision(self._logits),
                ids,
                reduction="none",
                label_smoothing=each.term.label_smoothing,
            ),
            targets,
        )

    def to_labels(
        self, each: Weighed, labels: Labels, at_one: Labels, targets: Targets | None
    ) -> Tensor:
        """Return the loss of a term to labels at its temperature, [b]; `at_one` are those at T = 1."""
        assert isinstance(labels, SoftLabels)
        assert isinstance(at_one, SoftLabels)
        return _scale(each) * self._distance(each, labels, at_one, targets)

    def to_peers(
        self, each: Weighed, peers: Sequence[Tensor], targets: Targets | None, mix: Mix | None
    ) -> Tensor:
        """Return the mean loss of a term to peers' logits [b, C], which are constants, [b]."""
        _require_alike(self._logits, peers)
        losses = [self._to_peer(each, in_precision(peer.detach()), targets, mix) for peer in peers]
        return _scale(each) * (losses[0] if len(losses) == 1 else torch.stack(losses).mean(dim=0))

    def _to_peer(
        self, each: Weighed, peer: Tensor, targets: Targets | None, mix: Mix | None
    ) -> Tensor:
        if each.term.by == "mse":
            return centred_mse(self._logits, peer)
        at_one = _as_labels(peer, 1.0)
        if each.term.standardize:
            labels = at_one = _as_labels(standardized(peer), 1.0)
        else:
            reads = 1.0 if each.term.by == "wttm" else each.temperature
            labels = at_one if reads == 1 else _as_labels(peer, reads)
        own = self._distance(each, labels, at_one, targets)
        if mix is None or each.term.by != "nkd" or targets is None:
            return own
        return mix.loss(own, self._distance(each, labels, at_one, targets[mix.partner]))

    def _distance(
        self, each: Weighed, labels: SoftLabels, at_one: SoftLabels, classes: Targets | None
    ) -> Tensor:
        temperature = each.temperature
        match each.term.by:
            case "mse":
                return centred_mse(self._logits, log_probs(labels, self._num_classes))
            case "symmetric_kl":
                return symmetric_divergence(self._logits, labels, temperature)
            case "wttm":
                return transformed_matching(self._logits, labels, temperature)
            case "dist":
                return relation(self._logits, labels, temperature)
            case "nkd":
                assert classes is not None
                gamma = NKD_GAMMA if each.term.gamma is None else each.term.gamma
                return loss_to_truth(
                    lambda ids: normalised(self._logits, at_one, labels, ids, temperature, gamma),
                    classes,
                )
        if each.term.standardize:
            labels = standardized_labels(labels, self._num_classes, temperature)
        student = self._softmax_at(temperature, each.term.standardize)
        return student.divergence(labels) if each.term.by == "kl" else student.cross_entropy(labels)

    def _softmax_at(self, temperature: float, standardize: bool) -> StudentSoftmax:
        key = temperature, standardize
        if key not in self._softmax:
            logits = standardized(self._logits) if standardize else self._logits
            self._softmax[key] = StudentSoftmax(logits, temperature)
        return self._softmax[key]


class GridComparison:
    """Logits [b, C, h, w] of maps, or [b, T, C] of lines, each position a row; a view has their mean.

    They come to the grid of what they are compared with: stored labels, a peer's map or line, or the
    pixels of a mask. With a text they are compared as a whole, by CTC. "dist" correlates the classes of
    each position, and each class over the positions of all views.
    """

    def __init__(self, logits: Tensor) -> None:
        self._logits = logits
        self._on: dict[Grid, RowComparison] = {}

    def fitting_labels(self, labels: object) -> GridLabels:
        """Return labels in the precision of the logits, or raise `SoftLabelError`."""
        return fitting_positions(self._logits, labels)

    def fitting_truth(self, targets: object, by: Sequence[Distance]) -> Tensor:
        """Return masks [b, H, W] or texts int64 [b, L], or raise `SoftLabelError`.

        So it does for distances that know none of them.
        """
        if "nkd" in by:
            raise SoftLabelError(
                "nkd looks at the one class of a view, and here each position has its own; take kl"
            )
        if not has_frames(self._logits):
            _require_distance("ce", by, "maps, whose pixels have a class each")
            return fitting_masks(self._logits, targets)
        _require_distance("ctc", by, "lines, which have a text")
        return fitting_texts(self._logits, targets)

    def require_mix(self, mix: object) -> None:
        """Raise `SoftLabelError` unless this is None."""
        refuse_mix(mix, self._logits)

    def to_truth(self, each: Weighed, targets: Targets) -> Tensor:
        """Return the loss of a term to masks [b, H, W], or to texts [b, L], [b]."""
        assert isinstance(targets, Tensor)
        if has_frames(self._logits):
            return each.weight * text_loss(self._logits, targets)
        return each.weight * mask_loss(self._logits, targets, each.term.label_smoothing)

    def to_labels(
        self, each: Weighed, labels: Labels, at_one: Labels, targets: Targets | None
    ) -> Tensor:
        """Return the loss of a term to labels at its temperature, [b]; `at_one` are those at T = 1."""
        assert isinstance(labels, GridLabels)
        assert isinstance(at_one, GridLabels)
        rows = self._rows_on(labels.grid)
        losses = rows.to_labels(each, labels.flat, at_one.flat, None)
        return by_view(losses, len(self._logits))

    def to_peers(
        self, each: Weighed, peers: Sequence[Tensor], targets: Targets | None, mix: Mix | None
    ) -> Tensor:
        """Return the mean loss of a term to peers' maps or lines of any grids, [b]."""
        _require_alike(self._logits, peers)
        losses = [
            self._rows_on(grid_of(peer)).to_peers(each, [rows_of(peer)], None, None)
            for peer in peers
        ]
        each_view = [by_view(loss, len(self._logits)) for loss in losses]
        return each_view[0] if len(each_view) == 1 else torch.stack(each_view).mean(dim=0)

    def _rows_on(self, grid: Grid) -> RowComparison:
        if grid not in self._on:
            self._on[grid] = RowComparison(at_positions(self._logits, grid))
        return self._on[grid]


Comparison = RowComparison | GridComparison


def comparison_of(logits: Tensor) -> Comparison:
    """Return how logits [b, C], [b, C, h, w] of maps or [b, T, C] of lines are compared."""
    return GridComparison(logits) if has_grid(logits) else RowComparison(logits)


def _require_distance(fits: Distance, by: Sequence[Distance], what: str) -> None:
    other = next((distance for distance in by if distance != fits), None)
    if other is not None:
        raise SoftLabelError(f"a loss to truth is by {other}, and outputs are {what}; take {fits}")


def _require_alike(logits: Tensor, peers: Sequence[Tensor]) -> None:
    """Raise `SoftLabelError` for outputs of a peer that are not of the same views, classes and kind."""
    classes = 2 if logits.dim() == 3 else 1  # those of lines stand last
    for peer in peers:
        alike = peer.dim() == logits.dim() and len(peer) == len(logits)
        if not alike or peer.shape[classes] != logits.shape[classes]:
            raise SoftLabelError(
                f"another student's outputs are {shown(peer)}, and these {shown(logits)}; give those of "
                "the same views and classes"
            )


def _scale(each: Weighed) -> float:
    tempered = each.term.by in _TIMES_T2
    return each.weight * each.temperature**2 if tempered else each.weight


def _as_labels(peer: Tensor, temperature: float) -> SoftLabels:
    """Return what a peer's logits say at a temperature, as labels."""
    probs = (peer / temperature).softmax(dim=1)
    return SoftLabels(None, probs, probs.new_zeros(len(probs)), probs.shape[1])
