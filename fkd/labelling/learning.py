"""What schemes of vectors learn of a sample of views, once, before a store is made."""

from collections.abc import Mapping

import numpy as np
import torch

from fkd.config import LabelConfig
from fkd.errors import ModelError
from fkd.format import StoreSpec
from fkd.images import ImageList
from fkd.labelling.batches import teacher_batches, views_at_a_time
from fkd.labelling.drawing import WantedViews
from fkd.progress import note
from fkd.teachers import Ensemble
from fkd.vectors import Constants
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

    They are about `at_most` views. Raises `ModelError` for vectors that are not finite.
    """
    learning = {name: kept for name, kept in spec.vectors.items() if kept.constants}
    if not learning:
        return {}
    crops = min(spec.num_crops, -(-at_most // len(images)))
    chosen = np.linspace(0, len(images) - 1, min(len(images), at_most // crops)).round()
    note(f"{', '.join(learning)} is learned of {crops * len(chosen):,} views")
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
        if not sample.isfinite().all():
            raise ModelError(
                f"teacher {teachers.teachers[0].name}: its vectors {name} are not finite; check "
                "--teacher-weights, --mean, --std and --amp"
            )
        constants[name] = kept.fit(sample)
    return constants
