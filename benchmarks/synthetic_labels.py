"""Soft labels like those of a real ImageNet teacher, made from a seed: for benchmarks without a download.

A crop's logits are the inner products of class embeddings with a vector that the crops of an image share
in part, plus a peak around the image's own class, as strong as its object is visible. The six numbers
below were fitted by hand to a MobileNetV2 over 200 ImageNet photos, 200 crops each (in brackets: what
this generator gives): top-1 probability 0.72 (0.70) on average and 0.30 (0.28) at the lowest tenth, kept
mass of top-5 0.91 (0.89), of top-20 0.96 (0.95), distinct classes among the top-5 of an image's crops 76
(57), entropy of a top-5 id given the image 4.4 (4.3) bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fkd import LabelStore, Preprocessing, Scheme, ViewPolicy
from fkd.format import (
    StoreSpec,
    TeacherRecord,
    library_versions,
    now,
    plan_layout,
)
from fkd.images import ImageList, fingerprint
from fkd.originals import probe
from fkd.views import RENDERER, SAMPLER, SAMPLERS

CLASSES = 1000

_DIMENSIONS = 12
_IMAGE, _CROP, _NOISE = 2.2, 1.35, 0.4  # standard deviations: per image, per crop, per logit
_PEAK, _OWN = 12.0, 5.0  # of the classes around the image's own, and of that one alone


@dataclass(frozen=True)
class SyntheticLabels:
    """Probabilities f32 [N, M, C], boxes u16 [N, M, 4], flips bool [N, M], sizes u16 [N, 2], ids [N]."""

    probs: Tensor
    box: NDArray[np.uint16]
    flip: NDArray[np.bool_]
    size: NDArray[np.uint16]
    target: NDArray[np.int64]


def make_labels(num_images: int, num_crops: int, seed: int = 0) -> SyntheticLabels:
    """Draw labels and views of `num_images` images of ImageNet-like sizes."""
    rng = np.random.default_rng(seed)
    short = rng.integers(300, 500, num_images)
    long = (short * rng.uniform(1.0, 1.6, num_images)).astype(np.int64)
    lying = rng.random(num_images) < 0.75
    size = np.stack([np.where(lying, short, long), np.where(lying, long, short)], axis=1)
    size = size.astype(np.uint16)
    box, flip = SAMPLERS[SAMPLER].draw(
        ViewPolicy(), np.arange(num_images), np.arange(num_crops), size
    )
    target = rng.integers(0, CLASSES, num_images)
    probs = draw_logits(target, num_crops, seed).softmax(dim=2)
    return SyntheticLabels(probs, box, flip, size, target)


def draw_logits(target: NDArray[np.int64], num_crops: int, seed: int) -> Tensor:
    """Draw logits f32 [N, M, C] for images of these classes."""
    generator = torch.Generator().manual_seed(seed)
    images, classes = len(target), torch.from_numpy(target)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    embedding = normal(CLASSES, _DIMENSIONS) / _DIMENSIONS**0.5
    embedding *= torch.exp(0.3 * normal(CLASSES, 1))
    seen = _IMAGE * normal(images, 1, _DIMENSIONS) + _CROP * normal(images, num_crops, _DIMENSIONS)
    logits: Tensor = seen @ embedding.T + _NOISE * normal(images, num_crops, CLASSES)
    direction = embedding / embedding.norm(dim=1, keepdim=True)
    around = (direction[classes] @ direction.T).clamp(min=0) ** 4
    around[torch.arange(images), classes] += _OWN / _PEAK
    visible = torch.rand(images, num_crops, 1, generator=generator) ** 0.7
    strength = _PEAK * torch.exp(0.4 * normal(images, 1, 1)) * visible
    logits += strength * around[:, None]
    return logits


def create_store(
    path: Path,
    target: NDArray[np.int64],
    num_crops: int,
    names: Sequence[str],
    scheme: Scheme,
    sampler: str = SAMPLER,
) -> LabelStore:
    """Create an empty store of images that do not exist, with paths as long as ImageNet's."""
    paths = [f"{names[t]}/{names[t]}_{index}.JPEG" for index, t in enumerate(target)]
    num_bytes = np.full(len(target), 110_000) + np.arange(len(target)) % 10_000
    images = ImageList(Path("/images"), paths, target, num_bytes, tuple(names))
    record = TeacherRecord("teacher", "sha256:" + "0" * 64, "sha256:" + "0" * 64, Preprocessing())
    spec = StoreSpec(
        num_images=len(target),
        num_crops=num_crops,
        num_classes=len(names),
        scheme=scheme,
        views=ViewPolicy(),
        sampler=sampler,
        renderer=RENDERER,
        probe=probe("bilinear"),
        size=224,
        interpolation="bilinear",
        temperature=1.0,
        teachers=(record,),
        images_root="/images",
        fingerprint=fingerprint(paths, num_bytes),
        versions=library_versions(),
        created=now(),
    )
    return LabelStore.create(path, plan_layout(spec), images, target, names)
