"""The loss of one student as the sum of its terms.

Legend: b crops, C classes; T the temperature.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fkd.config import PEERS, STORE, TRUTH, Weighed
from fkd.errors import SoftLabelError
from fkd.labels import Labels
from fkd.losses.comparison import Comparison, comparison_of
from fkd.losses.mixing import Mix
from fkd.losses.truth import Targets
from fkd.losses.vectors import Pairs, loss_of_vectors


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
    labels: Callable[[float], Labels | Tensor],
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
    the student's and the others', [b, …] each.

    Of maps, `logits` are [b, C, h, w], labels `GridLabels` of any grid, `targets` masks of whole numbers
    [b, H, W], where 255 counts for nothing, and peers' logits maps of any grids. The student's logits are
    resized (bilinear) to what they are compared with, and a view's loss is the mean over its positions.
    Of lines of text, `logits` are [b, T, C] and `targets` texts int64 [b, L]: numbers of characters, 0
    beyond their end, and -1 where a view has none that counts. A term to truth is by "ctc". Frames are
    positions as others are, padding among them.
    Raises `SoftLabelError` for what does not belong together.
    """
    student = comparison_of(logits)
    known = _Known.of(student, terms, labels, targets)
    student.require_mix(mix)
    fixed = [n for n, each in enumerate(terms) if each.term.to in (STORE, TRUTH)]
    losses = {n: known.loss(terms[n], student) for n in fixed}
    total = _sum(logits, losses.values())
    if mix is not None:
        partners = known.take(mix.partner)
        theirs = {n: partners.loss(terms[n], student) for n in fixed}
        total = mix.loss(total, _sum(logits, theirs.values()))
        losses = {n: mix.loss(losses[n], theirs[n]) for n in fixed}
    for n, each in enumerate(terms):
        if n in losses:
            continue
        if each.term.on_vectors:
            losses[n] = _weighed_vectors(each, pairs, mix)
        else:
            losses[n] = student.to_peers(each, _named(each, peers or {}), known.truth, mix)
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
    """What is known of b crops: labels, by the temperature that they are read at, and their truth."""

    labels: Mapping[float, Labels]
    truth: Targets | None

    @classmethod
    def of(
        cls,
        student: Comparison,
        terms: Sequence[Weighed],
        labels: Callable[[float], Labels | Tensor],
        targets: Targets | None,
    ) -> "_Known":
        """Ask for what the terms look at, and for nothing else."""
        reads = sorted({temperature for each in terms for temperature in _reads(each)})
        said = {temperature: student.fitting_labels(labels(temperature)) for temperature in reads}
        looks = [each.term.by for each in terms if each.term.to == TRUTH or each.term.by == "nkd"]
        return cls(said, student.fitting_truth(targets, looks) if looks else None)

    def take(self, rows: Tensor) -> "_Known":
        labels = {temperature: each.take(rows) for temperature, each in self.labels.items()}
        return _Known(labels, None if self.truth is None else self.truth[rows])

    def loss(self, each: Weighed, student: Comparison) -> Tensor:
        """Return a student's loss of a term to labels or truth, [b]."""
        if each.term.to == TRUTH:
            assert self.truth is not None
            return student.to_truth(each, self.truth)
        labels = self.labels[each.label_temperature]
        return student.to_labels(each, labels, self.labels.get(1.0, labels), self.truth)


def _reads(each: Weighed) -> set[float]:
    """Return the temperatures at which a term reads stored labels."""
    if each.term.to != STORE:
        return set()
    return {each.label_temperature} | ({1.0} if each.term.by == "nkd" else set())
