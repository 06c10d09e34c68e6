"""Distances between vectors: each by its definition, with its gradient, mixed, and what is refused."""

import itertools

import numpy as np
import pytest
import torch

from fkd.config import VECTOR_DISTANCES, Term, TrainConfig
from fkd.errors import ConfigError, SoftLabelError
from fkd.losses import DistillationLoss, Mix, term_losses, vector_distance

B, D, GRID = 6, 5, (3, 2)
RNG = np.random.default_rng(0)
OWN, KNOWN = (torch.from_numpy(RNG.normal(size=(B, D))) for _ in range(2))
OWN_MAP, KNOWN_MAP = (torch.from_numpy(RNG.normal(size=(B, D, *GRID))) for _ in range(2))
S, T, SM, TM = (each.numpy() for each in (OWN, KNOWN, OWN_MAP, KNOWN_MAP))


def huber(d):
    return np.where(np.abs(d) < 1, d**2 / 2, np.abs(d) - 0.5)


def cosines(a, b):
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def softmax_kl(t, s):
    p, q = (np.exp(z) / np.exp(z).sum(-1, keepdims=True) for z in (t, s))
    return (p * np.log(p / q)).sum(-1)


def related(s, t):
    """RKD, a pair and a triplet at a time, as its paper writes it."""

    def pairs(x):
        d = np.array([[np.linalg.norm(a - b) for a in x] for b in x])
        return d / (d.sum() / (len(x) * (len(x) - 1)))

    def angle(x, i, j, k):
        a, b = x[i] - x[j], x[k] - x[j]
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    distances, others = huber(pairs(t) - pairs(s)), len(s) - 1
    found = distances.sum(1) / others
    for j in range(len(s)):
        rest = [i for i in range(len(s)) if i != j]
        each = [
            huber(angle(t, i, j, k) - angle(s, i, j, k)) for i, k in itertools.permutations(rest, 2)
        ]
        found[j] += 2 * np.mean(each)
    return found


EXPECTED = {
    "l1": (np.abs(S - T).mean(1), np.abs(SM - TM).mean((1, 2, 3))),
    "l2": (((S - T) ** 2).mean(1), ((SM - TM) ** 2).mean((1, 2, 3))),
    "smooth_l1": (huber(S - T).mean(1), huber(SM - TM).mean((1, 2, 3))),
    "cosine": (1 - cosines(S, T), (1 - cosines(SM, TM)).mean((1, 2))),
    "relation": (related(S, T), related(SM.reshape(B, -1), TM.reshape(B, -1))),
    "channel_kl": (
        4 * softmax_kl(T / 2, S / 2),
        4 * softmax_kl(*(m.reshape(B, D, -1) / 2 for m in (TM, SM))).mean(1),
    ),
}


@pytest.mark.parametrize("by", VECTOR_DISTANCES)
def test_a_distance_is_what_its_paper_says(by):
    temperature = 2.0 if by == "channel_kl" else 1.0
    for own, known, expected in ((OWN, KNOWN, 0), (OWN_MAP, KNOWN_MAP, 1)):
        found = vector_distance(own, known, by, temperature).numpy()
        assert found == pytest.approx(EXPECTED[by][expected], rel=1e-6)


@pytest.mark.parametrize("by", VECTOR_DISTANCES)
def test_a_distance_has_the_gradient_of_its_value(by):
    for own, known in ((OWN, KNOWN), (OWN_MAP[:4], KNOWN_MAP[:4])):
        own = own.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda s, t=known: vector_distance(s, t, by), own)


@pytest.mark.parametrize("by", VECTOR_DISTANCES)
def test_work_is_done_in_float32_whatever_the_precision_around(by):
    own, known = OWN_MAP.bfloat16(), KNOWN_MAP.half()
    with torch.autocast("cpu", torch.bfloat16):
        found = vector_distance(own, known, by)
    assert found.dtype == torch.float32
    assert torch.equal(found, vector_distance(own.float(), known.float(), by))


