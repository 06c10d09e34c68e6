"""What schemes of vectors learn of a sample of views, once, before a store is made."""

from collections.abc import Mapping

import numpy as np
import torch

from fkd.amounts import as_count
from fkd.config import LabelConfig
from fkd.errors import ModelError
from fkd.format import StoreSpec
from fkd.images import ImageList
from fkd.labelling.batches import teacher_batches, views_at_a_time
from fkd.labelling.drawing import WantedViews
from fkd.progress import note
from fkd.teachers import Ensemble
from fkd.vectors import Constants, KeptVectors
from fkd.views import RenderPool

# Views that are looked at: of so many images, evenly from all over the list, as few crops as do.
SAMPLE = 8192


def num_learned(spec: StoreSpec) -> int:
    """Return how many views are looked at, before a store is made, for what its schemes learn."""
    if not any(kept.constants for kept in spec.vectors.values()):
        return 0
    crops = min(spec.num_crops, -(-SAMPLE // spec.num_images))
    return crops * min(spec.num_images, SAMPLE // crops)


def learned(
    config: LabelConfig,
    images: ImageList,
    teachers: Ensemble,
    spec: StoreSpec,
    at_most: int = SAMPLE,
) -> Mapping[str, Constants]:
    """Return what the scheme of each target has learned, of the same views in every run.

    They are about `at_most` views. Raises `ModelError` for vectors that are not finite, and for those of
    which nothing can be learned.
    """
    learning = {name: kept for name, kept in spec.vectors.items() if kept.constants}
    if not learning:
        return {}
    crops = min(spec.num_crops, -(-at_most // len(images)))
    chosen = np.linspace(0, len(images) - 1, min(len(images), at_most // crops)).round()
    note(f"{', '.join(learning)} is learned of {as_count(crops * len(chosen), 'view')}")
    for kept in learning.values():
        for less in _less_than_asked(kept, num_learned(spec)):
            note(less)
    said: dict[str, list[torch.Tensor]] = {name: [] for name in learning}
    drawn = WantedViews(spec.views, range(crops), None, spec.sampler, range(len(images)))
    with RenderPool(config.workers, teachers.device, config.render) as pool:
        for batch in teacher_batches(
            pool,
            images,
            chosen.astype(np.int64).tolist(),
            drawn,
            views_at_a_time(config, teachers.device),
            teachers.view_formats,
        ):
            if batch.num_views:
                _, vectors = teachers.say(batch.views, batch.num_views, 1.0, labels=False)
                for name in learning:
                    said[name].append(vectors[name].flatten(1).cpu())
    constants = {}
    for name, kept in learning.items():
        sample = torch.cat(said[name]) if said[name] else torch.empty(0, kept.num_numbers)
        _refuse_sample(sample, kept, teachers.teachers[0].name)
        constants[name] = kept.fit(sample)
    return constants


def _less_than_asked(kept: KeptVectors, num_views: int) -> list[str]:
    """Say where a target has fewer components than its scheme asks for, of so many views or at all."""
    said, count = [], kept.num_components
    if count < kept.scheme.size:
        numbers = as_count(kept.num_numbers, "number")
        said.append(f"{kept.name} has {numbers} a view, so {kept.scheme} keeps {count} components")
    known = num_views - 1  # so many directions are between that many points
    if 0 < known < count:
        said.append(
            f"warning: {kept.name} is learned of {as_count(num_views, 'view')}, by which {known:,} "
            f"components are known at most, and {kept.scheme} keeps {count:,}; choose pca{known} or "
            "fewer, or int8"
        )
    return said


def _refuse_sample(sample: torch.Tensor, kept: KeptVectors, teacher: str) -> None:
    """Raise `ModelError` for a sample f32 [n, L] of which a scheme can learn nothing."""
    if not sample.isfinite().all():
        raise ModelError(
            f"teacher {teacher}: its vectors {kept.name} are not finite; check --teacher-weights, "
            "--mean, --std and --amp"
        )
    why = ""
    if len(sample) < 2:
        why = f"{as_count(len(sample), 'view')} could be looked at"
    elif bool((sample == sample[0]).all()):
        why = f"they are the same in all {as_count(len(sample), 'view')} that were looked at"
    if why:
        raise ModelError(
            f"teacher {teacher}: keep {str(kept.scheme)!r} is learned of how its vectors {kept.name} "
            f"differ, and {why}; keep them as int8"
        )
