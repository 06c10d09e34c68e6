"""The loss in terms: each distance by its definition, weights, temperatures, mixing and peers."""

import numpy as np
import pytest
import torch

from fkd.config import Objective, Scheme, Term, TrainConfig, Weighed
from fkd.errors import ConfigError, SoftLabelError
from fkd.labels import SoftLabels, quantize, restore
from fkd.losses import DistillationLoss, Mix, MixedTargets, distillation_loss, term_losses

B, C = 7, 12


def drawn(seed, scale=2.0):
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.normal(scale=scale, size=(B, C)))


LOGITS, TEACHER = drawn(0), drawn(1, 3.0)
TARGETS = torch.arange(B) % C


def stored(temperature=1.0):
    """Labels of all classes, as if read at a temperature."""
    return (TEACHER / temperature).softmax(dim=1)


def loss_of(term, logits=LOGITS, done=0.0, **more):
    weighed = [Term.parse(term).at(done)] if isinstance(term, str) else term
    return term_losses(logits, weighed, stored, TARGETS, **more).total


def softmax(z):
    e = np.exp(z - z.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def pearson(a, b):
    return np.array([np.corrcoef(x, y)[0, 1] for x, y in zip(a, b, strict=True)])


S, T = LOGITS.numpy(), TEACHER.numpy()
P1, Q1, P4, Q4 = softmax(T), softmax(S), softmax(T / 4), softmax(S / 4)
ROWS = np.arange(B)


def without_class(z):
    z = z.copy()
    z[ROWS, TARGETS] = -np.inf
    return softmax(z)


def kl(p, q):
    return np.where(
        p > 0, p * (np.log(np.maximum(p, 1e-300)) - np.log(np.maximum(q, 1e-300))), 0
    ).sum(1)


def scored(z):
    return (z - z.mean(1, keepdims=True)) / z.std(1, ddof=1, keepdims=True)


POWER = P1 ** (1 / 2)
NOT_T = without_class(T / 4)
NOT_T_KL = kl(NOT_T, without_class(S / 4))
NOT_T_ENTROPY = -np.where(NOT_T > 0, NOT_T * np.log(np.maximum(NOT_T, 1e-300)), 0).sum(1)
EXPECTED = {
    '{to="truth"}': -np.log(Q1[ROWS, TARGETS]),
    "kl": kl(P1, Q1),
    '{by="kl", temperature=4}': 16 * kl(P4, Q4),
    '{by="kl", temperature=4, label_temperature=1}': 16 * kl(P1, Q4),
    '{by="symmetric_kl", temperature=4}': 16 * (kl(P4, Q4) + kl(Q4, P4)) / 2,
    "mse": (((S - S.mean(1, keepdims=True)) - (T - T.mean(1, keepdims=True))) ** 2).mean(1),
    '{by="wttm", temperature=2}': POWER.sum(1) * kl(POWER / POWER.sum(1, keepdims=True), Q1),
    '{by="dist", temperature=4}': 16
    * (1 - pearson(P4, Q4) + (1 - pearson(P4.T, Q4.T)).mean()),
    '{by="nkd", temperature=4, gamma=0.5}': -P1[ROWS, TARGETS] * np.log(Q1[ROWS, TARGETS])
    + 0.5 * 16 * (NOT_T_KL + NOT_T_ENTROPY),
    '{by="kl", temperature=2, standardize=true}': 4 * kl(softmax(scored(T) / 2), softmax(scored(S) / 2)),
}  # fmt: skip


@pytest.mark.parametrize("term", EXPECTED)
def test_a_distance_is_what_its_paper_says(term):
    assert loss_of(term).numpy() == pytest.approx(EXPECTED[term], rel=1e-6)


@pytest.mark.parametrize("term", EXPECTED)
def test_a_distance_has_the_gradient_of_its_value(term):
    """Also where labels are constants of their own kernel, as in sparse cross-entropy."""
    logits = LOGITS.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss_of(term, z), logits)


@pytest.mark.parametrize("term", ["kl", "wttm", "nkd", "mse", "dist"])
def test_half_precision_is_worked_with_as_float32(term):
    half = loss_of(term, LOGITS.to(torch.bfloat16))
    assert half.dtype == torch.float32
    assert half == pytest.approx(loss_of(term, LOGITS.to(torch.bfloat16).float()), rel=1e-6)


