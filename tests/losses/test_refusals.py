"""What does not belong together is refused by one line; odd sizes that do belong together are not."""

from types import SimpleNamespace

import pytest
import torch
from helpers.labels import READINGS, some_labels

from fkd.errors import ConfigError, SoftLabelError
from fkd.labels import SoftLabels, divergence
from fkd.losses import Mix, distillation_loss, kl_divergence, soft_cross_entropy

ASKED = (soft_cross_entropy, kl_divergence, distillation_loss)


@pytest.mark.parametrize("reading", READINGS)
def test_logits_of_other_crops_or_classes_are_refused(reading):
    labels = some_labels(reading, 6, 9)
    kept = labels.value.shape[1]
    for logits, words in (
        (torch.zeros(5, 9), "there are 6 soft labels for 5 rows of outputs"),
        (torch.zeros(6, kept - 1), f"the soft labels have .*, the outputs {kept - 1}"),
        (torch.zeros(6), r"outputs are float32 \[6\]; give floats of shape"),
        (torch.zeros(6, 9, 1), r"outputs are float32 \[6, 9, 1\]"),
        (torch.zeros(6, 9, dtype=torch.long), "outputs are int64"),
        (torch.zeros(6, 9, device="meta"), "outputs are on meta, soft labels on cpu"),
    ):
        for ask in (*ASKED, divergence):
            with pytest.raises(SoftLabelError, match=words):
                ask(logits, labels)


@pytest.mark.parametrize("ask", ASKED)
@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        (torch.zeros(2, 9), torch.zeros(2, 8), "have 8 classes, the outputs 9"),
        (torch.zeros(2, 9), torch.zeros(3, 9), "3 soft labels for 2 rows"),
        (torch.zeros(2, 9), torch.zeros(2, dtype=torch.long), r"int64 \[2\].* class ids as targets"),
        (torch.zeros(2, 9), torch.zeros(2, 9, dtype=torch.long), r"int64 \[2, 9\]"),
        (torch.zeros(2, 9), [[0.5, 0.5]], "soft labels are of the class list; give SoftLabels"),
        (SimpleNamespace(logits=1), torch.zeros(2, 9), "class SimpleNamespace; give the logits alone"),
        (
            torch.zeros(1, 9),
            SoftLabels(torch.tensor([[9]]), torch.ones(1, 1), torch.zeros(1)),
            "soft labels name class 9, counted from 0, and there are 9 outputs",
        ),
    ],
)  # fmt: skip
def test_labels_that_are_none_of_these_outputs_are_refused(ask, logits, labels, words):
    with pytest.raises(SoftLabelError, match=words) as refusal:
        ask(logits, labels)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("targets", "words"),
    [
        (None, r"no targets; give class ids of shape \[4\]"),
        (torch.zeros(3, dtype=torch.long), r"targets are int64 \[3\]; give int64 of shape \[4\]"),
        (torch.zeros(4), r"targets are float32 \[4\]"),
        ([0, 1, 2, 3], "targets are of the class list"),
        (torch.zeros(4, dtype=torch.long, device="meta"), "targets are on meta, outputs on cpu"),
        (
            torch.tensor([0, 1, 2, -1]),
            "targets are below 0, as for views of images without classes",
        ),
        (torch.tensor([0, 1, 2, 9]), "targets name class 9, .* there are 9 outputs"),
    ],
)
def test_targets_that_are_no_classes_are_refused_where_they_are_needed(targets, words):
    labels, logits = some_labels("topk5", 4, 9), torch.zeros(4, 9)
    with pytest.raises(SoftLabelError, match=words):
        distillation_loss(logits, labels, targets, hard_weight=0.5)
    distillation_loss(logits, labels, targets)


@pytest.mark.parametrize("ask", ASKED)
@pytest.mark.parametrize(
    ("partner", "share", "words"),
    [
        (torch.arange(3), 0.5, r"partners are int64 \[3\]; give int64 of shape \[4\]"),
        (torch.tensor([0, 1, 2, 4]), 0.5, "partners name view 4 of a batch of 4"),
        (torch.arange(4, device="meta"), 0.5, "partners are on meta"),
        (torch.arange(4, dtype=torch.uint8), 0.5, "partners are uint8"),
        (torch.arange(4), torch.rand(3), r"shares of a mix are float32 \[3\]; give a number"),
        (torch.arange(4), torch.ones(4, dtype=torch.long), r"shares of a mix are int64 \[4\]"),
        (torch.arange(4), torch.rand(4, device="meta"), "shares of a mix are on meta"),
    ],
)
def test_a_mix_of_other_views_is_refused(ask, partner, share, words):
    with pytest.raises(SoftLabelError, match=words):
        ask(torch.zeros(4, 9), some_labels("topk5", 4, 9), mix=Mix(partner, share))


@pytest.mark.parametrize("ask", ASKED)
def test_a_mix_is_a_mix(ask):
    with pytest.raises(
        SoftLabelError, match=r"mix is of the class tuple; give Mix\(partner, share\)"
    ):
        ask(torch.zeros(4, 9), some_labels("topk5", 4, 9), mix=(torch.arange(4), 0.5))


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "half"])
def test_a_share_is_between_none_and_all(share):
    with pytest.raises(ConfigError, match="share is"):
        Mix(torch.arange(4), share)


@pytest.mark.parametrize("ask", ASKED)
@pytest.mark.parametrize("dense", [True, False])
def test_no_crops_and_a_single_class_are_taken(ask, dense):
    def empty(classes):
        labels = some_labels("topk5", 0, classes)
        return labels.dense(classes) if dense else labels

    logits = torch.zeros(0, 9, requires_grad=True)
    assert ask(logits, empty(9), reduction="none").shape == (0,)
    ask(logits, empty(9), reduction="sum").backward()
    assert logits.grad.shape == (0, 9)
    assert ask(torch.zeros(0, 9), empty(9), reduction="mean").isnan()
    one = torch.ones(3, 1) if dense else some_labels("topk5", 3, 1)
    assert ask(torch.randn(3, 1), one, reduction="none").tolist() == [0, 0, 0]
