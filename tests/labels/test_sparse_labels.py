"""Labels of K classes and a residual are kept and measured as the same labels written out are."""

import pytest
import torch

from fkd import Scheme, SoftLabels
from fkd.errors import SoftLabelError
from fkd.labels import quantize, quantize_sparse, row_fidelity, sparse_fidelity

CLASSES = 50


def some_labels(k):
    """Return labels of K classes and a residual: flat, sharp, and with nothing left over."""
    torch.manual_seed(0)
    scale = torch.tensor([0.1, 1.0, 3.0, 6.0])[:, None]
    value, index = (scale * torch.randn(4, CLASSES)).softmax(1).topk(k, dim=1)
    value[3] /= value[3].sum()
    rest = (1 - value.double().sum(1)).clamp(min=0) / (CLASSES - k)
    rest[3] = 0
    return SoftLabels(index, value, rest.float(), CLASSES)


@pytest.mark.parametrize(
    ("k", "name"),
    [(5, "topk5"), (5, "topk5-coarse"), (5, "topk3"), (5, "smooth"), (5, "hard"), (1, "smooth")],
)
def test_they_are_kept_and_measured_as_when_written_out(k, name):
    labels, scheme = some_labels(k), Scheme.parse(name)
    dense = labels.dense()
    wanted, kept = quantize(dense, scheme), quantize_sparse(labels, scheme)
    assert set(kept) == set(wanted)
    for array, values in wanted.items():
        assert torch.equal(kept[array].long(), values.long()), array
    torch.testing.assert_close(
        sparse_fidelity(labels, kept, scheme), row_fidelity(dense, wanted, scheme),
        atol=2e-5, rtol=1e-4, equal_nan=True,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["full", "topk6", "samples4"])
def test_more_than_they_say_cannot_be_kept(name):
    with pytest.raises(SoftLabelError, match=f"cannot be kept as {name}; keep fewer"):
        quantize_sparse(some_labels(5), Scheme.parse(name))


def test_dense_labels_are_refused():
    dense = SoftLabels(None, torch.full((1, 4), 0.25), torch.zeros(1))
    with pytest.raises(SoftLabelError, match="name no classes"):
        quantize_sparse(dense, Scheme("hard"))