@pytest.mark.parametrize("term", ['{by="wttm", temperature=3}', "dist", "nkd", "kl", "mse"])
def test_sparse_labels_of_all_they_say_are_as_good_as_dense_ones(term):
    """Top-K labels with a smoothed rest, written out, give the same loss: nothing is left out."""
    scheme = Scheme.parse("topk5-smooth")
    sparse = restore(quantize(stored().float(), scheme), scheme.whole, scheme, C)
    weighed = [Term.parse(term).at(0)]
    dense = sparse.dense(C)
    found = term_losses(LOGITS, weighed, lambda _: sparse, TARGETS).total
    assert found == pytest.approx(
        term_losses(LOGITS, weighed, lambda _: dense, TARGETS).total, rel=1e-5
    )


def test_flags_are_sugar_for_two_terms():
    for settings in ({}, {"hard_weight": 0.3, "student_temperature": 2.0, "label_smoothing": 0.1}):
        objective = Objective(loss="kl", **settings)
        found = loss_of(objective.terms_at(0.0, 1.0))
        expected = distillation_loss(
            LOGITS, stored(), TARGETS, loss="kl", temperature=objective.student_temperature,
            hard_weight=objective.hard_weight, label_smoothing=objective.label_smoothing,
            reduction="none",
        )  # fmt: skip
        assert torch.equal(found, expected)


def test_weights_and_temperatures_move_over_the_run():
    term = Term.parse('{by="kl", weight=[1, 0], temperature=[4, 2]}')
    assert [term.at(done) for done in (0, 0.5, 1)] == [
        Weighed(term, 1.0, 4.0, 4.0), Weighed(term, 0.5, 3.0, 3.0), Weighed(term, 0.0, 2.0, 2.0)
    ]  # fmt: skip
    assert term.reads == (2.0, 4.0)
    config = TrainConfig(objective=Objective(loss=(term, Term("truth", weight=(0, 1)))))
    assert [each.term.to for each in config.terms_at(0)] == ["store"]
    assert [each.term.to for each in config.terms_at(1)] == ["truth"]
    assert config.label_temperatures == (2.0, 4.0)


def test_each_term_is_told_and_all_of_them_are_the_sum():
    terms = [Term.parse(text).at(0) for text in ("kl", "kl", '{to="truth", weight=0.5}')]
    mix = Mix(torch.arange(B).roll(1), 0.3)
    for more in ({}, {"mix": mix}):
        found = term_losses(LOGITS, terms, stored, TARGETS, **more)
        assert found.each.shape == (3, B)
        assert found.each.sum(dim=0) == pytest.approx(found.total, rel=1e-6)
        assert torch.equal(found.each[0], found.each[1])


@pytest.mark.parametrize("term", ["kl", '{by="wttm", temperature=2}', "nkd", '{to="truth"}'])
def test_mixed_views_lose_to_both_of_their_labels_in_shares(term):
    partner = torch.arange(B).roll(2)
    found = loss_of(term, mix=Mix(partner, 0.25))
    other = term_losses(
        LOGITS, [Term.parse(term).at(0)], lambda t: stored(t)[partner], TARGETS[partner]
    )
    assert found == pytest.approx(0.25 * loss_of(term) + 0.75 * other.total, rel=1e-6)


@pytest.mark.parametrize("by", ["kl", "symmetric_kl", "mse", "dist", "wttm", "nkd"])
def test_a_peer_is_as_a_stored_label_of_its_logits(by):
    peers = {"b": TEACHER.clone().requires_grad_()}
    term = Term("peers", by)
    found = term_losses(LOGITS, [term.at(0)], stored, TARGETS, peers=peers).total
    assert found == pytest.approx(loss_of(f'{{by="{by}"}}'), rel=1e-5)
    assert not found.requires_grad


def test_a_loss_to_peers_is_the_mean_over_them():
    peers = {"b": TEACHER, "c": drawn(5)}
    one_by_one = [
        term_losses(LOGITS, [Term(name, "kl").at(0)], stored, peers=peers).total for name in peers
    ]
    both = term_losses(LOGITS, [Term("peers", "kl").at(0)], stored, peers=peers).total
    assert both == pytest.approx(torch.stack(one_by_one).mean(dim=0), rel=1e-6)


