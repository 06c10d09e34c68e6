"""A teacher that says a map of labels: every cell is a row like others, in store and in memory."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.folders import make_image_folder
from helpers.processes import refused
from torch.nn import functional

from fkd import FkdError, LabelConfig, LabelStore, TeacherChoice, label_images
from fkd.images import decode
from fkd.labels import divergence, laid_out, rows_of
from fkd.sources import list_images
from fkd.teachers import load_teachers
from fkd.views import empty_views, render_views

TEACHER = """
import torch
from torch import nn

class Maps(nn.Module):
    def __init__(self, classes=6, stride=8):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.stem, self.head = nn.Conv2d(3, 6, stride, stride), nn.Conv2d(6, classes, 1)
    def forward(self, x):
        return {"out": 8 * self.head(self.stem(x).relu()), "aux": x[:, :1]}

class Whole(Maps):
    def forward(self, x):
        return super().forward(x)["out"].mean(dim=(2, 3))

def maps():
    return Maps().eval()
def finer():
    return Maps(stride=4).eval()
def many():
    return Maps(300, 16).eval()
def whole():
    return Whole().eval()
"""
SIZE, CROPS = (48, 64), 3


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    root = tmp_path_factory.mktemp("maps")
    (root / "map_teachers.py").write_text(TEACHER)
    make_image_folder(root / "data", train_per_class=3, val_per_class=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        yield root


def config(place, out, name="maps", **changes):
    teacher = TeacherChoice(f"map_teachers:{name}", size=SIZE)
    settings = {"teacher": teacher, "num_crops": CROPS, "workers": 1, "scheme": "topk3", **changes}
    return LabelConfig(place / "data" / "train", out=place / out, unlabelled=True, **settings)


def said(place, store, name="maps"):
    """Return what the teacher says of all views of a store's first image, [CROPS, C, h, w]."""
    images = list_images(place / "data" / "train", unlabelled=True)
    slab = store.read(range(1), range(CROPS))
    views = empty_views(CROPS, SIZE)
    pixels = torch.as_tensor(decode("", images.read(0)))
    render_views(pixels, slab.box[0], slab.flip[0], list(views.unbind()), "bilinear")
    (teacher,) = load_teachers(
        [TeacherChoice(f"map_teachers:{name}", size=SIZE)], None, torch.device("cpu")
    ).teachers
    return laid_out(teacher.probs(views, CROPS, 1.0), teacher.grid)


def restored(store):
    kept = {
        name: torch.from_numpy(values[0])
        for name, values in store.read(range(1), range(CROPS)).kept.items()
    }
    return store.spec.labels.restore(kept)


@pytest.mark.parametrize(
    ("scheme", "most"),
    [("topk3", 0.1), ("topk3-coarse", 0.2), ("full", 1e-5), ("full-8bit", 0.01), ("smooth", 1.0)],
)
def test_each_cell_has_the_label_that_the_teacher_says_of_it(place, scheme, most):
    store = label_images(config(place, f"{scheme}.zarr", scheme=scheme))
    assert store.spec.grid == (6, 8)
    rows = rows_of(said(place, store))
    labels = restored(store)
    assert len(labels) == CROPS * 48
    same = (labels.top_class == rows.argmax(dim=1)).float().mean()
    assert same >= (0.95 if scheme == "full-8bit" else 1)  # of equal codes the first class counts
    assert float(divergence(rows, labels).mean()) < most


def test_more_classes_than_a_byte_names_are_kept(place):
    store = label_images(config(place, "many.zarr", "many"))
    rows = rows_of(said(place, store, "many"))
    assert int(rows.argmax(dim=1).max()) > 255
    assert torch.equal(restored(store).top_class, rows.argmax(dim=1))


def test_a_coarser_grid_has_the_means_of_probabilities(place):
    store = label_images(config(place, "coarse.zarr", scheme="full", map_stride=16))
    assert store.spec.grid == (3, 4)
    means = functional.avg_pool2d(said(place, store), 2)
    labels = restored(store)
    assert torch.allclose(labels.value, rows_of(means), atol=2e-3)


