"""Stores whose vectors are principal components, learned of their own views."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.copies import files
from helpers.folders import make_image_folder

from fkd import LabelConfig, LabelStore, TeacherChoice, label_images
from fkd.config import Target
from fkd.errors import ConfigError, StoreError
from fkd.format import array_layouts, plan_layout

TEACHER = """
import torch
from torch import nn

class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 12, 4, 4)
            self.head = nn.Linear(12, 3)
    def forward(self, x):
        return self.head(self.stem(x).relu().mean(dim=(2, 3)))

def backbone():
    return Backbone().eval()
"""
LAYERS = (Target("features", "pca8", name="few"), Target("features", "f16", name="all"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A teacher of pooled features behind a ReLU, and images in three classes."""
    root = tmp_path_factory.mktemp("pca")
    (root / "pca_teachers.py").write_text(TEACHER)
    make_image_folder(root / "data", train_per_class=8, val_per_class=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        yield root


def labelled(place, out, targets=LAYERS, **changes):
    teacher = TeacherChoice("pca_teachers:backbone", size=16)
    settings = {"num_crops": 3, "workers": 1, "block_images": 8, "scheme": "none", **changes}
    return label_images(
        LabelConfig(place / "data", teacher, out=place / out, targets=targets, **settings)
    )


@pytest.fixture(scope="module")
def store(place):
    return labelled(place, "whole.zarr")


def restored(store, name):
    """Return all vectors of a target, f32 [N · M, D]."""
    slab = store.read_crops(range(store.spec.num_crops))
    kept = {n: torch.from_numpy(v.reshape(-1, v.shape[2])) for n, v in slab.kept.items()}
    return store.vectors(name).restore(kept)


def test_codes_are_those_of_what_was_learned_and_stored(store):
    few, all_numbers = restored(store, "few"), restored(store, "all")
    assert few.shape == all_numbers.shape == (72, 12)
    vectors = store.vectors("few")
    assert vectors.constants["root.few"] == [1]
    again = vectors.restore(vectors.quantize(all_numbers))
    same = ((again - few).abs() < 1e-6).all(dim=1)  # half precision moves few codes
    assert same.float().mean() > 0.8
    mean = all_numbers.mean(dim=0)
    assert (few - all_numbers).norm() < 0.5 * (all_numbers - mean).norm()


def test_a_plane_of_components_has_many_views(store):
    spec = plan_layout(replace(store.spec, num_crops=64))
    layouts = array_layouts(spec)
    assert layouts["vector.few"].chunks[1:] == (64, 8)
    assert layouts["vector.all"].chunks[1] == 4


def test_crops_that_are_added_have_the_components_of_the_first(place, store):
    labelled(place, "grown.zarr", num_crops=2)
    before = LabelStore.open(place / "grown.zarr").vectors("few").constants
    grown = labelled(place, "grown.zarr", num_crops=3)
    for name, values in grown.vectors("few").constants.items():
        assert np.array_equal(values, before[name])
    all_numbers = restored(store, "all")
    spread = (all_numbers - all_numbers.mean(dim=0)).norm()
    assert (restored(grown, "few") - all_numbers).norm() < 0.5 * spread


def test_components_of_another_sample_are_refused(place, store):
    other = labelled(place, "other.zarr", num_crops=2)
    theirs = files(other.path)
    changed = next(n for n in theirs if n.startswith("rotation.few/") and n.endswith("c/0/0"))
    (store.path / changed).rename(store.path / "aside")
    (store.path / changed).write_bytes(theirs[changed])
    try:
        with pytest.raises(StoreError, match="are not what its labeller learned for few"):
            LabelStore.open(store.path).vectors("few")
    finally:
        (store.path / "aside").replace(store.path / changed)


def test_maps_have_no_components(place):
    with pytest.raises(ConfigError, match=r"pca4.* keeps vectors, and stem is a map of 12 x 4 x 4"):
        labelled(place, "map.zarr", (Target("stem", "pca4"),))
    assert not (place / "map.zarr").exists()
