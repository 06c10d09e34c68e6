"""Rendered scenes: the same files for a seed, of the promised kind."""

import numpy as np
import pytest
from PIL import Image

from fkd.examples.scenes import Scenes, render_dataset
from fkd.examples.shapes import CLASSES
from fkd.images import decode
from fkd.sources import list_images


def test_the_same_seed_gives_the_same_files(tmp_path):
    few = {"classes": 3, "train_per_class": 3, "val_per_class": 1}
    for name, seed, workers in (("a", 1, 1), ("b", 1, 3), ("c", 2, 1)):
        render_dataset(tmp_path / name, Scenes(seed=seed, **few), workers=workers)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.jpg"))
    assert len(files) == 12
    for file in files:
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "c" / file).read_bytes()


def test_sizes_vary_and_every_class_is_there(tmp_path):
    render_dataset(tmp_path, Scenes(train_per_class=4, val_per_class=1))
    images = list_images(tmp_path / "train")
    assert images.classes == tuple(sorted(CLASSES))
    shapes = {tuple(decode(images.name(i)).shape[1:]) for i in range(len(images))}
    assert len(shapes) > 20
    assert all(140 <= min(shape) <= 200 for shape in shapes)


def test_photo_sized_scenes_weigh_what_photos_weigh(tmp_path):
    scenes = Scenes(
        classes=1, train_per_class=6, val_per_class=0, short_side=(375, 375), aspect=(4 / 3, 4 / 3)
    )
    render_dataset(tmp_path, scenes)
    images = list_images(tmp_path / "train")
    with Image.open(images.name(0)) as image:
        assert image.size == (500, 375)
    assert 25_000 < np.median(images.num_bytes) < 120_000


@pytest.mark.parametrize("wrong", [{"classes": 0}, {"short_side": (9, 9)}, {"aspect": (0.5, 1)}])
def test_impossible_scenes_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        Scenes(**wrong)
