"""The distillation loss is its formula, and the criterion is the function with settings."""

import pickle

import pytest
import torch
from helpers.labels import dense_soft_loss, some_labels
from torch.nn import functional

from fkd import Objective
from fkd.config import Term
from fkd.errors import ConfigError, SoftLabelError
from fkd.losses import DistillationLoss, Mix, distillation_loss, kl_divergence


@pytest.mark.parametrize("reading", ["full", "topk5-smooth", "calibrated"])
@pytest.mark.parametrize("loss", ["ce", "kl"])
@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("share", [None, 0.25, "each"])
def test_the_loss_and_its_gradient_are_those_of_the_formula(reading, loss, weight, share):
    torch.manual_seed(0)
    labels, targets = some_labels(reading, sharpness=3.0), torch.randint(100, (7,))
    logits = (torch.randn(7, 100) * 4).requires_grad_()
    shares = torch.rand(7) if share == "each" else share
    mix = None if share is None else Mix(torch.randperm(7), shares)

    def dense(rows):
        hard = functional.cross_entropy(
            logits.double(), targets[rows], reduction="none", label_smoothing=0.1
        )
        soft = dense_soft_loss(logits, labels.dense(100)[rows], 3.0, loss)
        return (1 - weight) * 9 * soft + weight * hard

    expected = dense(torch.arange(7))
    if mix is not None:
        expected = mix.loss(expected, dense(mix.partner))
    how = {"temperature": 3.0, "hard_weight": weight, "label_smoothing": 0.1, "loss": loss}
    found = distillation_loss(logits, labels, targets, mix, **how, reduction="none")
    assert torch.allclose(found.double(), expected, rtol=1e-5, atol=1e-4)
    (gradient,) = torch.autograd.grad(found.sum(), logits)
    (wanted,) = torch.autograd.grad(expected.sum(), logits)
    assert torch.allclose(gradient, wanted, atol=1e-5)
    mean = distillation_loss(logits, labels, targets, mix, **how)
    assert torch.equal(mean, found.mean())
    assert torch.equal(DistillationLoss(**how)(logits, labels, targets, mix), mean)


def test_the_temperature_keeps_the_size_of_the_gradient():
    """Hinton et al. 2015: gradients of the soft loss scale as 1/T², which T² makes up for."""
    torch.manual_seed(0)
    logits, teacher = (0.1 * torch.randn(7, 100)).requires_grad_(), torch.randn(7, 100)
    gradients = []
    for t in (1.0, 20.0):
        loss = distillation_loss(logits, (teacher / t).softmax(1), temperature=t)
        gradients.append(torch.autograd.grad(loss, logits)[0].norm())
    assert 0.5 < gradients[1] / gradients[0] < 2


def test_the_hard_share_may_move_over_the_run():
    annealed = Objective(hard_weight=0.2, hard_weight_end=1.0)
    assert [annealed.hard_weight_at(done) for done in (0, 0.5, 1)] == pytest.approx([0.2, 0.6, 1.0])
    assert Objective(hard_weight=0.2).hard_weight_at(0.7) == 0.2


def test_a_criterion_says_its_settings_and_survives_pickling():
    criterion = DistillationLoss("kl", temperature=2.0, reduction="sum")
    assert repr(criterion) == (
        "DistillationLoss(loss='kl', temperature=2.0, hard_weight=0.0, label_smoothing=0.0, "
        "reduction='sum')"
    )
    labels, logits = some_labels("topk5"), torch.randn(7, 100)
    again = pickle.loads(pickle.dumps(criterion))
    expected = 4 * kl_divergence(logits, labels, temperature=2.0, reduction="sum")
    assert torch.equal(again(logits, labels), criterion(logits, labels))
    assert torch.allclose(again(logits, labels), expected)
    assert list(criterion.parameters()) == []


