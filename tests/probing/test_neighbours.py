"""Nearest neighbours and their votes, beside plain loops over a table of all cosines."""

import pytest
import torch
from torch.nn import functional

from fkd import FkdError
from fkd.probing import knn_top1, linear_probe, nearest
from fkd.probing import neighbours as room


@pytest.fixture
def clouds():
    """40 vectors of 7 numbers around 4 centres, so near that some neighbours are of other classes."""
    drawn = torch.Generator().manual_seed(0)
    classes = torch.randint(4, (40,), generator=drawn)
    centres = torch.randn(4, 7, generator=drawn)
    return centres[classes] + torch.randn(40, 7, generator=drawn), classes


@pytest.fixture(params=["at once", "in pieces"])
def pieces(request, monkeypatch):
    if request.param == "in pieces":
        monkeypatch.setattr(room, "_QUERIES", 6)
        monkeypatch.setattr(room, "_BANK", 5)  # fewer than neighbours


def plain_top1(features, classes, bank, bank_classes, k, temperature, *, itself=False):
    hits = 0
    for row, vector in enumerate(features):
        cosines = functional.cosine_similarity(vector[None], bank)
        if not itself:
            cosines[row] = -2
        votes = {}
        for near in cosines.argsort(descending=True)[:k].tolist():
            weight = torch.exp(cosines[near].double() / temperature)
            votes[int(bank_classes[near])] = votes.get(int(bank_classes[near]), 0) + weight
        hits += max(votes, key=votes.get) == int(classes[row])
    return hits / len(features)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (8, 0.07), (8, 5.0), (39, 1.0)])
def test_neighbours_among_the_others(clouds, pieces, k, temperature):
    features, classes = clouds
    expected = plain_top1(features, classes, features, classes, k, temperature)
    assert 0.2 < expected < 1
    assert knn_top1(features, classes, k=k, temperature=temperature) == expected


def test_neighbours_in_a_bank(clouds, pieces):
    features, classes = clouds
    some, rest = slice(0, 13), slice(13, None)
    bank = (features[rest] * 3, classes[rest])
    expected = plain_top1(features[some], classes[some], *bank, 9, 0.07, itself=True)
    assert knn_top1(features[some], classes[some], bank, k=9) == expected


def test_a_vote_weighs_by_its_cosine():
    """Two neighbours of another class are farther away than the one of its own: T decides."""
    degrees = torch.tensor([0.0, 10.0, 40.0, 41.0]).deg2rad()
    bank = torch.stack([degrees.cos(), degrees.sin()], dim=1)
    given = (bank[:1], torch.tensor([0]), (bank[1:], torch.tensor([0, 1, 1])))
    assert knn_top1(*given, k=3, temperature=0.07) == 1
    assert knn_top1(*given, k=3, temperature=1e-3) == 1  # exp(cos / T) itself would be infinite
    assert knn_top1(*given, k=3, temperature=10) == 0


def test_the_nearest_of_some_views(clouds, pieces):
    features, _ = clouds
    cosines, rows = nearest(features, 6)
    table = functional.cosine_similarity(features[:, None], features[None], dim=2)
    table.fill_diagonal_(-2)
    assert torch.equal(rows, table.argsort(dim=1, descending=True)[:, :6])
    assert torch.allclose(cosines, table.gather(1, rows), atol=1e-6)


def test_what_has_no_neighbours(clouds):
    features, classes = clouds
    with pytest.raises(FkdError, match="--k is 40, and there are 39 images to be neighbours; give"):
        knn_top1(features, classes, k=40)
    with pytest.raises(FkdError, match="one image alone has no neighbours"):
        knn_top1(features[:1], classes[:1])
    features[3, 2] = float("nan")
    for judged in (
        lambda: knn_top1(features, classes, k=1),
        lambda: linear_probe(features, classes, features, classes),
    ):
        with pytest.raises(FkdError, match="features are not finite"):
            judged()


def test_a_probe_finds_what_is_linear_whatever_its_scale(clouds):
    """A class is the sign of one of many numbers, on a scale of its own: neighbours do not see it."""
    drawn = torch.Generator().manual_seed(1)
    features = torch.randn(600, 30, generator=drawn) * torch.logspace(3, -3, 30) + 5
    classes = (features[:, -1] > 5).long()
    train, others = slice(0, 400), slice(400, None)
    given = (features[train], classes[train], features[others], classes[others])
    found = linear_probe(*given)
    assert found.top1 > 0.95
    assert linear_probe(*given) == found
    assert knn_top1(*given[2:], given[:2]) < 0.7


def test_a_probe_is_the_minimum_of_its_loss_and_takes_the_l2_of_held_out_images(clouds):
    """Labels at random teach nothing: the strongest L2 is no worse than another."""
    features, classes = clouds
    found = linear_probe(features, classes, features, classes)
    x = (features - features.mean(0)) / features.std(0, correction=0)
    weights = torch.zeros(8, 4, requires_grad=True)
    for _ in range(4000):
        loss = functional.cross_entropy(x @ weights[:-1] + weights[-1], classes)
        loss = loss + found.l2 / 2 * weights[:-1].square().sum()
        (gradient,) = torch.autograd.grad(loss, weights)
        weights.data -= gradient
    expected = (x @ weights[:-1] + weights[-1]).argmax(1) == classes
    assert found.top1 == pytest.approx(float(expected.float().mean()))
    drawn = torch.Generator().manual_seed(2)
    noise = torch.randn(300, 60, generator=drawn), torch.randint(3, (300,), generator=drawn)
    assert linear_probe(*noise, *noise).l2 > found.l2
