"""The images that a student is evaluated on, seen as `fkd train` would show them, in batches."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fkd.amounts import as_count
from fkd.config import (
    NO_VAL,
    CenterView,
    Grid,
    LoaderConfig,
    NetworkInput,
    Size,
    ViewSizes,
    fit,
    is_line,
)
from fkd.errors import ImagesError
from fkd.evaluation import find_lined_val, find_masked_val, find_val, match_classes
from fkd.images import ImageList
from fkd.loader import find_all
from fkd.machine import upload
from fkd.progress import note
from fkd.store import LabelStore
from fkd.students import seen_otherwise, usual_view
from fkd.truth import Masks, Texts, Truth
from fkd.views import EvaluationBatch, RenderPool, evaluation_batches, normalize


class CenterViewLoader:
    """Yields centre views and their classes, on a device: all images each time, in their order.

    A batch is a pair: images f32 [B, 3, H, W], normalised, in channels-last memory, and the outputs
    int64 [B] that are right for them; class folders are matched to the classes of the store by name. An
    image that cannot be decoded is named on stderr and left out. Of a store of maps the second of a pair
    are masks, uint8 [B, H, W], numbers of its classes, and 255 where a pixel counts for nothing. Of a
    store of lines they are texts, int64 [B, L], as `ViewBatch.texts` are.

    Of several ranks each gets its share of every batch, so that all have equally many batches and no
    image is seen twice. `config.batch_size` is that of all ranks, and about as many images are taken.
    """

    def __init__(  # noqa: PLR0913  which images, how they are seen, and whose share of them
        self,
        config: LoaderConfig,
        images: ImageList,
        classes: tuple[str, ...],
        seen: NetworkInput,
        view: CenterView,
        device: torch.device,
        *,
        truth: Truth | None = None,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        if len(images) < num_ranks:
            raise ImagesError(
                f"{images.root} has {as_count(len(images), 'image')} for {num_ranks} processes to "
                "evaluate on; name a folder with more"
            )
        self._images, self._seen, self._view, self._truth = images, seen, view, truth
        self._outputs = None if truth else torch.from_numpy(match_classes(images, classes))
        self._workers, self._device = config.workers, device
        count = min(-(-len(images) // config.batch_size), len(images) // num_ranks)
        parts = np.array_split(np.arange(len(images)), count)
        self._rows = [part[rank::num_ranks].tolist() for part in parts]

    @classmethod
    def beside(
        cls,
        config: LoaderConfig,
        val: str | Path | None,
        device: torch.device,
        *,
        eval_size: Size | str | None = None,
        eval_crop: float | None = None,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> "CenterViewLoader | None":
        """Return the loader that belongs to the training views of `config`, None where there is none.

        `val`, `eval_size` and `eval_crop` mean what they mean to `fkd train`: without them it is the
        `val` folder beside the images of the store, at the size of the last training views. "none" for
        `val` is no evaluation. Raises `FkdError` for what `fkd train` refuses.
        """
        if val == NO_VAL:
            return None
        store = LabelStore.open(config.store)
        classes = store.class_names()
        images, truth = _found(val, find_all(config, store), classes, store.spec.grid)
        if images is None:
            return None
        seen = _last_views(config, store)
        sizes = fit("eval_size", eval_size, ViewSizes | None)
        view = seen_otherwise(usual_view(seen, store), sizes, eval_crop)
        return cls(
            config, images, classes, seen, view, device,
            truth=truth, rank=rank, num_ranks=num_ranks,
        )  # fmt: skip

    def __len__(self) -> int:
        """Return the number of batches, which is the same on every rank."""
        return len(self._rows)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield the batches of all images, with threads that work ahead."""
        with RenderPool(self._workers, self._device) as pool:
            masks = self._truth if isinstance(self._truth, Masks) else None
            batches = evaluation_batches(pool, self._images, self._rows, self._view, masks)
            for rows, batch in zip(self._rows, batches, strict=True):
                for error in batch.errors:
                    note(f"left out: {error}")
                views = upload(batch.views[batch.usable], self._device)
                pixels = normalize(views, self._seen.mean, self._seen.std)
                targets = self._truth_of(batch, rows)
                yield (
                    pixels.contiguous(memory_format=torch.channels_last),
                    upload(targets, self._device),
                )

    def _truth_of(self, batch: EvaluationBatch, rows: Sequence[int]) -> Tensor:
        if batch.masks is not None:
            return batch.masks[batch.usable]
        if isinstance(self._truth, Texts):
            return self._truth.rows(rows)[batch.usable]
        assert self._outputs is not None
        return self._outputs[batch.targets[batch.usable]]


def _found(
    val: str | Path | None, images: ImageList, classes: tuple[str, ...], grid: Grid
) -> tuple[ImageList | None, Truth | None]:
    if grid:
        find = find_lined_val if is_line(grid) else find_masked_val
        return find(val, images, classes) or (None, None)
    return find_val(val, images, classes), None


def _last_views(config: LoaderConfig, store: LabelStore) -> NetworkInput:
    """Return how the last views of a training are seen; those of others may be smaller."""
    sizes = [store.spec.size] if config.size is None else config.size.steps(config.size_multiple)
    interpolation = config.interpolation or store.spec.interpolation
    return NetworkInput(sizes[-1], config.mean, config.std, interpolation)
