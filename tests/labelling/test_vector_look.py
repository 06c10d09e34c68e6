"""A first look at vectors, and what a dry run says of them."""

import numpy as np
import pytest
import torch
from helpers.folders import vector_config

from fkd import TeacherChoice, estimate_run, label_images
from fkd.config import Target, VectorScheme
from fkd.labelling.vector_look import SampleVectors, several_of_each

COLLAPSED = """
from helpers.networks import teacher
from torch import nn
class Same(nn.Module):
    def __init__(self):
        super().__init__()
        self.model = teacher()
    def forward(self, x):
        return self.model(x) * 1e-4 + 1
"""


def test_each_image_that_is_looked_at_has_others_of_its_class():
    classes = np.repeat(np.arange(1000), 13)
    rows = several_of_each(classes, 256)
    _, counts = np.unique(classes[rows], return_counts=True)
    assert len(rows) == 256
    assert counts.tolist() == [8] * 32
    assert np.array_equal(rows, several_of_each(classes, 256))
    uneven = np.array([0, 1, 1, 1, 2, 3, 3])
    assert set(uneven[several_of_each(uneven, 4)]) <= {1, 3}
    assert several_of_each(uneven, 7).tolist() == list(range(7))


def test_neighbours_of_a_class_are_found_and_chance_is_suspicious():
    generator = torch.Generator().manual_seed(0)
    classes = np.repeat(np.arange(8), 8)
    noise = torch.randn(64, 32, generator=generator)
    apart = 5 * torch.randn(8, 32, generator=generator)[classes] + noise
    good = SampleVectors.of("v", (32,), apart, classes)
    assert (good.knn, good.neighbours, good.num_classes, good.warnings) == (1.0, 7, 8, [])
    bad = SampleVectors.of("v", (32,), noise, classes)
    assert any("no better than guessing among 8" in warning for warning in bad.warnings)
    assert SampleVectors.of("v", (32,), noise, None).warnings == []


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda v: v * 0.01 + 1, "nearly the same for all images: their mean cosine is 0.99"),
        (lambda v: v[:, :1] * torch.ones(32), "collapsed to 1.0 of 32 axes"),
        (lambda v: torch.cat([v[:, :12], v[:1, 12:].expand(64, -1)], 1), "20 of 32 numbers"),
        (lambda v: v / 0, "not finite"),
    ],
)
def test_collapsed_vectors_are_warned_of(change, words):
    noise = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    (warning,) = SampleVectors.of("v", (32,), change(noise), None).warnings
    assert words in warning


def test_a_run_says_what_its_vectors_tell(shared_folder, tmp_path, monkeypatch, capsys):
    (tmp_path / "collapsed.py").write_text(COLLAPSED)
    monkeypatch.syspath_prepend(str(tmp_path))
    teacher = TeacherChoice("collapsed:Same", size=32)
    config = vector_config(
        shared_folder, "looked.zarr", scheme="int8", targets=(Target("model.0"),), teacher=teacher
    )
    label_images(config)
    said = capsys.readouterr().err
    assert "top-1" not in said
    assert "looked at on 18 centre crops" in said
    assert "output, vectors of 3 numbers: kNN" in said
    assert "model-0, maps of 3 channels, here their means: kNN" in said
    assert "warning: teacher collapsed:Same: vectors output are nearly the same" in said


def test_a_dry_run_says_how_large_vectors_are_and_learns_once(shared_folder, capsys):
    targets = (Target("features", "pca2", name="small"), Target("0", "f16", name="map"))
    config = vector_config(shared_folder, "dry.zarr", targets=targets)
    estimate = estimate_run(config)
    lines = estimate.lines()
    said = [text for name, text in lines if name == "vectors"]
    assert said == [
        "small: the input of its last linear layer, 192 numbers, 2 bytes a view, kept as pca2",
        "map: layer 0, a map of 3 × 8 × 8, 384 bytes a view, kept as f16",
    ]
    assert capsys.readouterr().err.count("is learned of") == 1
    assert estimate.num_learned == 18 * 4
    assert estimate.bytes_per_crop > 200
    teacher = [text for name, text in lines if name == "teacher"]
    assert "top-1" in teacher[0]
    assert "small, vectors of 192 numbers: kNN" in teacher[1]
    assert not (shared_folder.parent / "dry.zarr").exists()


@pytest.mark.parametrize(("keep", "times"), [("f16", 1e7), ("f16", 1e-9), ("int8", 1e-9)])
def test_numbers_that_a_scheme_cannot_tell_apart_are_suspicious(keep, times):
    vectors = torch.randn(64, 32, generator=torch.Generator().manual_seed(0))
    scheme = VectorScheme.parse(keep)
    assert SampleVectors.of("v", (32,), vectors, None, scheme).warnings == []
    (warning,) = SampleVectors.of("v", (32,), vectors * times, None, scheme).warnings
    assert f"kept as {keep} they lose" in warning
