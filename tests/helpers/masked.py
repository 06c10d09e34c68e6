"""Small data sets of images with masks, as CamVid lies on a disk, and a teacher of maps of them."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from fkd import LabelConfig, Scheme, TeacherChoice

CLASSES = ("sky", "road", "car")
VOID = 3  # the value of what counts for nothing
COLOURS = ((40, 80, 220), (130, 130, 130), (220, 40, 40))
MASKED_TEACHER = TeacherChoice("helpers.masked:teacher", size=32)


def make_masked_folder(root, train=6, val=2, seed=0):
    """Write root/train with root/trainannot, val likewise, and root/classes.txt; return root.

    Sky is above, road below, a car on it, and the first column of a mask is void.
    """
    rng = np.random.default_rng(seed)
    for split, count in (("train", train), ("val", val)):
        for number in range(count):
            height, width = (int(side) for side in rng.integers(40, 61, 2))
            write_pair(root, split, f"{number:03}", draw_mask(rng, height, width), rng)
    (root / "classes.txt").write_text("\n".join([*CLASSES, "-void"]) + "\n")
    return root


def draw_mask(rng, height, width):
    mask = np.zeros((height, width), np.uint8)
    mask[int(rng.integers(height // 3, height // 2)) :] = 1
    left = int(rng.integers(1, width // 2))
    mask[-height // 3 : -4, left : left + width // 3] = 2
    mask[:, 0] = VOID
    return mask


def write_pair(root, split, name, mask, rng):
    """Write an image and its mask, u8 [H, W]."""
    pixels = np.array([*COLOURS, (0, 0, 0)])[mask] + rng.integers(-20, 21, (*mask.shape, 1))
    for folder in (split, f"{split}annot"):
        (root / folder / name).parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
    image.save(root / split / f"{name}.jpg", quality=95)
    Image.fromarray(mask).save(root / f"{split}annot" / f"{name}.png")


def masked_config(images, out, **changes):
    """Return a small, fast labelling configuration: a teacher of 8 × 8 cells at 32 px, 4 crops, topk2."""
    settings = {
        "teacher": MASKED_TEACHER,
        "num_crops": 4,
        "scheme": Scheme("topk", 2),
        "batch_size": 16,
        "workers": 2,
        "device": "cpu",
    }
    return LabelConfig(images=images, out=out, **(settings | changes))


def teacher():
    """Make a teacher that knows the colour of each class, at every fourth pixel."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    colours = (torch.tensor(COLOURS) / 255 - mean) / std
    head = nn.Conv2d(3, len(colours), 1)
    head.weight.data = 2 * colours[:, :, None, None]
    head.bias.data = -colours.square().sum(dim=1)
    return nn.Sequential(nn.AvgPool2d(4), head).eval()
