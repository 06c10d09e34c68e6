"""Restored soft labels: what a student's loss reads, and what is done to a batch of them.

Legend: B crops, C classes, K kept classes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from fkd.amounts import as_count
from fkd.config import check_range
from fkd.errors import SoftLabelError
from fkd.labels.rows import Rows, as_rows
from fkd.machine import upload


@dataclass(eq=False)
class SoftLabels:
    """Restored soft labels of B crops, in the sparse form or, for the full scheme, dense.

    Sparse: `index` int64 [B, K], `value` f32 [B, K] and `tail` f32 [B], the probability of each of the
    C - K other classes. Dense: `index` is None and `value` is f32 [B, C]. Each crop sums to 1.
    No class is named twice. `num_classes` is C, or None where sparse labels do not say it; those of a
    store do, so that a model of other outputs is refused. `deviation` f32 [B], where it is known apart
    from the label, is the standard deviation of the teacher's logits over all C classes, at the
    temperature of the label. A batch of them moves between devices as a
    tensor does, by `to` and `pin_memory`, and is cut as one: `labels[:8]`.
    """

    # Not frozen: trainers that move a batch field by field refuse a frozen dataclass.

    index: Tensor | None
    value: Tensor
    tail: Tensor
    num_classes: int | None = None
    deviation: Tensor | None = None

    @property
    def confidence(self) -> Tensor:
        """The largest probability of each crop, f32 [B]."""
        return self.value.amax(dim=1)

    @property
    def top_class(self) -> Tensor:
        """The most likely class of each crop, int64 [B]."""
        best = self.value.argmax(dim=1, keepdim=True)
        return best[:, 0] if self.index is None else self.index.gather(1, best)[:, 0]

    def __len__(self) -> int:
        return len(self.value)

    def __getitem__(self, rows: Rows) -> "SoftLabels":
        """Return the labels of some crops: of a slice, of numbers int64 [b], or where bool [B] is true.

        A single number gives those of one crop, B = 1. Raises `SoftLabelError` for anything else.
        """
        rows = as_rows(rows)
        return self._each(lambda part: part[rows])

    def __repr__(self) -> str:
        return f"SoftLabels({as_count(len(self), 'crop')}, {self._form()})"

    def _form(self) -> str:
        width = f"{self.value.shape[1]:,}"
        classes = f"all {width} classes" if self.index is None else f"{width} classes kept"
        return f"{classes}, {self.value.device}"

    def to(self, device: torch.device | str | int, non_blocking: bool = False) -> "SoftLabels":
        """Return the labels on a device; raises `SoftLabelError` for a type of numbers."""
        if isinstance(device, torch.dtype):
            raise SoftLabelError(
                f"soft labels go to a device, not to {device}; losses take them with logits of any type"
            )
        return self._each(lambda part: part.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> "SoftLabels":
        """Return the labels in page-locked memory, from which a GPU copies without waiting."""
        return self._each(lambda part: part.pin_memory())

    def _each(self, change: Callable[[Tensor], Tensor]) -> "SoftLabels":
        index, deviation = (
            None if part is None else change(part) for part in (self.index, self.deviation)
        )
        value, tail = change(self.value), change(self.tail)
        return SoftLabels(index, value, tail, self.num_classes, deviation)

    def require_shape(self, num_crops: int, num_classes: int) -> None:
        """Raise `SoftLabelError` unless these can be labels of so many crops and classes.

        That no id is too large is not looked at.
        """
        if len(self) != num_crops:
            raise SoftLabelError(
                f"there are {as_count(len(self), 'soft label')} for "
                f"{as_count(num_crops, 'row')} of outputs; give each crop its own label"
            )
        kept = self.value.shape[1]
        known = kept if self.index is None else self.num_classes
        if kept > num_classes or known not in (None, num_classes):
            classes = as_count(known or kept, "class")
            raise SoftLabelError(
                f"the soft labels have {classes}, the outputs {num_classes:,}; the model must have one "
                "output for each class of the store"
            )

    def take(self, rows: Tensor) -> "SoftLabels":
        """Return the labels of some crops, int64 [b], in that order."""
        return self[rows]

    def power(
        self, temperature: float | Tensor, num_classes: int | None = None
    ) -> "tuple[SoftLabels, Tensor]":
        """Return the labels at a temperature T, p^(1/T) over its sum, and that sum, f32 [B].

        T is a number, or one for each crop, f32 [B]. Classes that are not named stay equal, each with a
        power of the tail. `num_classes` is needed where the labels do not say it.
        """
        num_classes, exponent = self._classes(num_classes), 1 / temperature
        value, tail, scale = self.value, self.tail, None
        if isinstance(temperature, Tensor) or temperature < 1:
            # High powers of what is below 1 vanish, all of a crop; those of ratios to the largest do not.
            scale = torch.maximum(self.confidence, self.tail)
            value, tail = value / scale[:, None], tail / scale
        value = value ** (exponent[:, None] if isinstance(exponent, Tensor) else exponent)
        tail = tail**exponent
        total = value.sum(dim=1)
        if self.index is not None:
            total = total + tail * (num_classes - value.shape[1])
        deviation = None if self.deviation is None else self.deviation / temperature
        shares = value / total[:, None], tail / total
        tempered = SoftLabels(self.index, *shares, num_classes, deviation)
        return tempered, total if scale is None else total * scale**exponent

    def mix(
        self, others: "SoftLabels", share: "float | Tensor", num_classes: int | None = None
    ) -> "SoftLabels":
        """Return share · p + (1 - share) · p′, with p these labels and p′ the `others`, crop by crop.

        `share` is a number, or f32 [B]. Of two sparse labels of K classes each the mix keeps 2K, in
        falling order. It is dense where there are no 2K classes, or where a label is. Its deviation is
        not known. Mixup and cutmix of views ask for `labels.mix(labels[partner], share)`. `num_classes`
        is needed where the labels do not say it.
        Raises `SoftLabelError` for labels or shares of other crops, `ConfigError` for a number outside of
        [0, 1].
        """
        num_classes = self._classes(num_classes)
        for labels in (self, others):
            labels.require_shape(len(self), num_classes)
        if not isinstance(share, Tensor):
            check_range("share", share, 0, 1)
        elif share.shape not in ((), (len(self),)):
            raise SoftLabelError(
                f"shares are of shape {list(share.shape)}; give a number, or floats [{len(self)}]"
            )
        own = share if isinstance(share, Tensor) else self.value.new_full((), share)
        own = upload(own.to(self.value.dtype), self.value.device).expand(len(self))[:, None]
        if self.index is None or others.index is None or _too_wide(self, others, num_classes):
            value = torch.lerp(others.dense(num_classes), self.dense(num_classes), own)
            return SoftLabels(None, value, value.new_zeros(len(value)), num_classes)
        return _mixed(self, self.index, others, others.index, own)

    def dense(self, num_classes: int | None = None) -> Tensor:
        """Return f32 [B, C]; raises `SoftLabelError` where labels cannot be of so many classes.

        `num_classes` is needed where the labels do not say it.
        """
        num_classes = self._classes(num_classes)
        self.require_shape(len(self), num_classes)
        if self.index is None:
            return self.value
        spread = self.tail[:, None].expand(-1, num_classes)
        return spread.scatter(1, self.index, self.value)

    def _classes(self, num_classes: int | None) -> int:
        """Return the number of classes that is given, or else that the labels say."""
        if num_classes is not None:
            return num_classes
        if self.index is None:
            return self.value.shape[1]
        if self.num_classes is None:
            raise SoftLabelError(
                "sparse labels do not say how many classes there are; give num_classes"
            )
        return self.num_classes

    @classmethod
    def concatenate(cls, parts: "Sequence[SoftLabels]") -> "SoftLabels":
        """Return several batches as one; raises `SoftLabelError` unless all keep equally many classes."""
        forms = {
            (p.index is None, p.deviation is None, p.value.shape[1], p.num_classes) for p in parts
        }
        if len(forms) != 1:
            raise SoftLabelError(
                f"{as_count(len(parts), 'batch')} of soft labels cannot be joined; give at least one, "
                "and all dense or all of equally many kept classes and the same classes, all with a "
                "deviation or none"
            )
        index = _joined([part.index for part in parts])
        deviation = _joined([part.deviation for part in parts])
        value, tail = (torch.cat([getattr(p, name) for p in parts]) for name in ("value", "tail"))
        return cls(index, value, tail, parts[0].num_classes, deviation)


def _joined(parts: Sequence[Tensor | None]) -> Tensor | None:
    there = [part for part in parts if part is not None]
    return torch.cat(there) if there else None


def _too_wide(own: SoftLabels, others: SoftLabels, num_classes: int) -> bool:
    """Say whether the mix of two sparse labels would keep more classes than there are."""
    return own.value.shape[1] + others.value.shape[1] > num_classes


def _mixed(
    own: SoftLabels, own_index: Tensor, others: SoftLabels, other_index: Tensor, share: Tensor
) -> SoftLabels:
    """Mix sparse labels of K and K′ classes; `share` f32 [B, 1] is what they keep of `own`.

    A class of both would be named twice. Its second place goes to a class of neither, which has what
    each class of the tail has.
    """
    same = own_index[:, :, None] == other_index[:, None, :]
    twice = same.any(dim=1)
    own_tail, other_tail = own.tail[:, None], others.tail[:, None]
    of_others = torch.where(
        same.any(dim=2), (same * others.value[:, None, :]).sum(dim=2), other_tail
    )
    first = torch.lerp(of_others, own.value, share)
    tail = torch.lerp(other_tail, own_tail, share)
    second = torch.where(twice, tail, torch.lerp(others.value, own_tail, share))
    index = torch.cat([own_index, other_index], dim=1)
    # Among the K + K′ lowest ids so many are unused as are named twice, or more.
    lowest = torch.arange(index.shape[1], device=index.device)
    used = (lowest[:, None] == index[:, None, :]).any(dim=2)
    unused = used.long().argsort(dim=1, stable=True)
    number = (twice.long().cumsum(dim=1) - 1).clamp(min=0)
    index = torch.cat([own_index, torch.where(twice, unused.gather(1, number), other_index)], dim=1)
    value, order = torch.cat([first, second], dim=1).sort(dim=1, descending=True, stable=True)
    return SoftLabels(index.gather(1, order), value, tail[:, 0], own.num_classes)
