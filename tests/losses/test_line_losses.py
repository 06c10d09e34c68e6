"""Losses of lines: CTC per character as torch has it, frames as rows, other frames resized in time."""

import pytest
import torch
from torch.nn import functional

from fkd import FkdError, Term
from fkd.config import Weighed
from fkd.labels import GridLabels, SoftLabels, laid_out, rows_of
from fkd.losses import DistillationLoss, term_losses, text_loss

T, C = 6, 5


@pytest.fixture
def logits():
    return torch.randn(3, T, C, generator=torch.Generator().manual_seed(0), requires_grad=True)


def as_labels(probs):
    rows = rows_of(probs)
    return GridLabels(SoftLabels(None, rows, rows.new_zeros(len(rows)), C), (probs.shape[1],))


def loss_of(logits, *terms, labels=None, texts=None, peers=None):
    weighed = [Weighed(term, 1.0) for term in terms]
    return term_losses(logits, weighed, lambda _: labels, texts, peers=peers).total


def test_rows_are_frames_in_order(logits):
    assert torch.equal(rows_of(logits)[T], logits[1, 0])
    assert torch.equal(laid_out(rows_of(logits), (T,)), logits)


def test_ctc_is_torchs_mean_of_characters(logits):
    texts = torch.tensor([[1, 2, 0], [3, 3, 4], [2, 0, 0]])
    expected = functional.ctc_loss(
        logits.log_softmax(2).transpose(0, 1), texts, (T,) * 3, (2, 3, 1), zero_infinity=True
    )
    assert torch.allclose(text_loss(logits, texts).mean(), expected)


def test_a_line_without_a_text_that_counts_or_fits_teaches_nothing(logits):
    texts = torch.tensor([[-1] * 4, [1, 1, 1, 1], [1, 0, 0, 0]])
    losses = text_loss(logits, texts)
    losses.sum().backward()
    assert losses[:2].tolist() == [0, 0]
    assert losses[2] > 0
    assert torch.isfinite(logits.grad).all()
    assert logits.grad[:2].abs().sum() == 0


def test_a_text_that_is_far_too_long_takes_no_memory(logits, monkeypatch):
    compared, ctc_loss = [], functional.ctc_loss

    def seen(log_probs, targets, *args, **options):
        compared.append(targets.shape)
        return ctc_loss(log_probs, targets, *args, **options)

    monkeypatch.setattr(functional, "ctc_loss", seen)
    texts = torch.zeros(3, 5000, dtype=torch.long)
    texts[0], texts[1, :T], texts[2, :2] = 1, torch.arange(T) % 2 + 1, 3
    losses = text_loss(logits, texts)
    assert compared == [(3, T)]
    assert losses[0] == 0
    assert torch.equal(losses[1:], text_loss(logits[1:], texts[1:, :T]))


@pytest.mark.parametrize("length", [0, 1])
def test_a_line_without_characters_is_to_be_blank(length):
    logits = torch.zeros(1, T, C)
    assert float(text_loss(logits, torch.zeros(1, length, dtype=torch.long))) == pytest.approx(
        T * torch.tensor(float(C)).log().item()
    )


def test_a_row_ends_at_its_first_zero(logits):
    holed, plain = torch.tensor([[1, 0, 2]] * 3), torch.tensor([[1]] * 3)
    assert torch.equal(text_loss(logits, holed), text_loss(logits, plain))


def test_no_views_have_no_loss(logits):
    none = text_loss(logits[:0], torch.zeros(0, 3, dtype=torch.long))
    assert none.shape == (0,)
    none.sum().backward()


def test_kl_is_the_mean_over_frames(logits):
    probs = torch.rand(3, T, C).softmax(dim=2)
    found = loss_of(logits, Term(by="kl"), labels=as_labels(probs))
    each = (probs * (probs.log() - logits.log_softmax(2))).sum(2).mean(1)
    assert torch.allclose(found, each, atol=1e-6)


def test_other_frames_are_resized_in_time(logits):
    probs = torch.rand(3, 2 * T, C).softmax(dim=2)
    resized = functional.interpolate(logits.transpose(1, 2), 2 * T, mode="linear").transpose(1, 2)
    found = loss_of(logits, Term(by="kl"), labels=as_labels(probs))
    assert torch.allclose(
        found, loss_of(resized, Term(by="kl"), labels=as_labels(probs)), atol=1e-6
    )


def test_peers_of_any_frames_are_compared(logits):
    peer = torch.randn(3, 4, C)
    assert torch.allclose(
        loss_of(logits, Term("peers", "kl"), peers={"b": logits.detach()}),
        torch.zeros(3),
        atol=1e-6,
    )
    assert (loss_of(logits, Term("peers", "symmetric_kl"), peers={"b": peer}) > 0).all()


def test_a_criterion_takes_texts_as_targets(logits):
    texts = torch.tensor([[1, 2], [3, 0], [2, 0]])
    criterion = DistillationLoss((Term("truth", "ctc"), Term(by="kl")))
    probs = torch.rand(3, T, C).softmax(dim=2)
    expected = text_loss(logits, texts) + loss_of(logits, Term(by="kl"), labels=as_labels(probs))
    assert torch.allclose(criterion(logits, probs, texts), expected.mean())


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"texts": None}, "there are no texts"),
        ({"texts": torch.tensor([[1]])}, r"texts are int64 \[1, 1\]"),
        ({"texts": torch.full((3, 1), C)}, "texts name class 5"),
        ({"by": "ce", "texts": torch.ones(3, 1, dtype=torch.long)}, "take ctc"),
    ],
)
def test_what_does_not_belong_to_lines_is_refused(logits, changes, words):
    with pytest.raises(FkdError, match=words):
        loss_of(logits, Term("truth", changes.get("by", "ctc")), texts=changes["texts"])


def test_ctc_is_of_texts_alone():
    with pytest.raises(FkdError, match='ctc is to a text, not to store; say to="truth"'):
        Term(by="ctc")
    with pytest.raises(FkdError, match="take ce"):
        loss_of(torch.zeros(2, C), Term("truth", "ctc"), texts=torch.zeros(2, dtype=torch.long))
    assert Term.parse("ctc") == Term("truth", "ctc")
