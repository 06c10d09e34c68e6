"""Centre views of an image folder, in batches: what a network is evaluated on."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fkd.config import IGNORED, CenterView
from fkd.errors import DecodeError
from fkd.images import ImageList, decode, inspect
from fkd.truth import Masks
from fkd.views.masks import render_center_mask
from fkd.views.render_cpu import render_center
from fkd.views.threads import Pending, RenderPool, ahead


@dataclass(frozen=True)
class EvaluationBatch:
    """Centre views, uint8 [B, 3, h, w], and their class ids in the folder's own list, int64 [B].

    `usable`, bool [B], is false where an image could not be decoded, or has no mask where masks are asked
    for; `errors` say why. `masks`, uint8 [B, h, w], are numbers of classes at each pixel of a view,
    `fkd.config.IGNORED` where there is none; None where they are not asked for.
    """

    views: Tensor
    targets: Tensor
    usable: Tensor
    errors: list[DecodeError]
    masks: Tensor | None = None


def evaluation_batches(
    pool: RenderPool,
    images: ImageList,
    batches: Iterable[Sequence[int]],
    view: CenterView,
    masks: Masks | None = None,
) -> Iterator[EvaluationBatch]:
    """Yield the centre views of some images of a folder, batch by batch, and those of their `masks`."""
    return ahead(_submit(pool, images, indices, view, masks) for indices in batches)


def _submit(
    pool: RenderPool,
    images: ImageList,
    indices: Sequence[int],
    view: CenterView,
    masks: Masks | None,
) -> Pending[EvaluationBatch]:
    """Let threads draw one batch."""
    views = pool.empty_views(len(indices), view.size)
    truth = None if masks is None else pool.empty_masks(len(indices), view.size)
    errors: dict[int, DecodeError] = {}

    def draw(row: int, image_index: int) -> None:
        try:
            name, encoded = images.name(image_index), images.read(image_index)
            inspect(name, encoded)
            pixels = decode(name, encoded)
            if masks is not None and truth is not None:
                mask = masks.decode(image_index, masks.encoded(image_index), pixels.shape[-2:])
                truth[row] = render_center_mask(mask, view.size, view.crop, view.fit)
        except DecodeError as error:
            views[row], errors[row] = 0, error
            if truth is not None:
                truth[row] = IGNORED
        else:
            render_center(pixels, views[row], view.interpolation, view.crop, view.fit)

    def finish() -> EvaluationBatch:
        targets = torch.from_numpy(images.targets[np.asarray(indices)])
        usable = torch.tensor([row not in errors for row in range(len(indices))])
        return EvaluationBatch(
            views, targets, usable, [errors[row] for row in sorted(errors)], truth
        )

    return Pending([pool.submit(draw, *place) for place in enumerate(indices)], finish)
