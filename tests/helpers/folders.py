"""Small image folders, and how they are labelled."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from fkd import LabelConfig, Scheme, TeacherChoice
from helpers.networks import MAP_TEACHER_CHOICE, TEACHER_CHOICE

CLASSES = ("circle", "square", "triangle")


def draw_image(kind, rng, height, width):
    """Draw one shape of its class on noise."""
    noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    draw = ImageDraw.Draw(image)
    side = min(height, width) // 2
    left, top = rng.integers(0, width - side + 1), rng.integers(0, height - side + 1)
    box = [int(left), int(top), int(left + side), int(top + side)]
    colour = tuple(int(c) for c in rng.integers(0, 256, 3))
    if kind == "circle":
        draw.ellipse(box, fill=colour)
    elif kind == "square":
        draw.rectangle(box, fill=colour)
    else:
        draw.polygon([(box[0], box[3]), (box[2], box[3]), (box[0], box[1])], fill=colour)
    return image


def make_image_folder(root, train_per_class=6, val_per_class=2, seed=0):
    """Write root/train and root/val, a folder per class, images of varying size; return root."""
    rng = np.random.default_rng(seed)
    for split, count in (("train", train_per_class), ("val", val_per_class)):
        for kind in CLASSES:
            folder = root / split / kind
            folder.mkdir(parents=True)
            for number in range(count):
                height, width = (int(v) for v in rng.integers(24, 61, 2))
                image = draw_image(kind, rng, height, width)
                image.save(folder / f"{number:03}.jpg", quality=92)
    return root


def label_config(images, out, **changes):
    """Return a small, fast labelling configuration: a random resnet18 at 32 px, 6 crops, topk3."""
    settings = {
        "teacher": TeacherChoice("resnet18", "none", size=32),
        "num_crops": 6,
        "scheme": Scheme("topk", 3),
        "batch_size": 32,
        "workers": 2,
        "device": "cpu",
    }
    return LabelConfig(images=Path(images), out=Path(out), **(settings | changes))


def tiny_label_config(images, out, **changes):
    """Return what `label_config` does, of a teacher that is loaded and asked at once."""
    return label_config(images, out, **{"teacher": TEACHER_CHOICE} | changes)


def vector_config(images, name, **changes):
    """Return how vectors of few crops are kept, in small blocks, in a store beside the images."""
    settings = {"num_crops": 4, "block_images": 6, "workers": 1, **changes}
    return tiny_label_config(images, images.parent / name, **settings)


def map_config(images, name, **changes):
    """Return how maps of few crops are kept, in small blocks, in a store beside the images."""
    settings = {"teacher": MAP_TEACHER_CHOICE, "unlabelled": True, **changes}
    return vector_config(images, name, **settings)