def test_constant_peers_give_a_symmetric_distance_the_gradient_of_a_shared_loss():
    """As PaddleOCR learns: one loss of both, through which both learn."""
    a, b = LOGITS.clone().requires_grad_(), TEACHER.clone().requires_grad_()
    p, q = (z.log_softmax(dim=1) for z in (a, b))
    shared = 0.5 * ((p.exp() - q.exp()) * (p - q)).sum()
    expected = torch.autograd.grad(shared, (a, b))
    term = [Term("peers", "symmetric_kl").at(0)]
    for own, other, gradient in ((a, b, expected[0]), (b, a, expected[1])):
        loss = term_losses(own, term, stored, peers={"other": other}).total.sum()
        assert torch.autograd.grad(loss, own)[0] == pytest.approx(gradient, rel=1e-6)


def test_hard_labels_leave_numbers():
    """A label that gives one class everything has no rest that nkd or wttm could normalise."""
    hard = SoftLabels(TARGETS[:, None], torch.ones(B, 1), torch.zeros(B), C)
    for by in ("kl", "nkd", "wttm", "dist"):
        logits = LOGITS.clone().requires_grad_()
        loss = term_losses(logits, [Term(by=by).at(0)], lambda _: hard, TARGETS).total
        assert torch.isfinite(torch.autograd.grad(loss.sum(), logits)[0]).all()


@pytest.mark.parametrize("by", ["kl", "symmetric_kl", "wttm", "dist", "nkd"])
def test_a_temperature_far_below_1_leaves_numbers(by):
    """Each class's power vanishes, and one divides by their sum."""
    logits = LOGITS.float().requires_grad_()
    criterion = DistillationLoss(Term(by=by, temperature=1e-3))
    loss = criterion(logits, stored(4.0), TARGETS)
    assert torch.isfinite(torch.autograd.grad(loss, logits)[0]).all()


def test_one_class_alone_is_standardized_to_nothing():
    logits = torch.ones(3, 1, requires_grad=True)
    loss = DistillationLoss(Term(by="kl", standardize=True))(logits, torch.ones(3, 1))
    assert torch.autograd.grad(loss, logits)[0].tolist() == [[0], [0], [0]]


