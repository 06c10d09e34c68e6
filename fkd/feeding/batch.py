"""A batch for a training loop of one's own: views, their labels, and which stored crops they are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor

# torch documents this map for types of one's own (`default_collate`), and has no public name for it.
from torch.utils.data._utils.collate import default_collate_fn_map

from fkd.config import BLANK
from fkd.errors import ConfigError
from fkd.labels import GridLabels, Labels, Rows, SoftLabels, as_rows
from fkd.losses import Targets, as_targets


@dataclass(eq=False)
class ViewBatch:
    """B views of images, with what the teacher said of each.

        for images, soft_labels in loader: …
        for batch in loader: … batch.images, batch.labels, batch.targets …

    `images` are f32 [B, 3, H, W], normalised, or uint8 as they were rendered. `labels` are the soft
    labels of the B views, `GridLabels` of a store of maps, None of a store without labels. `vectors` are
    stored vectors by name, f32 [B, D], or maps [B, D, h, w], as far as they were asked for. `targets`
    int64 [B] are the images' own classes, -1 where they have none. `image_index` and `crop_index`, int64
    [B], say which stored crop of which of the store's images a view is.

    Of a store whose views are mixed, `partner_targets` int64 [B] are the classes of the images that they
    are mixed with, and `own_share` f32 [B] is what a view has of its own image; None of other stores.
    `masks`, uint8 [B, H, W], are the class of each pixel of the views, 255 where there is none; None
    where they were not asked for, as `texts` are, int64 [B, L]: the class of each character, 0 beyond the
    end, and -1 of a view without a text that counts. `truth` is what a loss takes as targets, of any
    store.

    It moves between devices as a tensor does, and `take` cuts it.
    """

    # Not frozen: trainers that move a batch field by field refuse a frozen dataclass.

    images: Tensor
    labels: Labels | None
    targets: Tensor
    image_index: Tensor
    crop_index: Tensor
    partner_targets: Tensor | None = None
    own_share: Tensor | None = None
    vectors: dict[str, Tensor] = field(default_factory=dict)
    masks: Tensor | None = None
    texts: Tensor | None = None

    @property
    def truth(self) -> Targets:
        """The classes of the views, two in shares of views that are mixed, or `masks`, or `texts`."""
        if self.masks is not None:
            return self.masks
        if self.texts is not None:
            return self.texts
        return as_targets(self.targets, self.partner_targets, self.own_share)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Any]:
        """Yield the images and the labels: a batch unpacks as a pair, though its `len` is that of B."""
        yield self.images
        yield self.labels

    def __getitem__(self, number: int) -> Any:
        """Return the images for 0 and the labels for 1, as of a pair."""
        return (self.images, self.labels)[number]

    def take(self, rows: Rows) -> "ViewBatch":
        """Return some of the views: of a slice, of numbers int64 [b], or where bool [B] is true.

        A single number gives a batch of one view, B = 1. Raises `SoftLabelError` for anything else.
        """
        rows = as_rows(rows)
        return self._each(lambda part: part[rows])

    def __repr__(self) -> str:
        images = f"{str(self.images.dtype).removeprefix('torch.')} {list(self.images.shape)}"
        said = [f"{name} {list(values.shape)}" for name, values in self.vectors.items()]
        said = [*([] if self.labels is None else [str(self.labels)]), *said]
        return f"ViewBatch(images {images}, {', '.join(said)})"

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> "ViewBatch":
        """Return the batch on a device."""
        return self._each(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "ViewBatch":
        """Return the batch in page-locked memory, from which a GPU copies without waiting.

        One that is on a device stays there: a `DataLoader` with `pin_memory=True` asks for it.
        """
        if self.images.device.type != "cpu":
            return self
        return self._each(lambda part: part.pin_memory())

    def _each(self, change: Callable[[Any], Any]) -> "ViewBatch":
        def changed(part: Any) -> Any:
            return None if part is None else change(part)

        return ViewBatch(
            change(self.images),
            changed(self.labels),
            change(self.targets),
            change(self.image_index),
            change(self.crop_index),
            changed(self.partner_targets),
            changed(self.own_share),
            {name: change(values) for name, values in self.vectors.items()},
            changed(self.masks),
            changed(self.texts),
        )

    def _with_texts_of(self, length: int) -> "ViewBatch":
        """Return the batch with texts int64 [B, length], of which none is longer."""
        assert self.texts is not None
        texts = self.texts
        beyond = texts[:, :1].clamp(max=BLANK).expand(-1, length - texts.shape[1])
        return replace(self, texts=torch.cat([texts, beyond], dim=1))

    @classmethod
    def concatenate(cls, parts: Sequence["ViewBatch"]) -> "ViewBatch":
        """Return several batches as one; their views have one size, their labels one scheme."""
        first = parts[0]
        if first.texts is not None:
            longest = max(0 if part.texts is None else part.texts.shape[1] for part in parts)
            parts = [part._with_texts_of(longest) for part in parts]
        names = [each.name for each in fields(cls) if isinstance(getattr(first, each.name), Tensor)]
        joined: dict[str, Any] = {n: torch.cat([getattr(p, n) for p in parts]) for n in names}
        labels = [part.labels for part in parts if part.labels is not None]
        vectors = {n: torch.cat([part.vectors[n] for part in parts]) for n in first.vectors}
        return cls(labels=_joined(labels), vectors=vectors, **joined)


def _joined(labels: list[Labels]) -> Labels | None:
    maps = [part for part in labels if isinstance(part, GridLabels)]
    if maps:
        return GridLabels.concatenate(maps)
    rows = [part for part in labels if isinstance(part, SoftLabels)]
    return SoftLabels.concatenate(rows) if rows else None


def _collate(
    batch: Sequence[ViewBatch], *, collate_fn_map: dict[Any, Callable[..., Any]] | None = None
) -> ViewBatch:
    if any((part.image_index != part.image_index[:1]).any() for part in batch):
        raise ConfigError(
            "a DataLoader joins batches of a StudentLoader, which are whole already; give it "
            "batch_size=None"
        )
    return ViewBatch.concatenate(batch)


default_collate_fn_map[ViewBatch] = _collate
