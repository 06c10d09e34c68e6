"""The stores that the tables compare: one is labelled, the others are made from it.

All students so see the same boxes and flips; what differs is the label, or how often a crop comes.
"""

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import roi_align

from fkd import FkdError, LabelStore, Scheme, TeacherChoice
from fkd.config import Amp, Engine, ViewFormat, sides_of
from fkd.errors import DecodeError
from fkd.format import (
    plan_layout,
)
from fkd.format.spec import FORMAT_VERSION
from fkd.images import ImageList, decode
from fkd.labels import quantize
from fkd.machine import resolve_device
from fkd.progress import progress
from fkd.store import (
    Block,
)
from fkd.teachers import Source, Teacher, load_teachers, open_source
from fkd.views import STORED, Boxes, Flips, empty_views, label_draws, normalize, render

FULL = Scheme("full")

# Labels of some images and all their crops, f32 [n, M, C], of image indices, boxes and flips.
Relabel = Callable[[range, Boxes, Flips], Tensor]


def derive(
    source: LabelStore,
    path: Path,
    images: ImageList,
    scheme: Scheme,
    slots: NDArray[np.int64],
    relabel: Relabel | None = None,
) -> LabelStore:
    """Write a store whose crop j of image i is the source's crop `slots[i, j]`, int64 [N, M].

    Its label is what the source has, or what `relabel` says, in the given scheme.
    """
    sampler = source.spec.sampler if _in_order(slots) else STORED
    spec = replace(source.spec, num_crops=slots.shape[1], scheme=scheme, sampler=sampler)
    spec = plan_layout(replace(spec, format_version=FORMAT_VERSION))  # as of a new store
    aside = path.with_suffix(".partial")
    shutil.rmtree(aside, ignore_errors=True)
    store = LabelStore.create(aside, spec, images, source.targets(), source.class_names())
    status, hashes = source.status(), source.content_hashes()
    assert hashes is not None
    for number in progress(range(spec.num_blocks), f"derive {path.name}", unit="block"):
        rows = spec.block_range(number)
        slab = source.read_images(rows, source.spec.num_crops)
        some = np.arange(len(rows))[:, None], slots[rows.start : rows.stop]
        box, flip = slab.box[some], slab.flip[some]
        if relabel is None:
            probs = torch.from_numpy(slab.kept["log_prob"][some]).float().softmax(dim=2)
        else:
            probs = relabel(rows, box, flip)
        numbers = label_draws(spec.views.seed, np.array(rows)[:, None], np.arange(slots.shape[1]))
        draws = torch.from_numpy(numbers.reshape(-1))
        flat = quantize(probs.reshape(-1, spec.num_classes), scheme, draws)
        labels = {n: v.numpy().reshape(len(rows), slots.shape[1], -1) for n, v in flat.items()}
        where = slice(rows.start, rows.stop)
        store.commit_block(
            number, Block(box, flip, slab.size, status[where], hashes[where], labels)
        )
    aside.rename(path)
    return LabelStore.open(path)


def _in_order(slots: NDArray[np.int64]) -> bool:
    return bool((slots == np.arange(slots.shape[1])).all())


def drawn_visits(num_images: int, crops: int, visits: int, m: int) -> NDArray[np.int64]:
    """Return the crops, int64 [N, visits · m], of visits that each take m different ones at random.

    So draws the official code, which shuffles an image's crops at every visit and takes the first m.
    """
    rng = np.random.default_rng(0)
    every = np.broadcast_to(np.arange(crops), (num_images, visits, crops))
    return rng.permuted(every, axis=2)[:, :, :m].reshape(num_images, visits * m)


def once_per_image(images: ImageList, teacher: Teacher) -> Tensor:
    """Return what the teacher says of each whole image, f32 [N, C]: the mistake that FKD corrects."""
    views = _whole_images(images, teacher.preprocessing.view_format)
    return torch.cat([teacher.probs(batch, len(batch), 1.0).cpu() for batch in views])


def label_maps(images: ImageList, choice: TeacherChoice, size: int) -> Tensor:
    """Return ReLabel's label maps, f32 [N, C, h, w], of whole images of `size` pixels.

    The classifier is applied at every place of the last features instead of to their mean (Yun et al.,
    CVPR 2021); what is pooled later are logits.
    """
    device, maps = resolve_device("auto"), []
    source = open_source(choice, len(images.classes), device)
    mapper, how = LabelMapper.of(choice.name, source), source.preprocessing
    for views in _whole_images(images, ViewFormat(size, how.interpolation)):
        with torch.inference_mode():
            maps.append(mapper(normalize(views.to(device), how.mean, how.std)).cpu())
    return torch.cat(maps)


