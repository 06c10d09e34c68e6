"""How often the teacher names an image's class, and how sure it is, from so few crops that none waits."""

import torch

from fkd.errors import StoreError
from fkd.statistics.certainty import Certainty, CertaintyTally
from fkd.statistics.measured import MeasuredCrops
from fkd.statistics.sweep import Sweep, swept
from fkd.store import LabelStore


def sampled_agreement(store: LabelStore, at_most: int = 200_000) -> float | None:
    """Return the share of crops whose top-1 is their image's class, from about `at_most` of them.

    Of a mixed view it is the class of either image.
    It is None where images have no classes, and where labels are samples, which name no top-1, or maps.
    Raises `StoreError` where no image is labelled yet, or labels are damaged.
    """
    if not store.spec.labels.keeps_first or store.spec.grid:
        return None
    sweep = Sweep.sample(store, at_most)
    agreeing = total = 0
    with torch.inference_mode():
        for piece in swept(store, sweep):
            agrees = piece.agrees
            if agrees is None:
                return None
            agreeing += int(agrees.sum())
            total += len(agrees)
    if not total:
        raise _no_image(store)
    return agreeing / total


def sampled_certainty(store: LabelStore, at_most: int = 200_000) -> Certainty | None:
    """Return how sure the teacher is, from about `at_most` labels, without the crops that stand out.

    It is None where the scheme keeps no values (`hard`, `samples`). Raises what `sampled_agreement` does.
    """
    if not store.spec.labels.keeps_values:
        return None
    sweep, tally = Sweep.sample(store, at_most), CertaintyTally(store.spec, 0)
    if not sweep.labelled.any():
        raise _no_image(store)
    with torch.inference_mode():
        for piece in swept(store, sweep):
            tally.add(MeasuredCrops.of(piece, store.spec))
    return tally.finish()


def _no_image(store: LabelStore) -> StoreError:
    return StoreError(f"{store.path} holds no labelled image; run `fkd label` to go on")
