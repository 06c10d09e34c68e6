"""Losses against the formulas of their papers, written down a second time: float64, plain NumPy.

z are the student's logits and v the teacher's, both [B, C]; t are classes. Each formula is a mean over
the batch. Its gradient is taken by differences.
"""

import numpy as np
import pytest
import torch

from fkd.config import Term
from fkd.labels import SoftLabels
from fkd.losses import term_losses

B, C = 6, 5
RNG = np.random.default_rng(0)
Z, V = 2 * RNG.standard_normal((B, C)), 3 * RNG.standard_normal((B, C))
T = RNG.integers(C, size=B)


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def kl(p, q):
    return (p * (np.log(p) - np.log(q))).sum(axis=1)


def hinton(z, v, t):
    """Hinton et al. 2015, section 2: KL at T = 4, times T², so that gradients keep their size."""
    return (16 * kl(softmax(v / 4), softmax(z / 4))).mean()


def wttm(z, v, t):
    """Zheng and Yang, ICLR 2024, equations 13 and 17, with γ = 1 / T = 0.5; U = Σ p^γ."""
    powers = softmax(v) ** 0.5
    u = powers.sum(axis=1)
    return (u * kl(powers / u[:, None], softmax(z))).mean()


def pearson(a, b):
    a, b = a - a.mean(), b - b.mean()
    return (a @ b) / np.sqrt((a @ a) * (b @ b))


def dist(z, v, t):
    """Huang et al., NeurIPS 2022, equations 8 to 10, with β = γ = 1, at T = 2, times T²."""
    q, p = softmax(z / 2), softmax(v / 2)
    inter = np.mean([1 - pearson(q[i], p[i]) for i in range(B)])
    intra = np.mean([1 - pearson(q[:, j], p[:, j]) for j in range(C)])
    return 4 * (inter + intra)


def nkd(z, v, t):
    """Yang et al., ICCV 2023, equation 8, with γ = 1.5, at T = 2: each class but the own one anew."""
    total = 0.0
    for i in range(B):
        others = np.arange(C) != t[i]
        p, q = softmax(v[i : i + 1])[0], softmax(z[i : i + 1])[0]
        p2, q2 = softmax(v[i : i + 1, others] / 2)[0], softmax(z[i : i + 1, others] / 2)[0]
        total += -p[t[i]] * np.log(q[t[i]]) - 1.5 * 4 * (p2 * np.log(q2)).sum()
    return total / B


def standardised(z, v, t):
    """Sun et al., CVPR 2024, algorithm 1, at base temperature 2: KL of Z-scores, times T²."""
    zs, vs = ((x - x.mean(1, keepdims=True)) / x.std(1, ddof=1, keepdims=True) for x in (z, v))
    return (4 * kl(softmax(vs / 2), softmax(zs / 2))).mean()


def logit_mse(z, v, t):
    """Ba and Caruana, NeurIPS 2014: L2 between logits; both centred, since softmax sees no constant."""
    zs, vs = (x - x.mean(1, keepdims=True) for x in (z, v))
    return ((zs - vs) ** 2).mean()


def symmetric(z, v, t):
    """Half of KL in either direction, as PaddleOCR's DML has it."""
    p, q = softmax(v), softmax(z)
    return ((kl(p, q) + kl(q, p)) / 2).mean()


def truth(z, v, t):
    """Cross-entropy to the class."""
    return -np.log(softmax(z)[np.arange(B), t]).mean()


PAPERS = [
    (hinton, Term(by="kl", temperature=4.0)),
    (wttm, Term(by="wttm", temperature=2.0)),
    (dist, Term(by="dist", temperature=2.0)),
    (nkd, Term(by="nkd", temperature=2.0)),
    (standardised, Term(by="kl", temperature=2.0, standardize=True)),
    (logit_mse, Term(by="mse")),
    (symmetric, Term(by="symmetric_kl")),
    (truth, Term(to="truth")),
]
IDS = [paper.__name__ for paper, _ in PAPERS]


def labels(temperature):
    probs = torch.from_numpy(softmax(V / temperature))
    return SoftLabels(None, probs, probs.new_zeros(B), C)


def gradient(paper, z, step=1e-6):
    found = np.zeros_like(z)
    for place in np.ndindex(*z.shape):
        there = np.zeros_like(z)
        there[place] = step
        found[place] = (paper(z + there, V, T) - paper(z - there, V, T)) / (2 * step)
    return found


@pytest.mark.parametrize(("paper", "term"), PAPERS, ids=IDS)
def test_a_loss_is_its_papers(paper, term):
    logits = torch.from_numpy(Z.copy()).requires_grad_()
    loss = term_losses(logits, (term.at(0),), labels, torch.from_numpy(T)).total.mean()
    loss.backward()
    assert loss.item() == pytest.approx(paper(Z, V, T), rel=1e-6)
    np.testing.assert_allclose(logits.grad.numpy(), gradient(paper, Z), atol=2e-7)


@pytest.mark.parametrize(("paper", "term"), PAPERS[:-1], ids=IDS[:-1])
def test_a_loss_to_a_peer_is_that_to_a_store_of_its_outputs(paper, term):
    logits = torch.from_numpy(Z.copy()).requires_grad_()
    peer = torch.from_numpy(V.copy()).requires_grad_()
    of_peer = Term(to="peers", **{name: v for name, v in term.table().items() if name != "to"})
    loss = term_losses(
        logits, (of_peer.at(0),), labels, torch.from_numpy(T), peers={"other": peer}
    ).total.mean()
    loss.backward()
    assert loss.item() == pytest.approx(paper(Z, V, T), rel=1e-6)
    np.testing.assert_allclose(logits.grad.numpy(), gradient(paper, Z), atol=2e-7)
    assert peer.grad is None


def test_terms_add_up_with_their_weights():
    terms = tuple(
        Term(**{**term.table(), "weight": 0.5 + n}).at(0) for n, (_, term) in enumerate(PAPERS)
    )
    logits = torch.from_numpy(Z.copy()).requires_grad_()
    total = term_losses(logits, terms, labels, torch.from_numpy(T)).total.mean()
    known = sum((0.5 + n) * paper(Z, V, T) for n, (paper, _) in enumerate(PAPERS))
    assert total.item() == pytest.approx(known, rel=1e-6)
