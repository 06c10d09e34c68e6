"""The loss of one student as the sum of its terms.

Legend: b crops, C classes; T the temperature.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from fkd.config import NKD_GAMMA, PEERS, STORE, TRUTH, Weighed
from fkd.errors import SoftLabelError
from fkd.labels import SoftLabels
from fkd.losses.given import fitting_labels, in_precision
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
from fkd.losses.soft import StudentSoftmax
from fkd.losses.truth import Targets, fitting_targets, loss_to_truth
from fkd.losses.vectors import Pairs, loss_of_vectors

# Distances whose gradient shrinks as 1 / T², which a factor of T² makes up for (Hinton et al. 2015).
_TIMES_T2 = ("ce", "kl", "symmetric_kl", "dist")


@dataclass(frozen=True)
class TermLosses:
    """The loss of b crops, `total` f32 [b], and what each term has of it, f32 [b] each."""

    total: Tensor
    parts: tuple[Tensor, ...]

    @property
    def each(self) -> Tensor:
        """The parts without gradient, f32 [terms, b]; a step that nobody asks makes no tensor of them."""
        said = [part.detach() for part in self.parts]
        return torch.stack(said) if said else self.total.new_zeros((0, len(self.total)))

    def plus(self, loss: Tensor) -> "TermLosses":
        """Return these losses with one more, [b] or of all alike, which is no term's."""
        return TermLosses(self.total + loss, self.parts)


def term_losses(
    logits: Tensor,
    terms: Sequence[Weighed],
    labels: Callable[[float], SoftLabels | Tensor],
    targets: Targets | None = None,
    mix: Mix | None = None,
    peers: Mapping[str, Tensor] | None = None,
    pairs: Pairs | None = None,
) -> TermLosses:
    """Return the loss of one student's `logits` [b, C]: the sum of its terms, each times its weight.

    `labels` is asked for the stored labels at each temperature that a term reads. `targets`, int64 [b],
    are classes, or `MixedTargets` of views that were mixed before they were labelled. `peers` are other
    students' logits [b, C] of the same views by name. They are constants, so a student learns from the
    others and not through them; a symmetric distance gives each the same gradient as one loss that both
    learn from. With a `mix`, losses to labels and classes are share · loss(own) + (1 - share) ·
    loss(partner's); peers saw the mixed view. `pairs` are asked for what each term on vectors compares,
    the student's and the others', [b, …] each. Raises `SoftLabelError` for what does not belong together.
    """
    known = _Known.of(logits, terms, labels, targets)
    require_mix(mix, logits)
    student = _Student(logits)
    fixed = [n for n, each in enumerate(terms) if each.term.to in (STORE, TRUTH)]
    losses = {n: student.weighed(terms[n], known) for n in fixed}
    total = _sum(logits, losses.values())
    if mix is not None:
        partners = known.take(mix.partner)
        theirs = {n: student.weighed(terms[n], partners) for n in fixed}
        total = mix.loss(total, _sum(logits, theirs.values()))
        losses = {n: mix.loss(losses[n], theirs[n]) for n in fixed}
    for n, each in enumerate(terms):
        if n in losses:
            continue
        if each.term.on_vectors:
            losses[n] = _weighed_vectors(each, pairs, mix)
        else:
            losses[n] = student.weighed_to_peers(each, _named(each, peers or {}), known, mix)
        total = total + losses[n]
    return TermLosses(total, tuple(losses[n] for n in range(len(terms))))


def _weighed_vectors(each: Weighed, pairs: Pairs | None, mix: Mix | None) -> Tensor:
    """Return the loss of a term on vectors, [b]."""
    if pairs is None:
        raise SoftLabelError(f"the loss is on vectors ({each.term}), and there are none; give them")
    return each.weight * loss_of_vectors(each.term, pairs, each.temperature, mix)


def _sum(logits: Tensor, losses: Iterable[Tensor]) -> Tensor:
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    total = torch.zeros(len(logits), dtype=dtype, device=logits.device)
    for loss in losses:
        total = total + loss
    return total