@pytest.mark.parametrize("by", VECTOR_DISTANCES)
def test_what_is_alike_or_alone_leaves_numbers(by):
    """Of one view, of two that are one, and of a network that says the same of all, the gradient, too."""
    cases = (OWN[:1], OWN[:2], OWN[[0, 0, 1]], torch.zeros(4, D), torch.full((4, D), 3.0))
    for own in cases:
        own = own.float().requires_grad_()
        found = vector_distance(own, KNOWN[: len(own)].float(), by)
        assert torch.isfinite(found).all()
        assert torch.isfinite(torch.autograd.grad(found.sum(), own)[0]).all()
        assert vector_distance(own, own, by).abs().max() < (1.1 if by == "cosine" else 1e-6)


def test_relations_do_not_see_what_moves_turns_or_scales_all_views():
    turned = OWN @ torch.linalg.qr(torch.from_numpy(RNG.normal(size=(D, D))))[0]
    found = vector_distance(100 + 3 * turned.float(), OWN.float(), "relation")
    assert found.abs().max() < 1e-6


def sentence(by, **more):
    return Term("store:mid", by, **more)


def test_a_term_to_stored_vectors_takes_them_by_name():
    """Of the output, and of a layer; beside a term on the class, whose loss is as alone."""
    terms = (sentence("l2", weight=0.5), sentence("cosine", layer="body"), Term("truth"))
    targets = torch.arange(B) % D
    criterion = DistillationLoss(terms, reduction="none")
    found = criterion(OWN, targets=targets, vectors={"mid": KNOWN}, features={"body": OWN.flip(1)})
    expected = 0.5 * vector_distance(OWN, KNOWN, "l2")
    expected = expected + vector_distance(OWN.flip(1), KNOWN, "cosine")
    alone = DistillationLoss(Term("truth"), reduction="none")(OWN, targets=targets)
    assert torch.allclose(found, expected + alone, rtol=1e-12)


def test_mixed_views_lose_to_both_of_their_vectors_in_shares():
    partner = torch.arange(B).roll(2)
    criterion = DistillationLoss(sentence("cosine"), reduction="none")
    found = criterion(OWN, mix=Mix(partner, 0.25), vectors={"mid": KNOWN})
    both = [vector_distance(OWN, known, "cosine") for known in (KNOWN, KNOWN[partner])]
    assert torch.allclose(found, 0.25 * both[0] + 0.75 * both[1])


def test_outputs_of_peers_are_vectors_too_and_constants():
    peers = {"b": KNOWN.clone().requires_grad_(), "c": KNOWN.flip(0)}
    found = DistillationLoss(Term("peers", "l1"), reduction="none")(OWN, peers=peers)
    both = [vector_distance(OWN, peer, "l1") for peer in peers.values()]
    assert torch.allclose(found, torch.stack(both).mean(dim=0))
    assert not found.requires_grad
    with pytest.raises(SoftLabelError, match="a criterion knows the outputs of peers alone"):
        DistillationLoss(Term("b", "l1", layer="body"))(OWN, peers=peers)


def test_a_temperature_moves_and_multiplies_by_its_square():
    criterion = DistillationLoss(sentence("channel_kl", temperature=(3, 1)), reduction="none")
    for done, temperature in ((0.0, 3.0), (1.0, 1.0)):
        criterion.done = done
        found = criterion(OWN_MAP.flatten(1), vectors={"mid": KNOWN_MAP.flatten(1)})
        expected = vector_distance(
            OWN_MAP.flatten(1), KNOWN_MAP.flatten(1), "channel_kl", temperature
        )
        assert torch.equal(found, expected)


