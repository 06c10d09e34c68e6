"""Selection by confidence: which crops a run takes, worked out once from what is stored."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fkd.amounts import as_count
from fkd.config import Selection
from fkd.errors import ConfigError
from fkd.labels import KeptLabels, entropy
from fkd.loader.picks import Bools, Picks
from fkd.progress import note, progress_bar
from fkd.store import LabelStore

# Crops whose labels are restored at a time: float32 values of a top-10 label stay in the cache.
_CROPS_AT_ONCE = 2**15
_VALUES_AT_ONCE = 2**22  # of dense labels, fewer crops


@dataclass
class _Selected:
    """Counts of the crops that have been judged, and the bounds of their confidence and entropy."""

    crops: int = 0
    taken: int = 0
    empty_images: int = 0
    sure: int = 0
    unsure: int = 0
    most_confidence: float = float("-inf")
    least_entropy: float = float("inf")


def select_crops(
    selection: Selection, store: LabelStore, chosen: NDArray[np.int64] | None = None
) -> Picks | None:
    """Return the crops that a run takes, or None where it takes all, and print how many they are.

    `chosen`, int64 [N], are the run's images, rising; None are all that have labels.

    Raises `ConfigError` where the store keeps no confidence, and where no crop is left.
    """
    if selection.takes_all:
        return None
    if not store.spec.labels.keeps_values:
        what = "hard labels" if store.spec.labels.keeps_first else "samples of labels"
        if not store.spec.labels.there:
            what = "vectors and no labels"
        raise ConfigError(
            f"{_flags(selection)}: {store.path} holds {what}, which say nothing of the teacher's "
            "confidence; leave the selection out, or label with --compress topk5-coarse"
        )
    tally, taken_images = _Selected(), np.zeros(store.spec.num_images, np.bool_)
    taken_images[store.labelled_images() if chosen is None else chosen] = True
    every = selection.sure_every if selection.calibrate else 1
    picks = Picks(
        _judged_blocks(selection, store, taken_images, tally), store.spec.num_crops, every
    )
    if not tally.taken:
        raise ConfigError(
            f"{_flags(selection)} leaves none of the {as_count(tally.crops, 'crop')} of {store.path}: "
            f"the largest confidence is {tally.most_confidence:.5g}, the least entropy "
            f"{tally.least_entropy:.5g} nats; choose looser bounds"
        )
    note(_summary(selection, tally))
    return picks


def _judged_blocks(
    selection: Selection, store: LabelStore, chosen: Bools, tally: _Selected
) -> Iterator[tuple[Bools, Bools]]:
    """Yield, block by block, which crops of the images `chosen`, bool [all], are taken and sure."""
    crops = store.spec.num_crops
    with progress_bar("select crops", unit="crop", total=chosen.size * crops) as bar:
        for block in store.image_runs():
            rows = chosen[block.start : block.stop]
            bar.update(len(block) * crops)
            if not rows.any():
                continue
            kept = store.read_images(block, crops).kept
            confidence, spread = _measure(
                {name: values[rows].reshape(-1, values.shape[2]) for name, values in kept.items()},
                store.spec.labels,
            )
            taken, sure = _judge(selection, confidence, spread, tally)
            shape = (int(rows.sum()), crops)
            tally.empty_images += int((~taken.reshape(shape).any(axis=1)).sum())
            yield taken.reshape(shape), sure.reshape(shape)


def _measure(
    kept: dict[str, NDArray[np.generic]], stored: KeptLabels
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return confidence and entropy, f32 [B], of quantized labels [B, …]."""
    num_labels, width = next(iter(kept.values())).shape
    at_once = min(_CROPS_AT_ONCE, max(1, _VALUES_AT_ONCE // width))
    confidence, spread = (np.empty(num_labels, np.float32) for _ in range(2))
    for first in range(0, num_labels, at_once):
        rows = slice(first, first + at_once)
        tensors = {name: torch.from_numpy(values[rows]) for name, values in kept.items()}
        labels = stored.restore(tensors)
        confidence[rows] = labels.confidence.numpy()
        spread[rows] = entropy(labels, stored.num_classes).numpy()
    return confidence, spread


def _judge(
    selection: Selection,
    confidence: NDArray[np.float32],
    spread: NDArray[np.float32],
    tally: _Selected,
) -> tuple[Bools, Bools]:
    """Return which crops are taken and which are sure, bool [B] each, and count them."""
    taken = confidence >= selection.min_confidence
    if selection.max_entropy is not None:
        taken &= spread <= selection.max_entropy
    sure = (confidence > selection.sure_above) & selection.calibrate
    tally.crops += len(taken)
    tally.taken += int(taken.sum())
    tally.sure += int((taken & sure).sum())
    tally.unsure += int((taken & (confidence < selection.unsure_below)).sum())
    if len(taken):
        tally.most_confidence = max(tally.most_confidence, float(confidence.max()))
        tally.least_entropy = min(tally.least_entropy, float(spread.min()))
    return taken, sure


def _summary(selection: Selection, tally: _Selected) -> str:
    crops, share = as_count(tally.crops, "crop"), tally.taken / tally.crops
    text = f"{tally.taken:,} of {crops} selected ({share:.1%})"
    text += f", {tally.empty_images:,} images have none"
    if selection.calibrate:
        text += (
            f"; {tally.sure / tally.taken:.1%} of them above {selection.sure_above:g} are taken in one "
            f"of {selection.sure_every} rounds, {tally.unsure / tally.taken:.1%} below "
            f"{selection.unsure_below:g} get their folder's class"
        )
    return text


def _flags(selection: Selection) -> str:
    """Return the flags of a selection, as a user types them."""
    flags = (
        [f"--min-confidence {selection.min_confidence:g}"] if selection.min_confidence > 0 else []
    )
    flags += [] if selection.max_entropy is None else [f"--max-entropy {selection.max_entropy:g}"]
    return " ".join(flags + ["--calibrate"] * selection.calibrate)