def _named(each: Weighed, peers: Mapping[str, Tensor]) -> list[Tensor]:
    """Return the logits of the peers that a term is to."""
    if each.term.to == PEERS and peers:
        return list(peers.values())
    if each.term.to not in peers:
        known = ", ".join(peers) or "none"
        raise SoftLabelError(f"a loss is to {each.term.to}, and the other students are: {known}")
    return [peers[each.term.to]]


@dataclass(frozen=True)
class _Known:
    """What is known of b crops: labels, by the temperature that they are read at, and their classes."""

    labels: Mapping[float, SoftLabels]
    classes: Targets | None

    @classmethod
    def of(
        cls,
        logits: Tensor,
        terms: Sequence[Weighed],
        labels: Callable[[float], SoftLabels | Tensor],
        targets: Targets | None,
    ) -> "_Known":
        """Ask for what the terms look at, and for nothing else."""
        reads = sorted({temperature for each in terms for temperature in _reads(each)})
        said = {temperature: fitting_labels(logits, labels(temperature)) for temperature in reads}
        looks = any(each.term.to == TRUTH or each.term.by == "nkd" for each in terms)
        return cls(said, fitting_targets(logits, targets) if looks else None)

    def take(self, rows: Tensor) -> "_Known":
        labels = {temperature: each.take(rows) for temperature, each in self.labels.items()}
        return _Known(labels, None if self.classes is None else self.classes[rows])


def _reads(each: Weighed) -> set[float]:
    """Return the temperatures at which a term reads stored labels."""
    if each.term.to != STORE:
        return set()
    return {each.label_temperature} | ({1.0} if each.term.by == "nkd" else set())


class _Student:
    """One student's logits [b, C], to be compared with whatever its terms are to."""

    def __init__(self, logits: Tensor) -> None:
        self._logits, self._num_classes = logits, logits.shape[1]
        self._softmax: dict[tuple[float, bool], StudentSoftmax] = {}

    def weighed(self, each: Weighed, known: _Known) -> Tensor:
        """Return the loss of a term to labels or classes, [b]."""
        if each.term.to == TRUTH:
            assert known.classes is not None
            return each.weight * loss_to_truth(
                lambda ids: functional.cross_entropy(
                    in_precision(self._logits),
                    ids,
                    reduction="none",
                    label_smoothing=each.term.label_smoothing,
                ),
                known.classes,
            )
        labels = known.labels[each.label_temperature]
        at_one = known.labels.get(1.0, labels)
        return _scale(each) * self._distance(each, labels, at_one, known.classes)

    def weighed_to_peers(
        self, each: Weighed, peers: Sequence[Tensor], known: _Known, mix: Mix | None
    ) -> Tensor:
        """Return the mean loss of a term to peers' logits [b, C], which are constants, [b]."""
        losses = [self._to_peer(each, in_precision(peer.detach()), known, mix) for peer in peers]
        return _scale(each) * (losses[0] if len(losses) == 1 else torch.stack(losses).mean(dim=0))

    def _to_peer(self, each: Weighed, peer: Tensor, known: _Known, mix: Mix | None) -> Tensor:
        if each.term.by == "mse":
            return centred_mse(self._logits, peer)
        at_one = _as_labels(peer, 1.0)
        if each.term.standardize:
            labels = at_one = _as_labels(standardized(peer), 1.0)
        else:
            reads = 1.0 if each.term.by == "wttm" else each.temperature
            labels = at_one if reads == 1 else _as_labels(peer, reads)
        own = self._distance(each, labels, at_one, known.classes)
        if mix is None or each.term.by != "nkd" or known.classes is None:
            return own
        return mix.loss(own, self._distance(each, labels, at_one, known.classes[mix.partner]))

    def _distance(
        self, each: Weighed, labels: SoftLabels, at_one: SoftLabels, classes: Targets | None
    ) -> Tensor:
        """Return a term's distance, [b], to labels at its temperature; `at_one` are those at T = 1."""
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


def _scale(each: Weighed) -> float:
    tempered = each.term.by in _TIMES_T2
    return each.weight * each.temperature**2 if tempered else each.weight


def _as_labels(peer: Tensor, temperature: float) -> SoftLabels:
    """Return what a peer's logits say at a temperature, as labels."""
    probs = (peer / temperature).softmax(dim=1)
    return SoftLabels(None, probs, probs.new_zeros(len(probs)), probs.shape[1])
