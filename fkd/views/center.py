"""Centre views of an image folder, in batches: what a network is evaluated on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fkd.config import CenterView
from fkd.errors import DecodeError
from fkd.images import ImageList, decode, inspect
from fkd.views.render_cpu import render_center
from fkd.views.threads import Pending, RenderPool, ahead


@dataclass(frozen=True)
class EvaluationBatch:
    """Centre views, uint8 [B, 3, h, w], and their class ids in the folder's own list, int64 [B].

    `usable`, bool [B], is false where an image could not be decoded; `errors` say why.
    """

    views: Tensor
    targets: Tensor
    usable: Tensor
    errors: list[DecodeError]


def evaluation_batches(
    pool: RenderPool,
    images: ImageList,
    batches: Iterable[Sequence[int]],
    view: CenterView,
) -> Iterator[EvaluationBatch]:
    """Yield the centre views of some images of a folder, batch by batch."""
    return ahead(_submit(pool, images, indices, view) for indices in batches)


def _submit(
    pool: RenderPool, images: ImageList, indices: Sequence[int], view: CenterView
) -> Pending[EvaluationBatch]:
    """Let threads draw one batch."""
    views = pool.empty_views(len(indices), view.size)
    errors: dict[int, DecodeError] = {}

    def draw(row: int, image_index: int) -> None:
        try:
            name, encoded = images.name(image_index), images.read(image_index)
            inspect(name, encoded)
            pixels = decode(name, encoded)
        except DecodeError as error:
            views[row], errors[row] = 0, error
        else:
            render_center(pixels, views[row], view.interpolation, view.crop)

    def finish() -> EvaluationBatch:
        targets = torch.from_numpy(images.targets[np.asarray(indices)])
        usable = torch.tensor([row not in errors for row in range(len(indices))])
        return EvaluationBatch(views, targets, usable, [errors[row] for row in sorted(errors)])

    return Pending([pool.submit(draw, *place) for place in enumerate(indices)], finish)
