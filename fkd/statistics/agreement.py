"""How often the teacher names the class of an image's folder, from so few crops that it costs no wait."""

import torch

from fkd.errors import StoreError
from fkd.statistics.sweep import Sweep, swept
from fkd.store import LabelStore


def sampled_agreement(store: LabelStore, at_most: int = 200_000) -> float | None:
    """Return the share of crops whose top-1 is their image's class, from about `at_most` crops.

    It is None where images have no classes, and where labels are samples, which name no top-1.
    Raises `StoreError` where no image is labelled yet, or labels are damaged.
    """
    if not store.spec.labels.keeps_first:
        return None
    sweep = Sweep.sample(store, at_most)
    agreeing = total = 0
    with torch.inference_mode():
        for piece in swept(store, sweep):
            if piece.target is None:
                return None
            target = torch.from_numpy(piece.target).repeat_interleave(sweep.num_crops)
            agreeing += int((piece.labels.top_class == target).sum())
            total += len(target)
    if not total:
        raise StoreError(f"{store.path} holds no labelled image; run `fkd label` to go on")
    return agreeing / total
