"""What the labels of a store say, in numbers, from one sweep over them.

The measures are those of FKD's analysis, and each has a room. Entropies are of the label as stored: the
classes that are not kept share what is left evenly, which is the largest entropy that the teacher's own
label can have.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from fkd.errors import StoreError
from fkd.progress import progress_bar
from fkd.statistics.by_area import AreaStatistics, AreaTally
from fkd.statistics.by_class import ClassStatistics, ClassTally
from fkd.statistics.certainty import Certainty, CertaintyTally
from fkd.statistics.confusion import Confusion, ConfusionTally
from fkd.statistics.measured import MeasuredCrops
from fkd.statistics.positions import PositionStatistics, PositionTally
from fkd.statistics.sweep import Sweep, opened, swept
from fkd.store import LabelStore


@dataclass(frozen=True)
class LabelStatistics:
    """Numbers from the first `crops_per_image` crops of all `num_images` labelled images.

    `agreement` is the share of crops whose top-1 is the image's class, and `classes`, `confusion` and
    `area` say where it is lower; where images have no classes, or labels are samples, the first three are
    None. `certainty` is None where the scheme keeps no values (`hard`, `samples`).

    Where views are mixed, the class of either image counts as right, and a view is one of the class with
    the larger share. It has crops of two areas, so that `area` is None.

    Of maps the numbers are of labels at all positions, `positions` says of which classes they are, and
    the classes of images say nothing; it is None elsewhere.
    """

    num_images: int
    crops_per_image: int
    agreement: float | None
    certainty: Certainty | None
    classes: ClassStatistics | None = field(repr=False)
    confusion: Confusion | None
    area: AreaStatistics | None = field(repr=False)
    positions: PositionStatistics | None = None

    @property
    def num_crops(self) -> int:
        """How many crops the numbers come from."""
        return self.num_images * self.crops_per_image


def label_statistics(store: LabelStore | str | Path, num_unsure: int = 12) -> LabelStatistics:
    """Measure the labels of a store, or of that at a path, with the `num_unsure` least sure images.

    As many images are named on which the teacher is surest of another class. The store may be unfinished.
    Raises `StoreError` where no image is labelled yet, or labels are damaged.
    """
    store = opened(store)
    store.require_labels("ask for statistics of a store of labels")
    spec, sweep = store.spec, Sweep.over(store)
    num_images = int(np.count_nonzero(sweep.labelled))
    if not num_images:
        raise StoreError(f"{store.path} holds no labelled image; run `fkd label` to go on")
    soft = spec.labels.keeps_values
    certainty = CertaintyTally(spec, num_unsure) if soft else None
    known = not (spec.unlabelled or spec.grid) and spec.labels.keeps_first
    compared = _Compared(spec.num_classes, soft) if known else None
    area = None if spec.mixes else AreaTally(spec)
    positions = PositionTally(spec) if spec.grid else None
    tallies = [tally for tally in (certainty, compared, area, positions) if tally is not None]
    with progress_bar(
        "measure", unit="crop", total=num_images * sweep.num_crops, delay=1
    ) as bar, torch.inference_mode():  # fmt: skip
        for piece in swept(store, sweep):
            crops = MeasuredCrops.of(piece, spec)
            for tally in tallies:
                tally.add(crops)
            bar.update(len(crops.area))
    return LabelStatistics(
        num_images,
        sweep.num_crops,
        None if compared is None else compared.classes.agreement,
        None if certainty is None else certainty.finish(),
        None if compared is None else compared.classes.finish(),
        None if compared is None else compared.confusion(),
        None if area is None else area.finish(),
        None if positions is None else positions.finish(),
    )


class _Compared:
    """What is known of the crops so far from the classes of their images."""

    def __init__(self, num_classes: int, soft: bool) -> None:
        self.classes = ClassTally(num_classes, soft)
        self._confusion = ConfusionTally(num_classes)

    def add(self, crops: MeasuredCrops) -> None:
        """Count crops of a piece of the sweep."""
        self.classes.add(crops)
        self._confusion.add(crops)

    def confusion(self) -> Confusion:
        """Choose the classes that are taken for each other most."""
        return self._confusion.finish(self.classes.crops, self.classes.agreeing)
