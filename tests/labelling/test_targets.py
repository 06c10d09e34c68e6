"""Vectors are kept of each view: `fkd label --features`, and a scheme of vectors for --compress."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.copies import files
from helpers.folders import make_image_folder
from helpers.processes import refused

from fkd import FkdError, LabelConfig, LabelStore, Scheme, TeacherChoice, label_images
from fkd.config import Target
from fkd.errors import ConfigError, ModelError, StoreError
from fkd.teachers import load_teachers

TEACHER = """
import torch
from torch import nn

class Backbone(nn.Module):
    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem = nn.Conv2d(3, 6, 4, 4)
            self.head = nn.Linear(6, 3)
    def forward(self, x):
        return self.head(self.stem(x).relu().mean(dim=(2, 3)))

class Endless(Backbone):
    def forward(self, x):
        return super().forward(x) / 0

def backbone():
    return Backbone().eval()
def endless():
    return Endless().eval()
"""
TWO = (TeacherChoice("no_such_module:never"), TeacherChoice("no_such_module:loaded"))
LAYERS = (Target("features"), Target("stem", "f16", name="map"), Target("stem", pool="mean"))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A teacher of three outputs, and images in three classes."""
    root = tmp_path_factory.mktemp("targets")
    (root / "target_teachers.py").write_text(TEACHER)
    make_image_folder(root / "data", train_per_class=4, val_per_class=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        yield root


def config(place, out, **changes):
    teacher = TeacherChoice("target_teachers:backbone", size=16)
    settings = {"teacher": teacher, "num_crops": 3, "workers": 1, "block_images": 4, **changes}
    return LabelConfig(place / "data", out=place / out, **settings)


@pytest.fixture(scope="module")
def both(place):
    """A store of labels and of three targets."""
    return label_images(config(place, "both.zarr", scheme="topk2", targets=LAYERS))


def restored(store, name):
    """Return all vectors of a target, f32 [N, M, …]."""
    vectors, slab = store.vectors(name), store.read_crops(range(store.spec.num_crops))
    flat = {n: torch.from_numpy(v.reshape(-1, v.shape[2])) for n, v in slab.kept.items()}
    return vectors.restore(flat).reshape(store.spec.num_images, -1, *vectors.shape)


def test_labels_are_those_of_a_store_without_vectors(place, both):
    plain = label_images(config(place, "plain.zarr", scheme="topk2"))
    one, other = both.read_crops(range(3)), plain.read_crops(range(3))
    for name, values in other.kept.items():
        assert np.array_equal(one.kept[name], values)


def test_layers_say_the_same_of_a_view(both):
    features, pooled = restored(both, "features"), restored(both, "stem")
    maps = restored(both, "map")
    assert features.shape == (12, 3, 6)
    assert maps.shape == (12, 3, 6, 4, 4)
    scale = maps.abs().amax()
    assert torch.allclose(maps.relu().mean(dim=(3, 4)), features, atol=float(scale) / 200)
    assert torch.allclose(maps.mean(dim=(3, 4)), pooled, atol=float(scale) / 200)
    assert features.std(dim=(0, 1)).min() > 0


def test_a_store_of_vectors_alone_has_no_labels_and_no_classes_of_its_teacher(place):
    config_ = config(place, "alone.zarr", scheme="int8", unlabelled=True)
    store = label_images(config_)
    assert store.spec.scheme == Scheme("none")
    assert list(store.read_crops(range(1)).kept) == ["vector.output", "scale.output"]
    assert store.class_names() == ("0", "1", "2")
    same = label_images(replace(config_, out=place / "again.zarr", batch_size=5))
    assert {k: v for k, v in files(same.path).items() if "zarr.json" not in k} == {
        k: v for k, v in files(store.path).items() if "zarr.json" not in k
    }


def test_only_the_vectors_that_are_asked_for_are_read(both):
    some = both.of_targets(["features"])
    kept = some.read_crops(range(2)).kept
    assert sorted(kept) == ["code", "index", "scale.features", "vector.features"]
    assert sorted(both.of_targets([]).read_crops(range(2)).kept) == ["code", "index"]
    with pytest.raises(StoreError, match="has no vectors named layer9; it has features, map, stem"):
        both.of_targets(["layer9"])


def test_more_crops_and_images_get_vectors_too(place):
    grown = config(place, "grown.zarr", scheme="topk2", targets=LAYERS, num_crops=1)
    label_images(grown)
    store = label_images(replace(grown, num_crops=3))
    whole = LabelStore.open(place / "both.zarr")
    for name in ("features", "map", "stem"):
        assert torch.equal(restored(store, name), restored(whole, name))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"scheme": "none"}, ConfigError, "keeps no labels; say which vectors"),
        ({"targets": ("stem", "stem")}, ConfigError, "two are named stem"),
        ({"targets": ('{layer="stem", keep="int9"}',)}, ConfigError, "int9"),
        ({"targets": ('{layr="stem"}',)}, ConfigError, "features has no layr .perhaps layer"),
        ({"teacher": TWO, "targets": ("stem",)}, ConfigError, "several have no mean; give one --t"),
        ({"teacher": TWO, "scheme": "int8"}, ConfigError, "several have no mean; give one --teach"),
        ({"targets": ("stm",)}, ModelError, "has no layer stm; it has features, stem"),
    ],
)
def test_what_cannot_be_kept_is_refused(place, changes, error, words):
    with pytest.raises(error, match=words):
        label_images(config(place, "refused.zarr", **changes))
    assert not (place / "refused.zarr").exists()


def test_a_store_goes_on_with_its_own_vectors_alone(place, both):
    with pytest.raises(StoreError, match="--features"):
        label_images(config(place, "both.zarr", scheme="topk2", targets=LAYERS[:1]))


def test_vectors_that_are_not_finite_are_refused_and_the_image_is_named(place):
    endless = TeacherChoice("target_teachers:endless", size=16)
    with pytest.raises(FkdError, match=r"its vector output is not finite"):
        label_images(config(place, "endless.zarr", teacher=endless, scheme="int8"))


def test_several_teachers_are_refused_before_one_is_loaded():
    with pytest.raises(ConfigError, match="vectors of several have no mean"):
        load_teachers(TWO, None, torch.device("cpu"), targets=LAYERS)


def test_the_command_refuses_in_a_line(place):
    args = ["label", place / "data", "--teacher", "target_teachers:backbone", "--size", "16"]
    twice = ("--features", "stem", "--features", "stem")
    assert "two are named stem" in refused(*args, *twice, "--out", place / "refused.zarr")
