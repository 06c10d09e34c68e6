"""Coarse schemes: the same classes in fewer bits, read as the scheme that is not coarse."""

import numpy as np
import pytest
import torch

from fkd import FkdError, LabelStore, Scheme
from fkd.cli.label import _say_next
from fkd.labels import KeptLabels, check_reading, divergence, quantize, restore
from tests.helpers.stores import NUM_CLASSES as CLASSES
from tests.helpers.stores import make_spec, make_store


def probs_of(count, sharpness=3.0):
    torch.manual_seed(0)
    return (sharpness * torch.randn(count, CLASSES)).softmax(1)


def loss_of(name, probs):
    scheme = Scheme.parse(name)
    labels = restore(quantize(probs, scheme), scheme, scheme.whole, CLASSES)
    return float(divergence(probs, labels).mean())


def test_coarse_steps_cost_little_beside_the_flat_tail():
    probs = probs_of(2000)
    fine, coarse = loss_of("topk5", probs), loss_of("topk5-coarse", probs)
    assert fine < coarse < fine + 0.02
    assert loss_of("full-8bit", probs) < 1e-3


def test_coarse_codes_are_of_three_quarters_of_a_nat():
    probs = torch.tensor([[0.8, 0.8 * np.exp(-1.5), 0.0, 0.0]])
    probs[0, 3] = 1 - probs.sum()
    kept = quantize(probs, Scheme.parse("topk2-coarse"))
    assert kept["code"][0, 0] == 2
    assert kept["index"].tolist() == [[0, 1]]


def test_codes_of_all_classes_begin_with_the_largest_and_know_nothing():
    probs = torch.tensor([[0.5, 0.5 * np.exp(-1.0), 0.0, 0.0]])
    probs[0, 3] = 1 - probs.sum()
    kept = quantize(probs, Scheme.parse("full-8bit"))
    assert kept["log_code"][0, :3].tolist() == [0, 8, 255]
    back = restore(kept, Scheme.parse("full-8bit"), Scheme("full"), 4)
    assert back.value[0, 2] == 0


@pytest.mark.parametrize("name", ["topk5-coarse", "full-8bit"])
def test_a_coarse_scheme_is_read_as_the_one_that_is_not(name):
    stored = Scheme.parse(name)
    assert str(stored) == name
    assert stored.whole == Scheme.parse(name.split("-")[0]).whole
    assert not stored.can_be_read_as(stored)
    kept = quantize(probs_of(2), stored)
    with pytest.raises(FkdError, match=f"{name} is a way to store labels; read them as"):
        restore(kept, stored, stored, CLASSES)


@pytest.mark.parametrize(
    "name", ["hard-coarse", "full-coarse", "smooth-8bit", "topk5-coarse-smooth"]
)
def test_there_is_no_other_coarse_form(name):
    with pytest.raises(FkdError, match="is unknown; choose full, hard"):
        Scheme.parse(name)


@pytest.mark.parametrize("name", ["topk5-coarse", "full-8bit", "topk20-coarse", "topk5"])
def test_a_store_gives_back_what_it_was_given(name, tmp_path):
    """In coarse labels classes of one code may change places; the first rank never does."""
    probs, scheme = probs_of(3 * 8), Scheme.parse(name)
    store, (block,) = make_store(tmp_path / "s.zarr", 3, 8, scheme, block=3, skip=(0,))
    store = LabelStore.open(store.path, writable=True)
    for field, values in quantize(probs, scheme).items():
        block.kept[field][:] = values.numpy().reshape(3, 8, -1)
    store.commit_block(0, block)
    kept = LabelStore.open(store.path).read_block(0).kept
    before, after = (read_whole(scheme, each) for each in (block.kept, kept))
    assert torch.equal(before.dense(CLASSES), after.dense(CLASSES))
    assert torch.equal(before.top_class, after.top_class)
    if name == "topk5":
        assert all(np.array_equal(block.kept[field], kept[field]) for field in kept)


def read_whole(scheme, kept):
    flat = {field: torch.from_numpy(values.reshape(24, -1)) for field, values in kept.items()}
    return restore(flat, scheme, scheme.whole, CLASSES)


def test_labels_without_any_probability_are_refused():
    labels = KeptLabels(Scheme.parse("full-8bit"), 3)
    nothing = np.full((1, 1, 3), 255, np.uint8)
    for code in (nothing, nothing - 1, nothing // nothing):  # at a low temperature all are nothing
        assert labels.fault({"log_code": code}) == (
            "values",
            "no class has code 0, the largest one's",
        )


@pytest.mark.parametrize(
    ("stored", "reading"),
    [
        ("topk3-coarse", "topk3"),
        ("topk5-coarse", "topk5"),
        ("full-8bit", "topk5"),
        ("hard", "hard"),
    ],
)
def test_the_next_command_reads_what_a_coarse_store_keeps(stored, reading, tmp_path, capsys):
    scheme = Scheme.parse(stored)
    _say_next(tmp_path, make_spec(4, 4, scheme))
    assert capsys.readouterr().err.split()[-2:] == ["--compress", reading]
    check_reading(scheme, Scheme.parse(reading))


def test_equal_schemes_are_equal():
    assert Scheme("samples", 8, "smooth") == Scheme("samples", 8)
    assert Scheme("full", tail="smooth") == Scheme("full")
