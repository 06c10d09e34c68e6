"""Learners of every kind of label and loss, and batches for them: no store, no images."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import torch
from torch import nn

from fkd import Scheme, StudentChoice, TrainConfig
from fkd.config import Preprocessing, VectorScheme
from fkd.labels import KeptLabels
from fkd.loader import StudentBatch
from fkd.students import StudentCard
from fkd.training import Group, Learner
from fkd.training.comparing import comparisons
from fkd.vectors import KeptVectors, StoredVectors

VIEWS, CLASSES, PIXELS = 16, 5, 32
TOP3 = KeptLabels(Scheme("topk", 3), CLASSES)
_TORCH = {
    "uint32": torch.int64,
    "uint8": torch.uint8,
    "int8": torch.int8,
    "float16": torch.float16,
}


def of_views():
    """Make a student of whole views, with a layer that is written over and one that draws."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.1),
        nn.Linear(8, CLASSES),
    )


def of_maps():
    """Make a student that says maps of 8 x 8 positions."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 4, 4), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, CLASSES, 1)
    )


class Lines(nn.Module):
    """A student that says lines of 8 frames."""

    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 8, 4, 4), nn.Linear(8, CLASSES)

    def forward(self, pixels):
        return self.head(self.conv(pixels).mean(dim=2).transpose(1, 2))


def learner_of(
    device, terms, *, labels=TOP3, network=of_views, students=1, vectors=None, **settings
):
    """Build a learner of terms, or of a loss by name; `vectors` are those that a store keeps, by name."""
    names = [f"s{number}" for number in range(students)]
    settings = {"batch_size": VIEWS, "micro_batch": 15, "scheme": labels.scheme} | settings
    chosen = tuple(StudentChoice("small", name) for name in names)
    loss = terms if isinstance(terms, str) else tuple(terms)
    config = TrainConfig.from_recipe("fkd", loss=loss, student=chosen, **settings)
    torch.manual_seed(0)
    built = [network() for _ in names]
    card = StudentCard("small", tuple("abcde"), Preprocessing(PIXELS))
    store = SimpleNamespace(vectors=(vectors or {}).__getitem__)
    compared = comparisons(config, store, [PIXELS], [card] * students, built)
    peers = [(card, one) for one in built[1:]]
    return Learner(config, card, labels, built[0], device, Group(), peers, compared), config


def stored(shape, *, pca=False):
    """Return what a store says of vectors `v`: of maps or vectors as int8, or of two components."""
    if not pca:
        return StoredVectors(KeptVectors("v", VectorScheme("int8"), shape))
    learned = {
        "mean.v": np.zeros(shape, np.float32),
        "rotation.v": np.zeros((2, *shape), np.float16),
        "step.v": np.ones(1, np.float32),
        "root.v": np.ones(1, np.uint8),
    }
    return StoredVectors(KeptVectors("v", VectorScheme("pca", 2), shape), learned)


def batch_of(*, labels=TOP3, vectors=None, own_share=None, masks=False, texts=False):
    """Return a batch of views of four images, noise in several tones, with all that is kept of them."""
    noise = torch.Generator().manual_seed(0)
    tones = torch.rand(VIEWS, 3, 1, 1, generator=noise)
    pixels = tones + 0.3 * torch.rand(VIEWS, 3, PIXELS, PIXELS, generator=noise)
    views = (190 * pixels).to(torch.uint8).contiguous(memory_format=torch.channels_last)
    fields = [*labels.fields, *(f for one in (vectors or {}).values() for f in one.kept.fields)]
    kept = {f.name: torch.ones(VIEWS, f.length, dtype=_TORCH[f.dtype]) for f in fields}
    if "index" in kept:
        classes = torch.arange(labels.fields[0].length) % min(labels.num_ranks, CLASSES)
        kept["index"] = classes.expand(VIEWS, -1).to(kept["index"].dtype)
    targets, images = torch.zeros(VIEWS, dtype=torch.int64), np.arange(4).repeat(4)
    batch = StudentBatch(views, kept, targets, images, np.tile(np.arange(4), 4), np.arange(4))
    if own_share is not None:
        share = torch.full((VIEWS,), own_share)
        batch = replace(batch, partner_targets=targets + 1, own_share=share)
    if masks:
        batch = replace(batch, masks=torch.zeros(VIEWS, PIXELS, PIXELS, dtype=torch.uint8))
    return replace(batch, texts=torch.tensor([[1, 2, 0]] * VIEWS)) if texts else batch