class LabelMapper(nn.Module):
    """A network that ends in a mean over places and one linear layer, with the two exchanged."""

    def __init__(self, features: nn.Module, linear: nn.Linear) -> None:
        super().__init__()
        self.features, self.linear = features, linear

    @classmethod
    def of(cls, name: str, teacher: Source) -> "LabelMapper":
        """Take a teacher apart; raises `FkdError` for one whose maps do not have its logits as mean."""
        model: Any = teacher.model
        size, device = teacher.preprocessing.size, next(model.parameters()).device
        views = torch.rand(2, 3, *sides_of(size), device=device)
        try:
            if hasattr(model, "features"):
                mapper = cls(model.features, model.classifier[-1])
            else:
                mapper = cls(nn.Sequential(*list(model.children())[:-2]), model.fc)
            with torch.inference_mode():
                torch.testing.assert_close(
                    mapper(views).mean(dim=(2, 3)), model(views), atol=1e-3, rtol=1e-3
                )
        except Exception as error:  # other architectures fail at any of these lines
            raise FkdError(
                f"teacher {name} does not end in a mean over places and one linear layer, so it "
                "has no label maps; take a resnet, mobilenet_v2, regnet or efficientnet"
            ) from error
        return mapper

    def forward(self, pixels: Tensor) -> Tensor:
        """Map [B, 3, S, S] to logits at every place, [B, C, h, w]."""
        logits = torch.einsum("bdhw,cd->bchw", self.features(pixels), self.linear.weight)
        return logits + self.linear.bias[:, None, None]


def pooled(maps: Tensor, sizes: NDArray[np.uint16]) -> Relabel:
    """Return ReLabel's label pooling: RoI-align of a crop's box in its image's map, then softmax.

    `sizes` u16 [N, 2] are the images' heights and widths; those of unusable images are 0, and so are
    their boxes: what is pooled for them is never read.
    """
    height, width = maps.shape[-2:]
    sizes = np.maximum(sizes, 1)

    def relabel(rows: range, box: Boxes, flip: Flips) -> Tensor:
        top, left, tall, wide = np.moveaxis(box.astype(np.float32), 2, 0)
        scale = np.array([height, width], np.float32) / sizes[rows.start : rows.stop]
        edges = np.stack([left, top, left + wide, top + tall], axis=2)
        edges *= scale[:, [1, 0, 1, 0]][:, None]
        boxes = [torch.from_numpy(one) for one in edges]
        logits = roi_align(maps[rows.start : rows.stop], boxes, 1, sampling_ratio=4, aligned=True)
        probs: Tensor = logits.reshape(*box.shape[:2], -1).softmax(dim=2)
        return probs

    return relabel


def repeated(probs: Tensor) -> Relabel:
    """Return labels that say the same of all crops of an image."""

    def relabel(rows: range, box: Boxes, flip: Flips) -> Tensor:
        some = probs[rows.start : rows.stop, None]
        return some.expand(-1, box.shape[1], -1)

    return relabel


def labels_of_others(source: LabelStore) -> Relabel:
    """Return the label that the next crop of the same image has: teacher and student see other views."""

    def relabel(rows: range, box: Boxes, flip: Flips) -> Tensor:
        slab = source.read_images(rows, box.shape[1])
        log_prob = np.roll(slab.kept["log_prob"], -1, axis=1)
        return torch.from_numpy(log_prob).float().softmax(dim=2)

    return relabel


def load_teacher(choice: TeacherChoice, images: ImageList, amp: Amp = "off") -> Teacher:
    """Load one teacher of the folder's classes, on the GPU if there is one."""
    device = resolve_device("auto")
    return load_teachers([choice], images.classes, device, Engine(amp)).teachers[0]


def _whole_images(images: ImageList, how: ViewFormat, batch_size: int = 64) -> Iterator[Tensor]:
    """Yield all of each image in order, as one view each, u8 [B, 3, S, S]."""
    with ThreadPoolExecutor(2) as pool:
        starts = range(0, len(images), batch_size)
        for start in progress(starts, "whole images", unit="batch"):
            indices = range(start, min(start + batch_size, len(images)))
            views = empty_views(len(indices), how.size)
            list(pool.map(partial(_draw_whole, images, how), indices, views))
            yield views


def _draw_whole(images: ImageList, how: ViewFormat, image_index: int, view: Tensor) -> None:
    try:
        pixels = decode(images.name(image_index))
    except DecodeError:  # the store knows it, and nobody is trained on it
        view.zero_()
        return
    whole = np.array([0, 0, *pixels.shape[1:]], np.uint16)
    render(pixels, whole, False, view, how.interpolation)


def derive_as(source: LabelStore, folder: Path, scheme: Scheme) -> LabelStore:
    """Write the crops of `source` in another scheme below `folder`, unless that is there."""
    path = folder / f"as-{scheme}.zarr"
    if path.exists():
        return LabelStore.open(path)
    num_bytes, names = source.num_bytes(), source.class_names()
    root = Path(source.spec.images_root)
    targets = source.targets()
    assert targets is not None
    images = ImageList(root, source.image_paths(), targets, num_bytes, names)
    every = np.tile(np.arange(source.spec.num_crops), (len(images), 1))
    return derive(source, path, images, scheme, every)
