"""Stored labels in a narrower scheme are what a teacher would have left there, and cost what they say."""

import math

import numpy as np
import pytest
import torch

from fkd import Scheme
from fkd.errors import SoftLabelError
from fkd.labels import (
    KeptLabels,
    check_narrowing,
    divergence,
    narrowed,
    narrowed_fidelity,
    quantize,
    restore,
    row_fidelity,
)

CLASSES, IMAGES, CROPS = 60, 40, 5
ALL_BUT_SAMPLES = ["full", "full-8bit", "hard", "smooth", "topk1", "topk4", "topk10"]
ALL_BUT_SAMPLES += ["topk4-coarse", "topk10-coarse", "topk60", "topk99"]


def some_probs(seed=0, sharpest=60.0):
    """Labels from flat to so sharp that classes are zero in float32."""
    torch.manual_seed(seed)
    scale = torch.logspace(-1, math.log10(sharpest), IMAGES * CROPS)[:, None]
    return (scale * torch.randn(IMAGES * CROPS, CLASSES)).softmax(1)


def stored(probs, name):
    """Labels as a store holds them, [n, m, …]."""
    scheme = Scheme.parse(name)
    kept = KeptLabels(scheme, CLASSES).empty(IMAGES, CROPS)
    for field, values in quantize(probs, scheme).items():
        kept[field][:] = values.numpy().reshape(kept[field].shape)
    return kept


def as_tensors(kept):
    flat = {name: torch.from_numpy(v.reshape(-1, v.shape[-1])) for name, v in kept.items()}
    return {name: v.long() if name == "index" else v for name, v in flat.items()}


def allowed(had, wanted):
    try:
        check_narrowing(Scheme.parse(had), Scheme.parse(wanted), "a.zarr")
    except SoftLabelError:
        return False
    return True


PAIRS = [
    (had, wanted) for had in ALL_BUT_SAMPLES for wanted in ALL_BUT_SAMPLES if allowed(had, wanted)
]


def test_what_can_be_derived_is_allowed_and_no_more():
    assert len(PAIRS) > 50
    assert ("topk10", "topk4-coarse") in PAIRS
    assert ("hard", "hard") in PAIRS
    assert ("topk4", "topk10") not in PAIRS
    assert ("topk10", "full") not in PAIRS
    assert ("hard", "topk1") not in PAIRS


@pytest.mark.parametrize(
    ("had", "wanted", "words"),
    [
        (
            "topk4",
            "topk10",
            "a.zarr keeps: it holds topk4, which can be kept as hard, smooth, topkK and",
        ),
        ("topk1", "topk4", "as hard, smooth, topk1 and topk1-coarse$"),
        ("hard", "smooth", "it holds hard, which can be kept as hard$"),
        (
            "samples4",
            "hard",
            "its draws are no label that has another part; leave --compress out, or",
        ),
        ("samples4", "samples2", "samples2 draws others, not some of them"),
        ("full", "samples2", "what is drawn comes from a teacher's own label"),
    ],
)
def test_what_cannot_be_derived_is_refused_by_name(had, wanted, words):
    with pytest.raises(SoftLabelError, match=words):
        check_narrowing(Scheme.parse(had), Scheme.parse(wanted), "a.zarr")


@pytest.mark.parametrize(("had", "wanted"), PAIRS)
def test_it_has_the_arrays_of_the_wanted_scheme_and_no_fault(had, wanted):
    labels = KeptLabels(Scheme.parse(wanted), CLASSES)
    found = narrowed(stored(some_probs(), had), Scheme.parse(had), labels.scheme, CLASSES)
    empty = labels.empty(IMAGES, CROPS)
    assert {n: (v.dtype, v.shape) for n, v in found.items()} == {
        n: (v.dtype, v.shape) for n, v in empty.items()
    }
    assert labels.fault(found) is None
    assert not labels.disordered(found).any()


@pytest.mark.parametrize("wanted", ["hard", "smooth", "topk1", "topk4", "topk10", "topk60"])
def test_top_k_of_more_classes_keeps_what_a_teacher_would(wanted):
    """Bytes are equal but for the tail's code, which may be the one beside it."""
    probs, scheme = some_probs(), Scheme.parse(wanted)
    had = "topk99" if wanted == "topk60" else "topk60" if wanted == "topk10" else "topk10"
    found, fresh = (
        narrowed(stored(probs, had), Scheme.parse(had), scheme, CLASSES),
        stored(probs, wanted),
    )
    assert np.array_equal(found["index"], fresh["index"])
    if "code" in fresh:
        gap = found["code"].astype(int) - fresh["code"]
        assert not gap[..., :-1].any()
        # What is pooled has codes of its own, and the least one says no more than its bound.
        told = stored(probs, had)["code"][..., -1] < 250
        assert np.abs(gap[..., -1][told]).max(initial=0) <= 1
        assert (gap[..., -1] == 0).mean() > 0.7