def test_a_criterion_says_what_it_lacks():
    criterion = DistillationLoss(Term("truth", weight=(1, 0)))
    with pytest.raises(SoftLabelError, match="the loss looks at classes and there are no targets"):
        criterion(LOGITS, stored())
    criterion.done = 1.5
    with pytest.raises(ConfigError, match=r"done is 1\.5; it must lie between 0 and 1"):
        criterion(LOGITS, stored(), TARGETS)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('{to="store", by="mse", wieght=1}', r"no wieght \(perhaps weight\?\)"),
        ("{to=store}", "is no table"),
        ("cosin", "loss 'cosin' is not known; choose from ce, kl"),
        ('{by="l3"}', "by 'l3' is unknown"),
        ('{to="truth", by="kl"}', "a loss to truth is by ce"),
        ('{by="mse", temperature=4}', "temperature does nothing in a loss to store by mse"),
        ('{to="truth", temperature=4}', "temperature does nothing in a loss to truth by ce"),
        ('{to="peers", label_temperature=4}', "label_temperature does nothing"),
        ('{by="kl", gamma=1}', "gamma does nothing"),
        ('{by="mse", standardize=true}', "standardize does nothing"),
        ('{weight=-1}', "weight is -1"),
        ('{weight=[1, 2, 3]}', "weight is .1, 2, 3.; it must be 2 numbers"),
        ('{weight="much"}', "weight is 'much'"),
        ('{temperature=0}', "temperature is 0"),
        ('{label_temperature=0}', "label_temperature is 0"),
        ('{by="kl", standardize=true, label_temperature=2}', "label_temperature does nothing"),
        ('{weight=1' + 5000 * "0" + "}", "is no table .Exceeds the limit"),
        ("{weight=" + 5000 * "[", "is no table .it is nested too deep"),
        ('{by="kl"}\nweight=3', 'loss {by="kl"} weight=3 is more than a table'),
        ('{by="kl",\nweight=3}', 'loss {by="kl", weight=3} is no table'),
        ('{of="store"}', "a loss is of store"),
        ('{to="a b"}', "names 'a b'"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_refused(text, said):
    with pytest.raises(ConfigError, match=said):
        Term.parse(text)


def test_terms_are_read_back_as_they_were_written():
    terms = (
        Term(by="mse", weight=0.1),
        Term("truth", label_smoothing=0.1),
        Term("b", "kl", "a", (1, 0)),
    )
    students = ({"name": "a", "model": "resnet18"}, {"name": "b", "model": "resnet18"})
    config = TrainConfig(student=students, objective=Objective(loss=terms))
    said = config.settings()["loss"]
    assert said[2] == {"to": "b", "by": "kl", "of": "a", "weight": [1, 0]}
    assert TrainConfig.of(student=students, loss=said).objective.loss == terms
    assert TrainConfig.of(loss=("kl", '{to="truth", weight=0.1}')).objective.loss == (
        Term(by="kl"), Term("truth", weight=0.1)
    )  # fmt: skip
    for plain in ("kl", ("kl",), ["kl"]):
        assert TrainConfig.of(loss=plain).objective.loss == "kl"
    assert TrainConfig.of(loss="wttm").objective.loss == (Term(by="wttm"),)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"hard_weight": 0.1}, "--hard-weight says more"),
        ({"student_temperature": 2}, "--student-temperature says more"),
        ({"label_temperature": 2}, "--label-temperature says more"),
        ({"loss": []}, "--loss is empty"),
        ({"loss": {"weight": 0}}, "no term with a weight above 0"),
    ],
)
def test_terms_and_the_flags_that_they_replace_are_not_given_together(settings, said):
    with pytest.raises(ConfigError, match=said):
        TrainConfig.of(**({"loss": "wttm"} | settings))


PARTNERS = (TARGETS + 5) % C
SHARES = torch.linspace(0, 1, B)


@pytest.mark.parametrize("term", ['{to="truth", label_smoothing=0.1}', '{by="nkd"}'])
def test_views_that_were_mixed_before_lose_to_both_of_their_classes_in_shares(term):
    weighed = [Term.parse(term).at(0)]

    def loss_to(targets, **more):
        return term_losses(LOGITS, weighed, stored, targets, **more).total

    mixed = MixedTargets(TARGETS, PARTNERS, SHARES)
    share = SHARES.double()
    expected = share * loss_to(TARGETS) + (1 - share) * loss_to(PARTNERS)
    assert torch.allclose(loss_to(mixed), expected, rtol=1e-12)


def test_a_hard_part_of_views_that_were_mixed_before():
    mixed = MixedTargets(TARGETS, PARTNERS, SHARES)
    how = {"hard_weight": 0.4, "label_smoothing": 0.1, "reduction": "none"}
    both = [distillation_loss(LOGITS, stored(), ids, **how) for ids in (TARGETS, PARTNERS)]
    expected = SHARES * both[0] + (1 - SHARES) * both[1]
    found = DistillationLoss(**how)(LOGITS, stored(), mixed)
    assert torch.allclose(found, expected, rtol=1e-6)
    soft = DistillationLoss(reduction="none")
    assert torch.equal(soft(LOGITS, stored(), mixed), soft(LOGITS, stored()))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ((TARGETS, PARTNERS, SHARES[1:]), r"shares are float32 \[6\]; give floats of shape \[7\]"),
        ((TARGETS, PARTNERS, TARGETS), r"shares are int64 \[7\]"),
        ((TARGETS, PARTNERS[1:], SHARES), r"targets are int64 \[6\]; give int64"),
        ((TARGETS, PARTNERS, SHARES.to("meta")), "shares are on meta"),
        ((TARGETS, PARTNERS - C, SHARES), "targets are below 0"),
    ],
)
def test_targets_of_other_views_are_refused(given, words):
    with pytest.raises(SoftLabelError, match=words):
        distillation_loss(LOGITS, stored(), MixedTargets(*given), hard_weight=0.5)
