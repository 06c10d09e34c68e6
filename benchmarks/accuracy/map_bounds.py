"""What a map of labels can tell on a coarse grid, and what one map of a whole image tells of its crops.

    python benchmarks/accuracy/map_bounds.py camvid/
    CAMVID_MODELS=. python benchmarks/accuracy/map_bounds.py camvid/ --teacher camvid:deeplab --size 513

The first table is of masks alone: those of val, made coarser by the mean of each cell's pixels, resized
back and compared with themselves. The second is of a teacher, on every eighth image of train: the map of
a crop beside the part of the whole image's map that the crop has, and the map of a mirrored image beside
the mirrored map. The folder is as benchmarks/accuracy/camvid.py makes it, with the names of the teacher's
outputs in cityscapes.txt.
"""

from pathlib import Path

import click
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from fkd import TeacherChoice, ViewPolicy
from fkd.images import decode
from fkd.labels import laid_out
from fkd.sources import list_images
from fkd.teachers import Teacher, load_teachers
from fkd.truth import Confusion, Masks, find_masks
from fkd.views import empty_views, render, sample_views

STRIDES = (2, 4, 8, 16)
EVERY, CROPS, SCALE = 8, 2, (0.25, 1.0)
PATH = click.Path(path_type=Path)


@click.command()
@click.argument("camvid", type=PATH)
@click.option("--teacher", help="A function, as `fkd label --teacher` names it.")
@click.option("--size", default=513, help="Pixels of a view's side that the teacher sees.")
def main(camvid: Path, teacher: str | None, size: int) -> None:
    """Print both tables, or the first one where no teacher is named."""
    masks = find_masks(list_images(camvid / "val", unlabelled=True))
    if masks is None or masks.classes is None:
        raise click.ClickException(f"{camvid} has no masks with names; make it by camvid.py")
    for stride in STRIDES:
        left = what_is_left(masks, len(masks.classes), stride)
        ((lowest, iou),) = left.worst(masks.classes, 1)
        print(
            f"{stride} pixels a cell: mIoU {left.miou:.3f}, lowest {lowest} {iou:.2f}, "
            f"{left.pixel_accuracy:.1%} of pixels"
        )
    if teacher is not None:
        half = (0.5, 0.5, 0.5)
        choice = TeacherChoice(
            teacher, classes_file=camvid / "cityscapes.txt", size=size, mean=half, std=half
        )
        device = torch.device("cpu")
        teachers = load_teachers([choice], None, device, truth_classes=masks.classes)
        compare_maps(teachers.teachers[0], camvid, size)


def what_is_left(masks: Masks, num_classes: int, stride: int) -> Confusion:
    """Count the pixels of masks against what their means over cells say of them."""
    confusion = Confusion(num_classes)
    for index in range(len(masks)):
        mask = masks.read(index)
        known = functional.one_hot(mask.long().clamp(max=num_classes), num_classes + 1)
        shares = known[..., :num_classes].permute(2, 0, 1).float()[None]
        height, width = mask.shape
        cells = functional.adaptive_avg_pool2d(shares, (height // stride, width // stride))
        back = functional.interpolate(cells, (height, width), mode="bilinear", align_corners=False)
        confusion.add(back.argmax(dim=1)[0], mask)
    return confusion


def compare_maps(teacher: Teacher, camvid: Path, size: int) -> None:
    """Print how far the maps of crops and of mirrored images are from those of whole images."""
    images = list_images(camvid / "train", unlabelled=True)
    crops, mirrored = [], []
    for index in range(0, len(images), EVERY):
        pixels = torch.as_tensor(decode(images.name(index), images.read(index)))
        height, width = pixels.shape[-2:]
        boxes, _ = sample_views(ViewPolicy(scale=SCALE), index, CROPS, height, width)
        views = empty_views(2 + CROPS, size)
        whole = np.array([0, 0, height, width])
        for view, box, flip in zip(
            views, (whole, whole, *boxes), (False, True, *[False] * CROPS), strict=True
        ):
            render(pixels, box, flip, view, "bilinear")
        maps = laid_out(teacher.probs(views, len(views), 1.0), teacher.grid)
        mirrored.append(_apart(maps[1].flip(-1), maps[0]))
        parts = [_cut(maps[:1], box, (height, width)) for box in boxes.tolist()]
        crops += [_apart(own, part) for own, part in zip(maps[2:], parts, strict=True)]
    for what, found in (("crops", crops), ("mirrored images", mirrored)):
        same, nats = np.mean(found, axis=0)
        print(f"{len(found)} {what}: the same class at {same:.1%} of positions, KL {nats:.2f} nats")


def _apart(own: Tensor, other: Tensor) -> tuple[float, float]:
    """Return at which share of positions two maps [C, h, w] say the same, and KL(own ‖ other)."""
    logs = [each.clamp_min(1e-9).log() for each in (own, other)]
    nats = (own * (logs[0] - logs[1])).sum(dim=0).mean()
    same = (own.argmax(dim=0) == other.argmax(dim=0)).float().mean()
    return float(same), float(nats)


def _cut(whole: Tensor, box: list[int], size: tuple[int, int]) -> Tensor:
    """Return what a map of an image [1, C, h, w] says of a box, [C, h, w] with sum 1 at each position."""
    places = []
    for first, length, side, count in zip(box[:2], box[2:], size, whole.shape[-2:], strict=True):
        places.append((first + (torch.arange(count) + 0.5) * length / count) / side * 2 - 1)
    rows, columns = torch.meshgrid(*places, indexing="ij")
    at = torch.stack([columns, rows], dim=-1)[None]
    part = functional.grid_sample(whole, at, padding_mode="border", align_corners=False)[0]
    return part / part.sum(dim=0)


if __name__ == "__main__":
    main()
