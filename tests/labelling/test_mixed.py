"""Views are mixed with those of other images before a teacher sees them: `fkd label --mixup --cutmix`."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers.copies import files
from helpers.folders import make_image_folder
from helpers.mixed import MIX, label_mixed, mixed_by_hand, mixed_config
from helpers.processes import refused

from fkd import (
    AddTeacherConfig,
    FkdError,
    Scheme,
    TeacherChoice,
    add_teacher,
    label_images,
)
from fkd.config import ViewFormat, ViewPolicy
from fkd.images import decode
from fkd.labelling import WantedViews, estimate_run, teacher_batches
from fkd.sources import list_images
from fkd.store import InspectedStore, StoredMixes
from fkd.views import RenderPool, hash_mixes, render

TEACHER = """
import torch
class Pooled(torch.nn.Module):
    def __init__(self, seed):
        super().__init__()
        weight = torch.randn(3, 3 * 16 * 16, generator=torch.Generator().manual_seed(seed))
        self.weight = torch.nn.Parameter(weight / 8)
    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, x.shape[-1] // 16).flatten(1) @ self.weight.T
def first():
    return Pooled(1)
def second():
    return Pooled(2)
"""
CROPS = 6


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A cheap teacher, and eleven images, of which one cannot be decoded: one is its own partner."""
    root = tmp_path_factory.mktemp("mixed")
    (root / "mixed_teachers.py").write_text(TEACHER)
    make_image_folder(root / "data", train_per_class=4, val_per_class=1)
    (root / "data/train/circle/003.jpg").unlink()
    (root / "data/train/square/002.jpg").write_bytes(b"no image")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        yield root


def settings(**changes):
    teacher = TeacherChoice("mixed_teachers:first", size=32)
    full = {"teacher": teacher, "scheme": Scheme("full"), "block_images": 4, "max_bad": 0.2}
    return full | {"batch_size": 16} | changes


def label(place, out, **changes):
    return label_mixed(place / "data", out, **settings(**changes))


@pytest.fixture(scope="module")
def store(place):
    return label(place, place / "labels.zarr")


def pixels_by_hand(store, folder, size):
    """Render and mix all views of a store anew: uint8 [N, M, 3, size, size]; zeros for no image."""
    images, spec = list_images(folder / "train"), store.spec
    slab = store.read(range(spec.num_images), range(spec.num_crops))
    mixes = StoredMixes.of_store(store).of(np.arange(spec.num_images), np.arange(spec.num_crops))
    decoded = {}
    for row in np.flatnonzero(store.status() == 0).tolist():
        decoded[row] = decode(images.name(row), images.read(row))
    views = np.zeros((spec.num_images, spec.num_crops, 3, size, size), np.uint8)
    out = torch.empty(3, size, size, dtype=torch.uint8)
    for row, column in np.ndindex(views.shape[:2]):
        if row not in decoded:
            continue
        render(decoded[row], slab.box[row, column], slab.flip[row, column], out, "bilinear")
        own, mix = out.numpy().copy()[None], mixes[row, column : column + 1]
        if mix.mixed[0]:
            other = int(mix.image[0])
            assert np.array_equal(mix.box[0], slab.box[other, column])  # its own view of this crop
            render(decoded[other], mix.box[0], mix.flip[0], out, "bilinear")
            own = mixed_by_hand(own, out.numpy()[None], mix)
        views[row, column] = own[0]
    return views, mixes


def test_labels_are_the_teacher_s_of_views_mixed_by_hand(place, store):
    import mixed_teachers

    views, mixes = pixels_by_hand(store, place / "data", 32)
    spec, usable = store.spec, store.status() == 0
    seen = spec.teachers[0].preprocessing
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (seen.mean, seen.std))
    normalised = (torch.from_numpy(views).flatten(0, 1).float() / 255 - mean) / std
    with torch.inference_mode():
        logits = mixed_teachers.first()(normalised)
    wanted = logits.softmax(1).view(*views.shape[:2], -1).numpy()[usable]
    kept = store.read(range(spec.num_images), range(spec.num_crops)).kept
    labels = spec.labels.restore(
        {name: torch.from_numpy(v[usable].reshape(-1, *v.shape[2:])) for name, v in kept.items()}
    )
    assert labels.dense(3).view(wanted.shape).numpy() == pytest.approx(wanted, abs=2e-3)
    bad = np.flatnonzero(~usable)
    assert len(bad) == 1
    assert not np.isin(mixes.image[usable], bad).any()
    assert 0.4 < mixes.mixed[usable].mean() < 0.9  # of a share of 0.8, some have no partner
    assert (mixes.share < 256).any()
    assert (mixes.hole[..., 2] > 0).any()


