"""Losses of maps: positions are rows like others, whose mean is a view's loss."""

import pytest
import torch
from torch.nn import functional

from fkd.config import Scheme, Term
from fkd.errors import SoftLabelError
from fkd.labels import GridLabels, KeptLabels, SoftLabels, laid_out, quantize, rows_of
from fkd.losses import (
    DistillationLoss,
    Mix,
    distillation_loss,
    kl_divergence,
    soft_cross_entropy,
    term_losses,
)

B, C, GRID = 3, 5, (4, 6)
ASKED = (soft_cross_entropy, kl_divergence, distillation_loss)


def drawn(seed, grid=GRID, scale=2.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(B, C, *grid, generator=generator, dtype=torch.float64)


LOGITS, TEACHER = drawn(0), drawn(1)
MASKS = torch.randint(0, C, (B, 8, 12), generator=torch.Generator().manual_seed(2)).to(torch.uint8)
MASKS[0, :3] = 255
MASKS[2] = 255


def stored(temperature=1.0):
    return (TEACHER / temperature).softmax(dim=1)


def loss_of(term, logits=LOGITS, labels=stored, **more):
    return term_losses(logits, [Term.parse(term).at(0)], labels, MASKS, **more).total


def by_hand(term, logits=LOGITS):
    """The same loss on rows, as many as there are positions, and its mean by view."""
    rows = term_losses(rows_of(logits), [Term.parse(term).at(0)], lambda t: rows_of(stored(t)))
    return rows.total.reshape(B, -1).mean(dim=1)


TERMS = [
    "ce", "mse", "symmetric_kl", "dist", '{by="kl", temperature=3, label_temperature=2}',
    '{by="wttm", temperature=2}', '{by="kl", standardize=true}',
]  # fmt: skip


@pytest.mark.parametrize("term", TERMS)
def test_a_view_loses_the_mean_of_its_positions(term):
    assert loss_of(term) == pytest.approx(by_hand(term), rel=1e-12)
    few = drawn(5, (1, 2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss_of(term, z), few)


@pytest.mark.parametrize(("own", "antialias"), [((2, 3), False), ((9, 11), True), ((2, 11), True)])
def test_logits_come_to_the_grid_of_the_labels(own, antialias):
    logits = drawn(3, own)
    on_grid = functional.interpolate(logits, GRID, mode="bilinear", antialias=antialias)
    assert loss_of("kl", logits) == pytest.approx(by_hand("kl", on_grid), rel=1e-12)


def test_stored_labels_are_as_good_as_dense_ones():
    """Sparse labels of a store, view by view, lose what the same labels written out do."""
    kept_labels = KeptLabels(Scheme.parse("topk3"), C, GRID)
    kept = quantize(rows_of(stored().float()), kept_labels.scheme)
    kept = {name: values.reshape(B, -1) for name, values in kept.items()}
    labels = GridLabels(kept_labels.restore(kept), GRID)
    for ask in ASKED:
        found, dense = (ask(LOGITS, each, reduction="none") for each in (labels, labels.dense(C)))
        assert found == pytest.approx(dense, rel=1e-5)
        assert found.shape == (B,)


def test_truth_is_cross_entropy_over_the_pixels_that_count():
    large = functional.interpolate(LOGITS, (8, 12), mode="bilinear")
    for smoothing in (0.0, 0.2):
        for view in (0, 1):
            expected = functional.cross_entropy(
                large[[view]], MASKS[[view]].long(), ignore_index=255, label_smoothing=smoothing
            )
            found = loss_of(f'{{to="truth", label_smoothing={smoothing}}}')
            assert float(found[view]) == pytest.approx(float(expected), rel=1e-9)
            assert found[2] == 0
    logits = LOGITS.clone().requires_grad_()
    loss_of('{to="truth"}', logits).sum().backward()
    assert not logits.grad[2].any()
    assert logits.grad[1].all()


def test_a_hard_part_is_weighed_as_of_classes():
    how = {"temperature": 2.0, "hard_weight": 0.3, "label_smoothing": 0.1, "reduction": "none"}
    soft = soft_cross_entropy(LOGITS, stored(), temperature=2)
    hard = loss_of('{to="truth", label_smoothing=0.1}')
    expected = 0.7 * 4 * soft + 0.3 * hard
    assert distillation_loss(LOGITS, stored(), MASKS, **how) == pytest.approx(expected, rel=1e-9)
    assert DistillationLoss(**how)(LOGITS, stored(), MASKS) == pytest.approx(expected, rel=1e-9)


def test_a_criterion_of_terms_tempers_maps_as_rows():
    """Labels are given at T = 1, and a term reads them at its own."""
    criterion = DistillationLoss((Term(by="kl", temperature=3), Term("truth", weight=0.5)))
    expected = loss_of('{by="kl", temperature=3}') + 0.5 * loss_of('{to="truth"}')
    assert float(criterion(LOGITS, stored(), MASKS)) == pytest.approx(float(expected.mean()))


@pytest.mark.parametrize("by", ["kl", "symmetric_kl", "mse", "dist", "wttm"])
def test_a_peer_is_as_a_stored_map_of_its_logits(by):
    """Its grid is another one, to which the own logits come."""
    peers = {"b": TEACHER.clone().requires_grad_()}
    logits = drawn(4, (2, 3))
    found = term_losses(logits, [Term("peers", by).at(0)], stored, peers=peers).total
    assert found == pytest.approx(loss_of(f'{{by="{by}"}}', logits), rel=1e-9)
    assert not found.requires_grad


def test_outputs_of_maps_are_compared_channel_by_channel():
    criterion = DistillationLoss(Term("b", "channel_kl", temperature=2))
    small = drawn(4, (2, 3))
    resized = functional.interpolate(small, GRID, mode="bilinear")
    own, other = (z.flatten(2) / 2 for z in (resized, TEACHER))
    wanted = other.log_softmax(dim=2)
    expected = 4 * (wanted.exp() * (wanted - own.log_softmax(dim=2))).sum(dim=2).mean()
    assert float(criterion(small, peers={"b": TEACHER})) == pytest.approx(float(expected))


def test_half_precision_is_worked_with_as_float32():
    for logits in (drawn(0, (2, 3)), LOGITS):
        half = logits.to(torch.bfloat16)
        for term in ("kl", '{to="truth"}'):
            found = loss_of(term, half)
            assert found.dtype == torch.float32
            assert found == pytest.approx(loss_of(term, half.float()), rel=1e-6)


def test_labels_of_maps_are_cut_by_view_and_laid_out():
    labels = GridLabels(SoftLabels(None, rows_of(TEACHER), torch.zeros(B * 24)), GRID)
    assert len(labels) == B
    assert torch.equal(labels.dense(), TEACHER)
    assert torch.equal(labels.top_class, TEACHER.argmax(dim=1))
    assert torch.equal(labels.confidence, TEACHER.amax(dim=1))
    for rows in (slice(1, None, 2), [2, 0], torch.tensor([False, True, True])):
        assert torch.equal(labels[rows].dense(), TEACHER[rows])
    assert torch.equal(labels[1].dense(), TEACHER[[1]])
    assert torch.equal(GridLabels.concatenate([labels[:1], labels[1:]]).dense(), TEACHER)
    assert labels.to("meta").flat.value.is_meta
    assert repr(labels) == ("GridLabels(3 views of 4x6 positions, all 5 classes, cpu)")
    with pytest.raises(SoftLabelError, match="72 rows are no whole grids of 7x7 positions"):
        GridLabels(labels.flat, (7, 7))
    with pytest.raises(SoftLabelError, match="72 rows are no whole grids of 0x4 positions"):
        GridLabels(labels.flat, (0, 4))
    with pytest.raises(SoftLabelError, match="different grids cannot be joined: 4x6, 6x4"):
        GridLabels.concatenate([labels, GridLabels(labels.flat, (6, 4))])
    assert torch.equal(laid_out(rows_of(TEACHER), GRID), TEACHER)


@pytest.mark.parametrize("ask", ASKED)
def test_labels_that_are_none_of_these_maps_are_refused(ask):
    flat = SoftLabels(None, rows_of(stored()), torch.zeros(B * 24))
    for logits, labels, words in (
        (LOGITS, flat, "which do not say their grid; give GridLabels"),
        (LOGITS, rows_of(stored()), "and outputs are maps; give GridLabels, or probabilities"),
        (LOGITS, None, "of the class NoneType; give GridLabels"),
        (LOGITS[:2], GridLabels(flat, GRID), "labels of 3 views for outputs of 2"),
        (drawn(0)[:, :4], GridLabels(flat, GRID), "have 5 classes, the outputs 4"),
        (LOGITS.long(), GridLabels(flat, GRID), "outputs are int64"),
        (LOGITS.to("meta"), GridLabels(flat, GRID), "outputs are on meta, soft labels on cpu"),
        (LOGITS[:, :, 0, 0], GridLabels(flat, GRID), "each view has 4x6 soft labels"),
    ):
        with pytest.raises(SoftLabelError, match=words):
            ask(logits, labels)
    with pytest.raises(SoftLabelError, match="4x6 outputs are not mixed"):
        ask(LOGITS, stored(), mix=Mix(torch.arange(B), 0.5))


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        (None, r"there are no masks; give whole numbers of shape \[3, height, width\]"),
        (
            torch.zeros(B, dtype=torch.long),
            r"masks are int64 \[3\]; .*StudentLoader\(…, masks=True",
        ),
        (MASKS.float(), "masks are float32"),
        (MASKS[:2], r"masks are uint8 \[2, 8, 12\]"),
        ([MASKS], "masks are of the class list"),
        (MASKS.to("meta"), "masks are on meta, outputs on cpu"),
        (MASKS.where(MASKS != 4, 7), "masks name class 7, .* 5 outputs; .* 255 where"),
        (MASKS.long().where(MASKS != 4, -1), "masks name class -1"),
    ],
)
def test_masks_that_are_none_of_these_maps_are_refused(masks, words):
    with pytest.raises(SoftLabelError, match=words):
        term_losses(LOGITS, [Term("truth").at(0)], stored, masks)


def test_a_distance_that_looks_at_one_class_of_a_view_is_refused():
    with pytest.raises(SoftLabelError, match="nkd looks at the one class of a view"):
        loss_of("nkd")


@pytest.mark.parametrize("peer", [TEACHER[:, :, 0, 0], TEACHER[:2], TEACHER[:, :4]])
def test_another_student_is_of_the_same_views_and_classes(peer):
    for logits in (
        LOGITS,
        LOGITS[:, :, 0].mT,
        LOGITS[:, :, 0, 0],
    ):  # of maps, lines and whole views
        theirs = peer[1:] if logits.dim() == peer.dim() else peer
        with pytest.raises(
            SoftLabelError, match=r"another student's outputs are .* views and classes"
        ):
            term_losses(logits, [Term("peers").at(0)], stored, peers={"b": theirs})


def test_no_views_are_taken():
    logits = LOGITS[:0].clone().requires_grad_()
    loss = distillation_loss(
        logits, stored()[:0], MASKS[:0], hard_weight=0.5, reduction="sum"
    )  # fmt: skip
    loss.backward()
    assert logits.grad.shape == (0, C, *GRID)
