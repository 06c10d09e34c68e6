"""Crops of a piece of the sweep with what all measures of them begin with, worked out once."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fkd.format import (
    StoreSpec,
)
from fkd.labels import SoftLabels, entropy
from fkd.statistics.sweep import Piece


@dataclass(frozen=True)
class MeasuredCrops:
    """s crops of each of n images, image by image: B = n · s. Of maps a crop has G labels.

    `image_index` is int64 [n]. `target`, the class of the crop's image, is int64 [B], `top_class` int64
    [B · G], and `agrees` bool [B] says where they are the same. Of a mixed view `target` is the class of
    the image with the larger share, and either's class agrees. Where images have no classes, and of maps,
    `target` and `agrees` are None. Of samples `top_class` says nothing, and `agrees` is None. `area` f32
    [B] is the box's share of its image. `top_probability` and `entropy` (nats) are f32 [B · G], None
    where the scheme keeps no values (`hard`, `samples`).
    """

    image_index: NDArray[np.int64]
    target: Tensor | None
    top_class: Tensor
    agrees: Tensor | None
    area: Tensor
    labels: SoftLabels
    top_probability: Tensor | None
    entropy: Tensor | None

    @classmethod
    def of(cls, piece: Piece, spec: StoreSpec) -> "MeasuredCrops":
        """Measure the crops of a piece."""
        labels, soft = piece.labels, spec.labels.keeps_values
        return cls(
            piece.image_index,
            piece.target,
            labels.top_class,
            piece.agrees if spec.labels.keeps_first else None,
            piece.area,
            labels,
            labels.confidence if soft else None,
            entropy(labels, spec.num_classes) if soft else None,
        )

    @cached_property
    def by_crop(self) -> "MeasuredCrops":
        """The same with one label a crop: of a map the class of most positions, and means."""
        each = len(self.top_class) // max(1, len(self.area))
        if each <= 1:
            return self

        def mean(of_labels: Tensor | None) -> Tensor | None:
            return None if of_labels is None else of_labels.reshape(-1, each).mean(dim=1)

        return replace(
            self,
            top_class=self.top_class.reshape(-1, each).mode(dim=1).values,
            top_probability=mean(self.top_probability),
            entropy=mean(self.entropy),
        )