def test_the_hard_weight_of_a_criterion_may_change():
    labels, logits, targets = some_labels("topk5"), torch.randn(7, 100), torch.arange(7)
    criterion = DistillationLoss(hard_weight=0.5)
    criterion.hard_weight = 1.0
    expected = functional.cross_entropy(logits, targets)
    assert torch.allclose(criterion(logits, labels, targets), expected)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"loss": "l3"}, "loss 'l3' is (unknown|not known); choose"),
        ({"temperature": 0}, "temperature is 0; it must lie between 0.001 and 1,?000"),
        ({"hard_weight": 1.5}, "hard_weight is 1.5; it must lie between 0 and 1"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1; it must lie between 0 and 1"),
        ({"reduction": "avg"}, "reduction 'avg' is unknown; choose none, mean, sum"),
        ({"hard_weight": "half"}, "hard_weight is 'half'; it must be a number"),
    ],
)
def test_settings_are_checked_by_the_criterion_and_by_the_function(setting, words):
    with pytest.raises(ConfigError, match=words):
        DistillationLoss(**setting)
    with pytest.raises(ConfigError, match=words):
        distillation_loss(torch.zeros(7, 100), some_labels("topk5"), **setting)


def test_a_compiled_criterion_gives_the_same_loss_and_gradient():
    """One graph, without a break; the backend that makes no code shows it as well as the slow one."""
    torch.manual_seed(0)
    labels, targets = some_labels("topk5-smooth"), torch.randint(100, (7,))
    mix = Mix(torch.randperm(7), torch.rand(7))
    criterion = DistillationLoss("kl", 2.0, 0.3)
    compiled = torch.compile(criterion, backend="aot_eager", fullgraph=True)
    logits = torch.randn(7, 100, requires_grad=True)
    found, expected = (each(logits, labels, targets, mix) for each in (compiled, criterion))
    assert torch.allclose(found, expected, rtol=1e-6)
    (gradient,), (wanted,) = (torch.autograd.grad(each, logits) for each in (found, expected))
    assert torch.allclose(gradient, wanted, atol=1e-7)


def test_a_criterion_in_terms_moves_with_the_run_and_tempers_what_it_is_given():
    logits, labels, targets = torch.randn(7, 100), some_labels("topk5"), torch.arange(7)
    soft = Term(by="kl", temperature=(4, 1), weight=(1, 0))
    criterion = DistillationLoss((soft, Term("truth", weight=(0, 1))), reduction="none")
    assert criterion.loss[0] is soft
    tempered, _ = labels.power(4.0, 100)
    assert tempered.dense(100).sum(dim=1) == pytest.approx(torch.ones(7))
    ratio = labels.value[:, 0] / labels.value[:, 1]
    assert tempered.value[:, 0] / tempered.value[:, 1] == pytest.approx(ratio**0.25, rel=1e-4)
    begun = criterion(logits, labels, targets)
    assert torch.equal(begun, 16 * kl_divergence(logits, tempered, temperature=4.0))
    criterion.done = 1.0
    ended = criterion(logits, labels, targets)
    assert torch.equal(ended, torch.nn.functional.cross_entropy(logits, targets, reduction="none"))


def test_a_criterion_takes_a_distance_by_its_name_and_peers_by_theirs():
    logits, labels = torch.randn(7, 100), some_labels("topk5-smooth")
    one = DistillationLoss("wttm")(logits, labels)
    assert torch.equal(one, DistillationLoss([Term(by="wttm")])(logits, labels))
    social = DistillationLoss(({"to": "peers", "by": "mse"},))
    assert float(social(logits, labels, peers={"other": logits + 1})) == pytest.approx(0, abs=1e-6)
    with pytest.raises(
        SoftLabelError, match="a loss is to peers, and the other students are: none"
    ):
        social(logits, labels)
    with pytest.raises(ConfigError, match="say it in a term"):
        DistillationLoss("wttm", temperature=2)
    assert repr(DistillationLoss("wttm")) == "DistillationLoss(wttm to store, weight 1)"
