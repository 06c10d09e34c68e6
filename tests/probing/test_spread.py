"""How far vectors are from each other, against sums over all pairs."""

import pytest
import torch
from torch.nn import functional

from fkd.probing import spread


def vectors(n, d, seed=0):
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


def test_the_mean_cosine_is_that_of_all_pairs():
    some = vectors(7, 5) + 1
    cosines = functional.cosine_similarity(some[:, None], some[None], dim=2)
    pairs = cosines[~torch.eye(7, dtype=torch.bool)]
    found = spread(some)
    assert found.cosine == pytest.approx(float(pairs.mean()), abs=1e-6)
    assert found.norm == pytest.approx(float(some.norm(dim=1).mean()))


@pytest.mark.parametrize("axes", [1, 2, 5])
def test_the_rank_is_how_many_axes_they_have(axes):
    """Equal deviations along some axes of many, away from 0."""
    basis = torch.linalg.qr(vectors(30, axes)).Q
    across = torch.eye(axes) @ basis.T * 4
    some = torch.cat([across, -across]) + vectors(1, 30)
    found = spread(some)
    assert found.rank == pytest.approx(axes, abs=1e-3)
    assert found.spectrum[:axes].tolist() == pytest.approx([1 / axes] * axes, abs=1e-4)


def test_vectors_that_differ_in_all_numbers_have_many_axes():
    assert 50 < spread(vectors(200, 64)).rank <= 64


def test_collapsed_vectors_have_none():
    found = spread(vectors(1, 9).expand(20, 9) * 3)
    assert found.cosine == pytest.approx(1)
    assert found.rank == 0
    assert found.constant == 9
    zeros = spread(torch.zeros(4, 3))
    assert (zeros.cosine, zeros.rank, zeros.norm) == (0, 0, 0)
    assert spread(vectors(1, 9)).cosine == 1


def test_numbers_that_never_change_are_counted():
    some = vectors(12, 6)
    some[:, 2:5] = 0.1
    assert spread(some).constant == 3