@pytest.mark.parametrize("render_on", ["cpu", "device"])
def test_teachers_of_several_sizes_see_the_same_mixes(place, store, render_on):
    images = list_images(place / "data" / "train")
    formats, crops = (ViewFormat(32, "bilinear"), ViewFormat(48, "bilinear")), range(CROPS)
    wanted = WantedViews(ViewPolicy(mix=MIX), crops, paired=range(len(images)))
    found = [np.zeros((len(images), CROPS, 3, f.size, f.size), np.uint8) for f in formats]
    with RenderPool(2, torch.device("cpu"), render_on) as pool:
        for batch in teacher_batches(pool, images, range(len(images)), wanted, 7, formats):
            for strip in batch.strips:
                rows = slice(strip.first_row, strip.first_row + strip.count)
                columns = slice(strip.first_crop, strip.first_crop + strip.count)
                for views, seen in zip(found, batch.views, strict=True):
                    views[strip.image_index, columns] = seen[rows].numpy()
    for views, format in zip(found, formats, strict=True):
        by_hand, _ = pixels_by_hand(store, place / "data", format.size)
        assert np.array_equal(views, by_hand)


def blocks(path):
    """Return the content of all files of a store, but for those that say when it was made."""
    return {name: data for name, data in files(path).items() if "zarr.json" not in str(name)}


def test_threads_device_and_batches_make_the_same_store(place, store, tmp_path):
    for name, changes in {
        "device": {"render": "device", "workers": 3},
        "batches": {"batch_size": 5, "workers": 1},
    }.items():
        other = label(place, tmp_path / name, **changes)
        assert np.array_equal(other.status(), store.status())
        if name == "device":
            assert blocks(other.path) == blocks(store.path)
        for number in range(store.num_blocks):
            ours, theirs = (
                s.segments[0].reader.arrays.read("mix_hash", slice(number, number + 1))
                for s in (store, other)
            )
            assert np.array_equal(ours, theirs)
    kept = [s.read(range(11), range(CROPS)).kept for s in (store, other)]
    for name, values in kept[0].items():
        gap = np.abs(values.astype(float) - kept[1][name].astype(float))
        assert gap.max() < 2e-3, name


def test_a_run_that_goes_on_makes_what_one_makes_in_one_go(place, store, tmp_path):
    config = mixed_config(place / "data", tmp_path / "s.zarr", **settings())
    label_images(config)
    InspectedStore.open(config.out, writable=True).unseal([0, 2])
    label_images(config)
    assert blocks(config.out) == blocks(store.path)


def test_crops_and_images_are_added_and_mixed_within_their_own(place, tmp_path):
    folder, out = tmp_path / "data", tmp_path / "s.zarr"
    make_image_folder(folder, train_per_class=2, val_per_class=1)
    whole = label_mixed(folder, tmp_path / "whole.zarr", **settings())
    label_mixed(folder, out, **settings(num_crops=2))
    grown = label_mixed(folder, out, **settings())
    mixes = [StoredMixes.of_store(s).of(np.arange(6), np.arange(CROPS)) for s in (whole, grown)]
    content = whole.content_hashes()
    hashes = [hash_mixes(some, content[some.image], CROPS) for some in mixes]
    assert np.array_equal(*hashes)

    more = make_image_folder(tmp_path / "more", train_per_class=3, val_per_class=1, seed=1)
    for kind in ("circle", "square", "triangle"):
        (more / "train" / kind / "002.jpg").rename(folder / "train" / kind / "new.jpg")
    grown = label_mixed(folder, out, **settings(grow=True))
    rows = np.arange(grown.spec.num_images)
    mixes = StoredMixes.of_store(grown).of(rows, np.arange(CROPS))  # verifies what is sealed
    first = grown.segments[0].images.stop
    assert (mixes.image[:first] < first).all()
    assert (mixes.image[first:] >= first).all()
    assert (mixes.mixed[first:]).any()


