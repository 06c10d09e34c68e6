"""What speeds are measured on: photos, rendered or some of a folder's, and a store of them of no cost."""

from pathlib import Path

import numpy as np
from weightless import class_names

from fkd import LabelConfig, LabelStore, TeacherChoice, ViewPolicy, label_images
from fkd.config import MixPolicy
from fkd.examples.scenes import Scenes, render_dataset
from fkd.sources import dataset_root, list_images

CROPS = 8  # stored of an image


def rendered(folder: Path, limit: int) -> Path:
    """Render photos of ImageNet's usual 500 × 375 pixels."""
    scenes = Scenes(
        train_per_class=-(-limit // 10),
        val_per_class=0,
        short_side=(375, 375),
        aspect=(4 / 3, 4 / 3),
    )
    render_dataset(folder / "photos", scenes, workers=2)
    return folder / "photos" / "train"


def some_of(images: Path, folder: Path, limit: int) -> Path:
    """Link to some images of a folder, chosen at random, class by class."""
    whole = list_images(dataset_root(images))
    for index in np.random.default_rng(0).permutation(len(whole))[:limit].tolist():
        link = folder / "photos" / whole.paths[index]
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(Path(whole.name(index)).absolute())
    return folder / "photos"


def label(root: Path, folder: Path, size: int, mix: MixPolicy = MixPolicy()) -> LabelStore:  # noqa: B008
    """Label with a teacher of no cost: only boxes and the shape of labels matter here."""
    (folder / "names.txt").write_text(class_names(list(list_images(root).classes)))
    teacher = TeacherChoice("weightless:make", "default", folder / "names.txt", True, size)
    out = folder / ("mixed.zarr" if mix.mixes else "labels.zarr")
    views = ViewPolicy(mix=mix)
    return label_images(LabelConfig(root, teacher, out=out, num_crops=CROPS, views=views))
