"""Soft labels to lose against, and the losses as torch writes them, dense and in float64."""

import torch

from fkd import Scheme
from fkd.labels import quantize, restore
from fkd.loader.labels import harden

READINGS = ["full", "hard", "smooth", "topk5", "topk5-smooth", "topk100", "calibrated"]


def some_labels(reading, crops=7, classes=100, sharpness=1.0):
    """Draw labels of a scheme; `calibrated` ones are top-5, softened hard labels in every other row."""
    full, wanted = Scheme("full"), Scheme.parse(reading.replace("calibrated", "topk5"))
    probs = (sharpness * torch.randn(crops, classes)).softmax(1)
    labels = restore(quantize(probs, full), full, wanted, classes)
    if reading != "calibrated":
        return labels
    targets = torch.randint(classes, (crops,))
    return harden(labels, torch.arange(crops) % 2 == 0, targets, classes, 0.1)


def dense_soft_loss(logits, probs, temperature=1.0, loss="ce"):
    """Return cross-entropy or KL per crop, f64 [B], to probabilities [B, C]."""
    p, log_q = probs.double(), (logits.double() / temperature).log_softmax(dim=1)
    found = -(p * log_q).sum(dim=1)
    return found + torch.special.xlogy(p, p).sum(dim=1) if loss == "kl" else found


def mixed_probs(probs, mix):
    """Return the mixed labels [B, C] of labels that are dense."""
    share = torch.as_tensor(mix.share, dtype=torch.float64).reshape(-1, 1)
    return share * probs.double() + (1 - share) * probs.double()[mix.partner]
