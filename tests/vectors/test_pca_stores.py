"""Stores whose vectors are principal components, learned of their own views."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.copies import files
from helpers.folders import make_image_folder

from fkd import LabelConfig, LabelStore, Part, TeacherChoice, label_images
from fkd.config import Target
from fkd.errors import ConfigError, ModelError, StoreError
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

class Same(Backbone):
    def forward(self, x):
        return super().forward(x) * 0 + 1

def same():
    return Same().eval()
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
    settings = {
        "teacher": teacher,
        "num_crops": 3,
        "workers": 1,
        "block_images": 8,
        "scheme": "none",
    }
    return label_images(
        LabelConfig(place / "data", out=place / out, targets=targets, **settings | changes)
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


def test_fewer_components_than_are_asked_for_are_told(place, capsys):
    """No more than a vector has numbers, and of n views n - 1 say anything."""
    wide, deep = Target("features", "pca64", name="wide"), Target("features", "pca12", name="deep")
    store = labelled(place, "wide.zarr", (wide, deep))
    said = capsys.readouterr().err
    assert "wide has 12 numbers a view, so pca64 keeps 12 components" in said
    assert "warning: wide" not in said
    assert "deep has" not in said
    assert store.vectors("wide").constants["rotation.wide"].shape == (12, 12)
    few = Part(str(place / "few.txt"))
    (place / "few.txt").write_text("\n".join(store.image_paths()[:3]))
    kept = labelled(place, "few.zarr", (deep,), part=few).vectors("deep").constants["rotation.deep"]
    said = capsys.readouterr().err
    assert (
        "warning: deep is learned of 9 views, by which 8 components are known at most, and" in said
    )
    assert "and pca12 keeps 12; choose pca8 or fewer, or int8" in said
    assert np.abs(kept[:8]).max(axis=1).min() > 0
    assert not kept[8:].any()


def test_what_does_not_differ_teaches_no_components(place):
    output = (Target(keep="pca2"),)
    words = r"keep 'pca2' is learned of how its vectors output differ, and "
    same = TeacherChoice("pca_teachers:same", size=16)
    with pytest.raises(ModelError, match=words + "they are the same in all 72 views .* as int8"):
        labelled(place, "same.zarr", output, teacher=same)
    (place / "one.txt").write_text("circle/000.jpg")
    alone = {"num_crops": 1, "part": Part(str(place / "one.txt"))}
    with pytest.raises(ModelError, match=words + "1 view could be looked at"):
        labelled(place, "one.zarr", output, **alone)
    assert not {"same.zarr", "one.zarr"} & {path.name for path in place.iterdir()}


def test_maps_have_no_components(place):
    with pytest.raises(ConfigError, match=r"pca4.* keeps vectors, and stem is a map of 12 x 4 x 4"):
        labelled(place, "map.zarr", (Target("stem", "pca4"),))
    assert not (place / "map.zarr").exists()
