"""A batch of soft labels is cut, joined and mixed as its dense form is."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fkd import FkdError, Scheme, SoftLabels, soft_cross_entropy
from fkd.labels import quantize, restore

SCHEMES = ["hard", "smooth", "topk1", "topk3", "topk3-smooth", "topk8-smooth", "full"]


def some_labels(scheme, count, classes, seed):
    probs = (
        torch.randn(count, classes, generator=torch.Generator().manual_seed(seed)).mul(2).softmax(1)
    )
    scheme = Scheme.parse(scheme)
    return restore(quantize(probs, scheme.whole), scheme.whole, scheme, classes)


@settings(deadline=None, max_examples=60)
@given(
    st.sampled_from(SCHEMES), st.sampled_from(SCHEMES), st.integers(2, 40), st.integers(0, 999),
    st.sampled_from([0.0, 0.3, 1.0, "each"]),
)  # fmt: skip
def test_a_mix_is_the_mix_of_the_dense_forms(one, other, classes, seed, share):
    own, others = (some_labels(s, 7, classes, seed + n) for n, s in enumerate((one, other)))
    share = torch.linspace(0, 1, 7) if share == "each" else share
    mixed = own.mix(others, share, classes)
    weight = torch.as_tensor(share).expand(7)[:, None]
    expected = weight * own.dense(classes) + (1 - weight) * others.dense(classes)
    assert torch.allclose(mixed.dense(classes), expected, atol=1e-6)
    if mixed.index is not None:
        assert all(len(set(row)) == len(row) for row in mixed.index.tolist())
        assert int(mixed.index.max()) < classes
        assert (mixed.value.diff(dim=1) <= 0).all()
    most = expected.gather(1, mixed.top_class[:, None])[:, 0]
    assert torch.allclose(most, expected.amax(1), atol=1e-6)
    assert torch.allclose(mixed.confidence, expected.amax(1), atol=1e-6)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_labels_are_cut_and_joined_as_tensors_are(scheme):
    labels = some_labels(scheme, 9, 12, 0)
    dense = labels.dense(12)
    for rows in (
        slice(2, 7),
        slice(None, None, 3),
        [4, 0],
        torch.tensor([8, 8]),
        torch.arange(9) > 5,
    ):
        assert torch.equal(labels[rows].dense(12), dense[rows])
    assert torch.equal(labels[-1].dense(12), dense[-1:])
    with pytest.raises(IndexError):
        labels[9]
    joined = SoftLabels.concatenate([labels[:4], labels[4:]])
    assert torch.equal(joined.dense(12), dense)


def test_labels_of_other_crops_are_not_mixed():
    labels = some_labels("topk3", 9, 12, 0)
    with pytest.raises(FkdError, match="8 soft labels for 9 rows"):
        labels.mix(labels[:8], 0.5, 12)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_labels_of_a_store_know_how_many_classes_there_are(scheme):
    """A model of more outputs would learn that the others never are: no id is too large for it."""
    labels = some_labels(scheme, 9, 40, 0)
    for some in (
        labels,
        labels[2:5],
        labels.to("cpu"),
        labels.mix(labels[[8, 7, 6, 5, 4, 3, 2, 1, 0]], 0.5),
    ):
        assert some.num_classes == 40
        assert torch.equal(some.dense(), some.dense(40))
        with pytest.raises(FkdError, match="the soft labels have 40 classes, the outputs 41"):
            some.dense(41)
    assert SoftLabels.concatenate([labels, labels]).num_classes == 40
    with pytest.raises(
        FkdError, match="have 40 classes, the outputs 1,000; the model must have one"
    ):
        soft_cross_entropy(torch.zeros(9, 1000), labels)


def test_labels_of_ones_own_need_not_say_it():
    labels = SoftLabels(torch.tensor([[3]]), torch.ones(1, 1), torch.zeros(1))
    assert labels.dense(5).tolist() == [[0, 0, 0, 1, 0]]
    with pytest.raises(FkdError, match="do not say how many classes there are; give num_classes"):
        labels.dense()
