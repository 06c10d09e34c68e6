"""Centre views of an image folder, in batches: what a network is evaluated on."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fkd.config import Preprocessing
from fkd.errors import DecodeError
from fkd.images import ImageList, decode, inspect
from fkd.views.render_cpu import render_center
from fkd.views.threads import RenderedBatch, RenderPool, ahead


@dataclass
class EvaluationBatch(RenderedBatch):
    """Centre views, uint8 [B, 3, S, S], and their class ids in the folder's own list, int64 [B].

    `usable`, bool [B], is false where an image could not be decoded; `errors` says why.
    """

    views: Tensor
    targets: Tensor
    usable: Tensor
    errors: list[DecodeError]


def evaluation_batches(
    pool: RenderPool,
    images: ImageList,
    indices: Sequence[int],
    batch_size: int,
    preprocessing: Preprocessing,
) -> Iterator[EvaluationBatch]:
    """Yield the centre views of some images of a folder, in the given order."""

    def draw(batch: EvaluationBatch, row: int, image_index: int) -> None:
        try:
            path = images.file(image_index)
            pixels = decode(path, inspect(path))
        except DecodeError as error:
            batch.views[row], batch.usable[row] = 0, False
            batch.errors.append(error)
        else:
            render_center(pixels, batch.views[row], preprocessing.interpolation)

    def submitted() -> Iterator[EvaluationBatch]:
        for start in range(0, len(indices), batch_size):
            chosen = indices[start : start + batch_size]
            targets = torch.from_numpy(images.targets[np.asarray(chosen)])
            usable = torch.ones(len(chosen), dtype=torch.bool)
            views = pool.empty_views(len(chosen), preprocessing.size)
            batch = EvaluationBatch(views, targets, usable, [])
            batch.pending += [
                pool.submit(draw, batch, row, image_index) for row, image_index in enumerate(chosen)
            ]
            yield batch

    return ahead(submitted())