def test_coarse_codes_are_rounded_once_more():
    probs, coarse = some_probs(), Scheme.parse("topk4-coarse")
    fine = stored(probs, "topk4")
    found, fresh = (
        narrowed(fine, Scheme.parse("topk4"), coarse, CLASSES),
        stored(probs, "topk4-coarse"),
    )
    assert np.array_equal(found["index"], fresh["index"])
    gap = np.abs(found["code"].astype(int) - fresh["code"])
    middle = (fine["code"] % 6 == 3) | (fine["code"] >= 254)
    assert gap[fine["code"] < 254].max() == 1
    assert not gap[~middle].any()


@pytest.mark.parametrize("wanted", ["hard", "smooth", "topk4", "topk4-coarse", "full-8bit"])
def test_dense_labels_are_quantized_as_a_teacher_s_but_for_float16(wanted):
    probs = some_probs()[: 30 * CROPS].repeat(2, 1)[
        : IMAGES * CROPS
    ]  # none of them zero in float16
    scheme = Scheme.parse(wanted)
    found, fresh = (
        narrowed(stored(probs, "full"), Scheme("full"), scheme, CLASSES),
        stored(probs, wanted),
    )
    for name, values in fresh.items():
        same = found[name] == values
        assert same.mean() > 0.97, name
        if name != "index":
            assert np.abs(found[name].astype(int) - values).max() <= 1


@pytest.mark.parametrize(("had", "wanted"), PAIRS)
def test_what_it_gives_up_is_what_the_teacher_would_measure(had, wanted):
    """Against the teacher's own probabilities, which the function never sees."""
    probs, (old, new) = some_probs(sharpest=5), (Scheme.parse(had), Scheme.parse(wanted))
    kept = stored(probs, had)
    before = row_fidelity(probs, as_tensors(kept), old).double().mean(0).float().numpy()
    narrow = narrowed(kept, old, new, CLASSES)
    true = row_fidelity(probs, as_tensors(narrow), new).double().mean(0).numpy()
    found = narrowed_fidelity(before, kept, old, narrow, new, CLASSES)
    assert found.dtype == np.float32
    assert np.isnan(found[:2]).all() == (new.kind == "hard")
    if new.kind != "hard":
        rounding = 0.04 if "coarse" in had else 0.002
        assert found[0] == pytest.approx(true[0], abs=rounding)
        assert true[1] - rounding <= found[1] <= found[0] + 1e-4
    assert found[2] == pytest.approx(true[2], abs=0.02 if "coarse" in had else 0.002)
    assert found[3:] == pytest.approx(true[3:], abs=0.02)
    assert (found[2:] <= before[2:] + 1e-6).all()


def test_the_divergence_of_two_stored_labels_is_a_dense_one_s():
    """What the measure adds is KL(q_A ‖ q_K), crop by crop, to float32."""
    kept, old, new = stored(some_probs(), "topk10"), Scheme("topk", 10), Scheme("topk", 3)
    narrow = narrowed(kept, old, new, CLASSES)
    label = restore(as_tensors(kept), old, old.whole, CLASSES).dense(CLASSES)
    added = divergence(label, restore(as_tensors(narrow), new, new.whole, CLASSES)).mean().item()
    known = np.array([0.25, 0.01, 1, 1, 1, 1], np.float32)
    found = narrowed_fidelity(known, kept, old, narrow, new, CLASSES)
    assert found[0] == pytest.approx(0.25 + added, abs=2e-6)


def test_what_was_not_measured_stays_so():
    unknown = np.full(6, np.nan, np.float32)
    for had, known in (("topk10", False), ("full-8bit", False), ("full", True)):
        kept, old, new = stored(some_probs(), had), Scheme.parse(had), Scheme("topk", 4)
        narrow = narrowed(kept, old, new, CLASSES)
        assert (
            np.isfinite(narrowed_fidelity(unknown, kept, old, narrow, new, CLASSES)).all() == known
        )
