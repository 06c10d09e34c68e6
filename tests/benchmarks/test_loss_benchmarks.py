"""What losses lose to top-K labels, and what their terms cost: the scripts say what they claim."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def label_fit(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    import label_fit

    yield label_fit
    sys.modules.pop("label_fit", None)


@pytest.fixture
def taught(label_fit):
    logits = torch.from_numpy(3 * np.random.default_rng(0).standard_normal((32, 20)))
    return label_fit.Taught(logits.float().log_softmax(dim=1), torch.arange(32) % 20)


def test_labels_that_keep_all_classes_lose_nothing(label_fit, taught):
    for term in label_fit.LOSSES.values():
        cells = [
            label_fit.compared(
                label_fit.gradient(taught, term, reading, 0.5),
                label_fit.gradient(taught, term, "full", 0.5),
            )
            for reading in ("full", "topk5-smooth")
        ]
        assert cells[0] == "1.000 (1.00)"
        assert cells[1] != cells[0]


def test_standardising_by_a_known_deviation_is_standardising(label_fit, taught):
    """Of labels that keep all: what is left is that the deviation is rounded."""
    term = label_fit.LOSSES[label_fit.STANDARDIZED]
    full = label_fit.gradient(taught, term, "full", 0.5)
    known = label_fit.gradient(taught, term, "full, deviation known", 0.5)
    torch.testing.assert_close(known[0], full[0], atol=1e-4, rtol=0.02)
    assert known[1] == pytest.approx(full[1], rel=0.02)


def test_a_made_student_correlates_with_the_teacher_as_it_is_said(label_fit, taught):
    for rho in label_fit.RHOS:
        pairs = zip(taught.student(rho).numpy(), taught.log_probs.numpy(), strict=True)
        found = np.mean([np.corrcoef(own, known)[0, 1] for own, known in pairs])
        assert found == pytest.approx(rho, abs=0.1)
