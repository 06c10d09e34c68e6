"""The mean of stored labels is the teachers' mean, as far as their stores tell it."""

import numpy as np
import pytest
import torch
from test_narrowed_labels import CLASSES, CROPS, IMAGES, as_tensors, some_probs, stored

from fkd import Scheme
from fkd.errors import SoftLabelError
from fkd.labels import averaged, check_averaging, divergence, restore


def dense(kept, name):
    scheme = Scheme.parse(name)
    return restore(as_tensors(kept), scheme, scheme.whole, CLASSES).dense(CLASSES)


def mean_of(names, weights, wanted):
    """Teachers' probabilities, what stores keep of them, and their stored mean."""
    probs = [some_probs(seed) for seed in range(len(names))]
    kept = [stored(p, name) for p, name in zip(probs, names, strict=True)]
    schemes = [Scheme.parse(name) for name in names]
    mean = averaged(kept, schemes, weights, Scheme.parse(wanted), CLASSES)
    true = sum(w * p for w, p in zip(weights, probs, strict=True))
    return probs, kept, mean, true


def total_variation(p, q):
    return (p - q).abs().sum(1) / 2


def test_of_full_labels_it_is_that_of_the_teachers():
    _, _, mean, true = mean_of(["full", "full"], [0.7, 0.3], "full")
    assert total_variation(dense(mean, "full"), true).max() < 2e-3
    _, _, mean, _ = mean_of(["full", "full"], [0.7, 0.3], "topk4")
    fresh = stored(true, "topk4")
    assert (mean["index"] == fresh["index"]).mean() > 0.98
    assert np.abs(mean["code"].astype(int) - fresh["code"]).max() <= 1


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (["topk4", "topk4"], [0.7, 0.3]),
        (["topk10", "topk4-coarse"], [0.2, 0.8]),
        (["topk4", "topk10", "smooth"], [0.5, 0.3, 0.2]),
        (["topk60", "topk60"], [0.5, 0.5]),
        (["full", "topk4"], [0.5, 0.5]),
        (["topk1"], [1.0]),
    ],
)
def test_sparse_labels_have_the_mean_of_their_dense_forms(names, weights):
    """The top K of the union, its codes and its tail are those that a dense mean is quantized to."""
    k = min(Scheme.parse(name).k or CLASSES for name in names)
    _, kept, mean, _ = mean_of(names, weights, f"topk{k}")
    whole = sum(w * dense(each, name) for w, each, name in zip(weights, kept, names, strict=True))
    fresh = stored(whole, f"topk{k}")
    value = np.take_along_axis(
        whole.numpy().reshape(IMAGES, CROPS, -1), mean["index"].astype(int), 2
    )
    best = np.take_along_axis(
        whole.numpy().reshape(IMAGES, CROPS, -1), fresh["index"].astype(int), 2
    )
    assert value == pytest.approx(best, abs=1e-6)  # of equal classes either may be kept
    gap = np.abs(mean["code"].astype(int) - fresh["code"])
    assert gap.max() <= 1
    assert (gap == 0).mean() > 0.99  # sums in another order, on the edge of a step
    ids = np.sort(mean["index"], axis=2)
    assert (ids[..., 1:] != ids[..., :-1]).all()


@pytest.mark.parametrize(
    "names", [["topk4", "topk4"], ["topk10", "topk4"], ["topk4", "full", "smooth"]]
)
def test_it_is_as_near_to_the_teachers_mean_as_its_bounds_say(names):
    weights = np.random.default_rng(0).dirichlet(np.ones(len(names))).tolist()
    probs, kept, mean, true = mean_of(names, weights, "smooth" if "smooth" in names else "topk4")
    each = [dense(k, name) for k, name in zip(kept, names, strict=True)]
    q = sum(w * label for w, label in zip(weights, each, strict=True))
    apart = [total_variation(p, label) for p, label in zip(probs, each, strict=True)]
    bound = sum(w * far for w, far in zip(weights, apart, strict=True))
    assert (total_variation(true, q) <= bound + 1e-5).all()
    said = dense(mean, "smooth" if "smooth" in names else "topk4")
    assert (total_variation(true, said) <= bound + total_variation(q, said) + 1e-5).all()
    nats = sum(
        w * divergence(p, restore(as_tensors(k), s, s.whole, CLASSES))
        for w, p, k, s in zip(weights, probs, kept, map(Scheme.parse, names), strict=True)
    )
    of_mean = torch.where(true > 0, true * (true / q).log(), 0.0).sum(1)
    assert (of_mean <= nats + 1e-4).all()


@pytest.mark.parametrize(
    ("names", "wanted", "words"),
    [
        (
            ["hard", "topk4"],
            "hard",
            "a.zarr holds hard, a class of each label and no probabilities",
        ),
        (["topk4", "samples4"], "topk4", "b.zarr holds samples4, draws from each label and no"),
        (["topk10", "topk4"], "topk10", "asks for more than b.zarr keeps: it holds topk4"),
        (["topk4", "full"], "full", "asks for more than a.zarr keeps"),
        (["topk4", "topk4"], "samples4", "comes from a teacher's own label"),
    ],
)
def test_what_has_no_mean_is_refused_by_name(names, wanted, words):
    stores = list(zip(["a.zarr", "b.zarr"], map(Scheme.parse, names), strict=True))
    with pytest.raises(SoftLabelError, match=words):
        check_averaging(stores, Scheme.parse(wanted))