def test_teachers_of_two_grids_meet_on_a_coarser_one(place):
    both = tuple(TeacherChoice(f"map_teachers:{name}", size=SIZE) for name in ("maps", "finer"))
    with pytest.raises(FkdError, match=r"6x8 labels and .*finer 12x16; give a --map-stride"):
        label_images(config(place, "both.zarr", teacher=both))
    store = label_images(config(place, "both.zarr", teacher=both, scheme="full", map_stride=8))
    mean = (said(place, store) + functional.avg_pool2d(said(place, store, "finer"), 2)) / 2
    assert torch.allclose(restored(store).value, rows_of(mean), atol=2e-3)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"map_stride": 4},
            "asks for 12x16 labels of views of 48x64 px, and teacher .* says 6x8; choose 8",
        ),
        ({"name": "whole", "map_stride": 8}, "is of maps, and teacher .* says one label a view"),
        ({"scheme": "samples4"}, "draws classes from one label a view"),
        ({"scheme": "int8", "map_stride": 8}, "--map-stride 8 is of labels, and none are kept"),
    ],
)
def test_what_maps_cannot_be_is_refused_before_a_store_is_made(place, changes, message):
    with pytest.raises(FkdError, match=message):
        label_images(config(place, "none.zarr", **changes))
    assert not (place / "none.zarr").exists()


def test_a_map_and_a_label_have_no_mean(place):
    both = tuple(TeacherChoice(f"map_teachers:{name}", size=SIZE) for name in ("maps", "whole"))
    with pytest.raises(FkdError, match=r"maps says a map of labels, and .*whole one label a view"):
        label_images(config(place, "none.zarr", teacher=both))


def test_a_teacher_of_maps_is_called_one_where_images_have_classes(place):
    classed = replace(config(place, "none.zarr"), unlabelled=False)  # three, and it has six outputs
    with pytest.raises(
        FkdError, match=r"maps says a map of 6x8 labels, and the images have classes"
    ):
        label_images(classed)
    assert not classed.out.exists()


def test_a_store_of_maps_goes_on_as_it_was_begun_and_no_other_way(place):
    first = label_images(config(place, "on.zarr", map_stride=16))
    more = label_images(config(place, "on.zarr", map_stride=16, num_crops=5))
    assert more.spec.num_crops == 5
    again = more.read(range(9), range(CROPS)).kept
    for name, values in first.read(range(9), range(CROPS)).kept.items():
        assert np.array_equal(values, again[name])
    with pytest.raises(FkdError, match="the grid of its labels is 6x8, the store has 3x4"):
        label_images(config(place, "on.zarr", num_crops=5))


def test_an_output_that_is_a_map_can_be_kept_as_a_vector(place):
    store = label_images(config(place, "vector.zarr", scheme="f16"))
    assert store.spec.grid == ()
    assert store.vectors("output").shape == (6, 6, 8)


def test_a_map_of_a_label_that_sums_to_more_than_one_is_damage(place):
    store = label_images(config(place, "fault.zarr"))
    kept = store.read(range(2), range(CROPS)).kept
    labels = store.spec.labels
    assert labels.fault(kept) is None
    assert not labels.disordered(kept).any()
    twice = {name: values.copy() for name, values in kept.items()}
    twice["index"][1, 2, -1] = twice["index"][1, 2, -2]  # a class of the last cell, named twice
    assert labels.disordered(twice).nonzero() == (np.array([1]), np.array([2]))
    twice["index"][0, 0, 5] = 6
    assert labels.fault(twice) == ("ids", "class id 6 is not below 6")


def test_a_library_says_its_own_grid(place):
    choice = TeacherChoice("lraspp_mobilenet_v3_large", "none", size=(64, 96))
    store = label_images(config(place, "library.zarr", teacher=choice, num_crops=1))
    assert store.spec.grid == (8, 12)
    assert store.spec.num_classes == 1000  # random weights have as many as ImageNet's


@pytest.mark.parametrize("size", ["64:96", "0", "axb"])
def test_a_size_that_is_none_is_refused_in_one_line(place, size):
    refused(
        [
            "label",
            "--teacher",
            "resnet18",
            "--size",
            size,
            place / "data",
            "--out",
            place / "no.zarr",
        ]
    )


def test_the_command_line_takes_height_and_width(place, run_fkd):
    out = place / "line.zarr"
    done = run_fkd(
        "label", "--teacher", "lraspp_mobilenet_v3_large", "--teacher-weights", "none", "--size",
        "32x64", "--map-stride", "16", "--crops", 1, "--unlabelled", "--out", out, place / "data",
        "--compress", "hard", "--workers", 1,
    )  # fmt: skip
    assert done.code == 0, done.err
    assert LabelStore.open(out).spec.size == (32, 64)
    assert "hard of 2x4 cells" in done.out
