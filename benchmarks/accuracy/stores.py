"""The stores that the tables compare: one is labelled, the others are made from it.

All students so see the same boxes and flips; what differs is the label, or how often a crop comes.
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.ops import roi_align

from fkd import LabelConfig, LabelStore, Scheme, TeacherChoice, label_images
from fkd.config import Amp, Engine, Rendering
from fkd.crops import empty_views, normalize, render
from fkd.images import ImageList, decode
from fkd.layout import StoreSpec
from fkd.progress import progress
from fkd.slabs import Block
from fkd.softlabels import quantize
from fkd.sources import open_source
from fkd.teachers import Teacher, load_teachers
from fkd.zoo import resolve_device

FULL = Scheme("full")
_CHOSEN_BY_PLAN = {
    "num_images",
    "num_crops",
    "num_classes",
    "block_images",
    "chunk_crops",
    "scheme",
}

# Labels of some images and all their crops, f32 [n, M, C], of image indices, boxes and flips.
Relabel = Callable[[range, NDArray[Any], NDArray[Any]], Tensor]


def label_full(images: Path, teacher: TeacherChoice, num_crops: int, out: Path, amp: Amp) -> float:
    """Label all crops with all probabilities; return the seconds, those of earlier tries too."""
    clock = out.with_suffix(".seconds")
    spent = float(clock.read_text()) if clock.exists() else 0.0
    began = time.perf_counter()
    try:
        config = LabelConfig(
            images, teacher, out, num_crops=num_crops, scheme=FULL, engine=Engine(amp)
        )
        label_images(config)
    finally:
        if not clock.exists() or time.perf_counter() - began > 20:
            clock.write_text(str(spent + time.perf_counter() - began))
    return float(clock.read_text())


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
    kept = {f.name for f in fields(StoreSpec)} - _CHOSEN_BY_PLAN
    spec = StoreSpec.plan(
        block_images=None,
        num_images=source.spec.num_images,
        num_crops=slots.shape[1],
        num_classes=source.spec.num_classes,
        scheme=scheme,
        **{name: getattr(source.spec, name) for name in kept - {"sampler"}},
        sampler=source.spec.sampler if _in_order(slots) else "derived",
    )
    aside = path.with_suffix(".partial")
    store = LabelStore.create(aside, spec, images, source.targets(), source.class_names())
    status, hashes = source.status(), source.content_hashes()
    assert hashes is not None
    slab = source.read_crops(range(source.spec.num_crops))
    for number in progress(range(spec.num_blocks), f"derive {path.name}", unit="block"):
        rows = spec.block_range(number)
        some = np.arange(rows.start, rows.stop)[:, None], slots[rows.start : rows.stop]
        box, flip = slab.box[some], slab.flip[some]
        if relabel is None:
            probs = torch.from_numpy(slab.kept["log_prob"][some]).float().softmax(dim=2)
        else:
            probs = relabel(rows, box, flip)
        flat = quantize(probs.reshape(-1, spec.num_classes), scheme)
        labels = {n: v.numpy().reshape(len(rows), slots.shape[1], -1) for n, v in flat.items()}
        size = slab.size[rows.start : rows.stop]
        where = slice(rows.start, rows.stop)
        store.commit_block(number, Block(box, flip, size, status[where], hashes[where], labels))
    aside.rename(path)
    return LabelStore.open(path)


def _in_order(slots: NDArray[np.int64]) -> bool:
    return bool((slots == np.arange(slots.shape[1])).all())


def once_per_image(images: ImageList, teacher: Teacher) -> Tensor:
    """Return what the teacher says of each whole image, f32 [N, C]: the mistake that FKD corrects."""
    views = _whole_images(images, teacher.preprocessing.rendering)
    return torch.cat([teacher.probs(batch, len(batch), 1.0).cpu() for batch in views])


def label_maps(images: ImageList, choice: TeacherChoice, teacher: Teacher, size: int) -> Tensor:
    """Return ReLabel's label maps, f32 [N, C, h, w], of whole images of `size` pixels.

    The classifier is applied at every place of the last features instead of to their mean (Yun et al.,
    CVPR 2021); what is pooled later are logits of the folder's classes.
    """
    features, linear = _split(open_source(choice, len(images.classes), teacher.device).model)
    how, maps = teacher.preprocessing, []
    for views in _whole_images(images, Rendering(size, how.interpolation)):
        with torch.inference_mode():
            pixels = normalize(views.to(teacher.device), how.mean, how.std)
            found = features(pixels)
            logits = torch.einsum("bdhw,cd->bchw", found, linear.weight)
            maps.append((logits + linear.bias[:, None, None]).cpu())
    return torch.cat(maps)


def _split(model: Any) -> tuple[nn.Module, nn.Linear]:
    """Return what comes before the mean over places, and the classifier after it."""
    if hasattr(model, "features"):
        return model.features, model.classifier[-1]
    return nn.Sequential(*list(model.children())[:-2]), model.fc


def pooled(maps: Tensor, sizes: NDArray[np.uint16]) -> Relabel:
    """Return ReLabel's label pooling: RoI-align of a crop's box in its image's map, then softmax.

    `sizes` u16 [N, 2] are the images' heights and widths.
    """
    height, width = maps.shape[-2:]

    def relabel(rows: range, box: NDArray[Any], flip: NDArray[Any]) -> Tensor:
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

    def relabel(rows: range, box: NDArray[Any], flip: NDArray[Any]) -> Tensor:
        some = probs[rows.start : rows.stop, None]
        return some.expand(-1, box.shape[1], -1)

    return relabel


def load_teacher(choice: TeacherChoice, images: ImageList, amp: Amp = "off") -> Teacher:
    """Load one teacher of the folder's classes, on the GPU if there is one."""
    device = resolve_device("auto")
    return load_teachers([choice], images.classes, device, Engine(amp)).teachers[0]


def _whole_images(images: ImageList, how: Rendering, batch_size: int = 64) -> Iterator[Tensor]:
    """Yield all of each image in order, as one view each, u8 [B, 3, S, S]."""
    with ThreadPoolExecutor(2) as pool:
        starts = range(0, len(images), batch_size)
        for start in progress(starts, "whole images", unit="batch"):
            indices = range(start, min(start + batch_size, len(images)))
            views = empty_views(len(indices), how.size)
            list(pool.map(partial(_draw_whole, images, how), indices, views))
            yield views


def _draw_whole(images: ImageList, how: Rendering, image_index: int, view: Tensor) -> None:
    pixels = decode(images.file(image_index))
    whole = np.array([0, 0, *pixels.shape[1:]], np.uint16)
    render(pixels, whole, False, view, how.interpolation)


def derive_as(source: LabelStore, folder: Path, scheme: Scheme) -> LabelStore:
    """Write the crops of `source` in another scheme below `folder`, unless that is there."""
    path = folder / f"as-{scheme}.zarr"
    if path.exists():
        return LabelStore.open(path)
    num_bytes, names = source.num_bytes(), source.class_names()
    root = Path(source.spec.images_root)
    images = ImageList(root, source.image_paths(), source.targets(), num_bytes, names)
    every = np.tile(np.arange(source.spec.num_crops), (len(images), 1))
    return derive(source, path, images, scheme, every)
