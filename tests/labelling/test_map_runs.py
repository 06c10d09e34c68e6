"""Maps of labels come to a store by runs that go on, grow, join and are shared out, as labels do."""

import random
import shutil
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.copies import files
from helpers.folders import draw_image, map_config
from helpers.kills import ROUNDS
from helpers.networks import MAP_TEACHER_CHOICE
from helpers.processes import Forked, ranks_finish

from fkd import (
    AddTeacherConfig,
    FkdError,
    LabelStore,
    TeacherChoice,
    add_teacher,
    estimate_run,
    label_images,
)

FINE = """
import torch
from torch import nn
class Fine(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Conv2d(3, 5, (2, 4), (2, 4))
        self.head.weight.data = torch.randn(5, 3, 2, 4, generator=torch.Generator().manual_seed(1))
        self.head.bias.data.zero_()
    def forward(self, x):
        return {"out": self.head(x), "aux": x}
def fine():
    return Fine().eval()
"""
WORDS = (
    "label --teacher helpers.networks:map_teacher --size 32 --block 2 --crops 6 --compress topk3"
)
WORDS += " --unlabelled --workers 1 --device cpu --batch-size 16 --out s.zarr"


@pytest.fixture
def fine(tmp_path, monkeypatch):
    """A teacher of maps of 16 x 8 labels, which it says among other things."""
    (tmp_path / "fine_teacher.py").write_text(FINE)
    monkeypatch.syspath_prepend(str(tmp_path))
    return TeacherChoice("fine_teacher:fine", size=32)


def labelled(folder, out, **changes):
    return label_images(replace(map_config(folder, "unused", **changes), out=out))


def maps(store):
    """Return the labels of all crops, f32 [N, M, C, h, w]."""
    slab = store.read_images(range(store.spec.num_images), store.spec.num_crops)
    kept = {
        name: torch.from_numpy(values.reshape(-1, values.shape[2]).astype(int))
        for name, values in slab.kept.items()
    }
    dense = store.spec.labels.restore(kept).dense(5)
    shape = (-1, store.spec.num_crops, *store.spec.grid, 5)
    return dense.reshape(shape).permute(0, 1, 4, 2, 3)


def test_more_crops_and_more_images_get_maps_too(shared_folder, map_store, tmp_path):
    folder, out = tmp_path / "data", tmp_path / "a.zarr"
    shutil.copytree(shared_folder / "train", folder / "train")
    labelled(folder, out, num_crops=1)
    assert files(labelled(folder, tmp_path / "b.zarr").path).keys() == files(map_store.path).keys()
    grown = labelled(folder, out)
    assert np.array_equal(maps(grown), maps(map_store))
    for name in ("x.png", "y.png"):
        draw_image("circle", np.random.default_rng(len(name)), 40, 50).save(folder / "train" / name)
    grown = labelled(folder, out, grow=True)
    assert (grown.spec.num_images, len(grown.segments)) == (20, 3)
    anew = labelled(folder, tmp_path / "c.zarr")
    assert anew.image_paths() == grown.image_paths()  # which come last by name, too
    assert np.array_equal(maps(anew), maps(grown))


def test_a_teacher_that_joins_has_its_share_at_each_position(shared_folder, fine, tmp_path):
    full = labelled(shared_folder, tmp_path / "full.zarr", scheme="full", num_crops=2)
    config = AddTeacherConfig(full.path, fine, tmp_path / "both.zarr", device="cpu", workers=1)
    joined = add_teacher(replace(config, scheme="full-8bit"))
    other = labelled(
        shared_folder, tmp_path / "fine.zarr", teacher=fine, num_crops=2, scheme="full-8bit"
    )
    assert (joined.spec.grid, other.spec.grid) == ((8, 4), (16, 8))
    finer = maps(other).reshape(18, 2, 5, 8, 2, 4, 2).mean((4, 6))
    whole = full.read_images(range(18), 2).kept["log_prob"].reshape(18, 2, 8, 4, 5)
    own = torch.from_numpy(whole).float().softmax(-1).permute(0, 1, 4, 2, 3)
    assert (maps(joined) - (own + finer) / 2).abs().max() < 0.03
    with pytest.raises(
        FkdError, match="says a map of 8x4 labels, and the store keeps maps of 16x8"
    ):
        add_teacher(
            AddTeacherConfig(other.path, MAP_TEACHER_CHOICE, tmp_path / "none.zarr", device="cpu")
        )
    assert not (tmp_path / "none.zarr").exists()


def test_a_dry_run_says_what_a_map_takes(shared_folder, map_store):
    config = replace(map_config(shared_folder, "unused"), block_images=None)
    estimate = estimate_run(config)
    per_crop = sum(map_store.stored_bytes().values()) / 72
    assert estimate.bytes_per_crop == pytest.approx(per_crop, rel=0.4)
    assert "of 8x4 labels" in dict(estimate.lines())["store"]


@pytest.mark.whole
def test_ranks_make_the_store_that_one_process_makes(shared_folder, map_store, tmp_path):
    ranks = ranks_finish([*WORDS.split(), shared_folder], tmp_path, 2)
    said = "".join(done.out + done.err for done in ranks)
    assert [done.code for done in ranks] == [0, 0], said
    store = LabelStore.open(tmp_path / "s.zarr")
    assert np.array_equal(maps(store)[:, :4], maps(map_store))


@pytest.mark.whole
def test_killed_anywhere(shared_folder, map_store, tmp_path):
    words, chance, done = [*WORDS.split(), shared_folder], random.Random(), set()
    for _ in range(ROUNDS):
        with Forked(words, tmp_path) as process:
            deadline = time.monotonic() + chance.uniform(0, 4)
            while process.code is None and time.monotonic() < deadline:
                time.sleep(0.002)
        if (tmp_path / "s.zarr").exists():
            store = LabelStore.open(tmp_path / "s.zarr")
            assert done <= {*store.done_blocks()}
            done = {*store.done_blocks()}
            for number in done:
                store.read_block(number)
    assert Forked(words, tmp_path).finish().code == 0
    assert np.array_equal(maps(LabelStore.open(tmp_path / "s.zarr"))[:, :4], maps(map_store))