@pytest.mark.parametrize(
    ("own", "known", "said"),
    [
        (OWN, KNOWN[:, 1:], r"are \[6, 5\], and they are compared with \[6, 4\]; bring them"),
        (OWN, KNOWN.to("meta"), "vectors are on meta, the student's on cpu"),
        (OWN.long(), KNOWN, r"vectors are int64 \[6, 5\]; give floats"),
        (OWN[:, 0], KNOWN, r"vectors are float64 \[6\]"),
        ((OWN, OWN), KNOWN, "vectors are tuple"),
    ],
)
def test_vectors_that_do_not_fit_are_refused(own, known, said):
    with pytest.raises(SoftLabelError, match=said):
        vector_distance(own, known)


def test_a_criterion_names_what_it_was_not_given():
    with pytest.raises(SoftLabelError, match="vectors named mid, and given are: output; give vect"):
        DistillationLoss(sentence("l2"))(OWN, vectors={"output": KNOWN})
    with pytest.raises(SoftLabelError, match="features named body, and given are: none"):
        DistillationLoss(sentence("l2", layer="body"))(OWN, vectors={"mid": KNOWN})
    with pytest.raises(SoftLabelError, match="the loss is on vectors"):
        term_losses(OWN, [sentence("l2").at(0)], lambda _: KNOWN)
    with pytest.raises(SoftLabelError, match="soft labels are of the class NoneType"):
        DistillationLoss("kl")(OWN)
    with pytest.raises(ConfigError, match="by 'kl' is unknown; choose l1, l2"):
        vector_distance(OWN, KNOWN, "kl")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("cosine", '--loss cosine compares vectors; say with which, as in {to="store:output"'),
        ('{by="l2"}', 'name the vectors, as in to="store:output"'),
        ('{to="store:mid"}', "a loss to store:mid is on vectors, and ce compares distributions"),
        ('{to="truth", by="l2"}', "a loss to truth is by ce, not by l2"),
        ('{to="truth", layer="body"}', "layer does nothing in a loss to truth"),
        ('{layer="body"}', "layer does nothing in a loss to store, which is on"),
        ('{to="peers", by="kl", layer="body"}', "kl compares distributions, and layer body says"),
        ('{to="store:mid", by="l2", temperature=2}', "temperature does nothing"),
        ('{to="store:mid", by="l2", gamma=2}', "gamma does nothing"),
        ('{to="store:mid", by="l2", adapt="conv"}', "adapt 'conv' is unknown; choose auto, linear"),
        ('{to="peers", by="l2", adapt="linear"}', "adapt does nothing in a loss to peers by l2"),
        ('{to="store", by="kl", adapt="linear"}', "adapt does nothing in a loss to store by kl"),
        ('{to="store:", by="l2"}', "a loss names ''"),
        ('{to="store:a b", by="l2"}', "a loss names 'a b'"),
    ],
)
def test_a_sentence_that_cannot_be_meant_is_refused(text, said):
    with pytest.raises(ConfigError) as refused:
        Term.parse(text)
    assert said in str(refused.value)


def test_terms_on_vectors_are_read_back_as_they_were_written():
    terms = (
        sentence("cosine", layer="features"),
        sentence("channel_kl", layer="body.2", adapt="mlp", temperature=4.0),
        Term("peers", "l2", "a", layer="body"),
        Term("b", "l1"),
    )
    students = ({"name": "a", "model": "resnet18"}, {"name": "b", "model": "resnet18"})
    config = TrainConfig.of(student=students, loss=terms)
    assert TrainConfig.of(**config.settings() | {"recipe": "fkd"}).objective.loss == terms
    assert [str(term) for term in terms] == [
        "cosine to store:mid, layer features, weight 1",
        "channel_kl to store:mid, layer body.2, adapted by mlp, T = 4, weight 1",
        "l2 to peers of a, layer body, weight 1",
        "l1 to b, weight 1",
    ]
    assert config.label_temperatures == ()
    with pytest.raises(ConfigError, match="it may be to store, store:NAME, truth, peers, a, b"):
        TrainConfig.of(student=students, loss=Term("mid", "l2"))