def test_an_image_that_is_gone_or_another_now_is_not_mixed_with(place, tmp_path):
    folder, out = tmp_path / "data", tmp_path / "s.zarr"
    make_image_folder(folder, train_per_class=2, val_per_class=1)
    config = mixed_config(folder, out, **settings(block_images=2))
    found = StoredMixes.of_store(label_images(config)).of(np.array([2, 3]), np.arange(CROPS))
    partner = int(found.image[found.mixed & (found.image != 2) & (found.image != 3)][0])
    path = folder / "train" / list_images(folder / "train").paths[partner]
    InspectedStore.open(out, writable=True).unseal([1])
    content = path.read_bytes()
    place_of_tables = content.index(b"\xff\xdb") + 5
    path.write_bytes(content[:place_of_tables] + b"\x01" + content[place_of_tables + 1 :])
    with pytest.raises(FkdError, match="is not the file whose first crops were labelled"):
        label_images(config)
    path.write_bytes(content)
    path.rename(tmp_path / "away.jpg")
    with pytest.raises(FkdError, match=r"missing in .* mixed with others that are to be labelled"):
        label_images(replace(config, grow=True))


def test_what_the_store_does_not_have_is_refused_by_name(place, store):
    for name, change in {
        "mixup": {"mixup": 0.5}, "cutmix": {"cutmix": 0.0},
        "mix-share": {"share": 1.0}, "mix-period": {"period": 8},
    }.items():  # fmt: skip
        with pytest.raises(FkdError, match=f"other settings: --{name} is"):
            label(place, store.path, mix=replace(MIX, **change), scheme=None)


def test_labels_of_mixed_views_keep_more_classes_unless_said(place):
    config = mixed_config(place / "data", place / "none.zarr", scheme=None)
    assert str(config.kept) == "topk10-coarse"
    assert str(replace(config, views=ViewPolicy()).kept) == "topk5-coarse"
    assert str(replace(config, scheme=Scheme("topk", 5)).kept) == "topk5"


def test_one_image_is_not_mixed(place, tmp_path):
    make_image_folder(tmp_path / "data", train_per_class=1)
    for kind in ("circle", "square"):
        (tmp_path / "data/train" / kind / "000.jpg").unlink()
        (tmp_path / "data/train" / kind).rmdir()
    teacher = [
        "--teacher",
        "resnet18",
        "--teacher-weights",
        "none",
        "--size",
        "32",
        "--device",
        "cpu",
    ]
    folder, out = tmp_path / "data", tmp_path / "s.zarr"
    message = refused("label", *teacher, "--cutmix", "1", "--out", out, folder)
    assert "has one image to label, and there is no other one to mix it with" in message


def test_a_dry_run_tries_mixed_views(place):
    config = mixed_config(place / "data", place / "none.zarr", **settings())
    assert estimate_run(config).num_views == 66


def test_a_teacher_that_joins_sees_the_mixed_views(place, store, tmp_path):
    both = label(
        place, tmp_path / "both.zarr",
        teacher=tuple(TeacherChoice(f"mixed_teachers:{name}", size=32) for name in ("first", "second")),
    )  # fmt: skip
    joined = add_teacher(
        AddTeacherConfig(
            store.path,
            TeacherChoice("mixed_teachers:second", size=32),
            tmp_path / "joined.zarr",
            place / "data",
            batch_size=16,
            device="cpu",
        )
    )
    slabs = [s.read(range(11), range(CROPS)) for s in (joined, both)]
    for name, values in slabs[0].kept.items():
        assert np.abs(values.astype(float) - slabs[1].kept[name].astype(float)).max() < 1e-2
    mixes = [StoredMixes.of_store(s).of(np.arange(11), np.arange(CROPS)) for s in (joined, store)]
    assert np.array_equal(mixes[0].share, mixes[1].share)
