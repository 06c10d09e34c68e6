"""One more teacher joins those of a store: the mean of its labels and the stored ones, in a new store."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.folders import label_config, make_image_folder
from helpers.processes import ranks_finish, refused
from helpers.stores import begin_older

from fkd import (
    AddTeacherConfig,
    CheckConfig,
    FkdError,
    LabelStore,
    Scheme,
    StudentLoader,
    TeacherChoice,
    add_teacher,
    check_store,
    label_images,
)
from fkd.format import to_json
from fkd.labels import averaged

TEACHERS = """
import torch
class Linear(torch.nn.Module):
    def __init__(self, seed, outputs=5):
        super().__init__()
        weight = torch.randn(outputs, 3 * 16 * 16, generator=torch.Generator().manual_seed(seed))
        self.weight = torch.nn.Parameter(weight / 8)
    def forward(self, x):
        return torch.nn.functional.avg_pool2d(x, x.shape[-1] // 16).flatten(1) @ self.weight.T
def first():
    return Linear(1)
def second():
    return Linear(2)
def third():
    return Linear(3)
def few():
    return Linear(4, 3)
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Teachers of five classes, of which three are folders, and images, one of them damaged."""
    root = tmp_path_factory.mktemp("joined")
    (root / "three_teachers.py").write_text(TEACHERS)
    (root / "names").write_text("triangle\nfish\ncircle\nsquare\nbird\n")
    make_image_folder(root / "data", train_per_class=4, val_per_class=1)
    (root / "data/train/square/002.jpg").write_bytes(b"no image")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(root))
        yield root


def teacher(place, name, **more):
    settings = {"classes_file": place / "names", "size": 32, **more}
    return TeacherChoice(f"three_teachers:{name}", **settings)


def labelled(place, out, *names, **more):
    settings = {"num_crops": 5, "block_images": 4, "max_bad": 0.2, "scheme": "full", **more}
    teachers = tuple(teacher(place, name, size=48 if name == "second" else 32) for name in names)
    return label_images(label_config(place / "data", out, teacher=teachers, **settings))


def joining(place, store, out, *names, **more):
    teachers = tuple(teacher(place, name, size=48 if name == "second" else 32) for name in names)
    settings = {"block_images": 5, "device": "cpu", "batch_size": 32, "images": place / "data"}
    return add_teacher(AddTeacherConfig(store.path, teachers, out, **(settings | more)))


def dense(store):
    """Return all labels f32 [N, M, C] that a store keeps, and which images have any."""
    slab = store.read_crops(range(store.spec.num_crops))
    kept = {name: torch.from_numpy(v.reshape(-1, v.shape[2])) for name, v in slab.kept.items()}
    shape = (*slab.flip.shape, store.spec.num_classes)
    return store.spec.labels.restore(kept).dense().reshape(shape)[store.labelled_images()]


@pytest.fixture(scope="module")
def full(place):
    return labelled(place, place / "full.zarr", "first")


def test_it_is_what_both_teachers_at_once_would_have_said(place, full, tmp_path):
    before = {f: f.read_bytes() for f in full.path.rglob("*") if f.is_file()}
    joined = joining(place, full, tmp_path / "joined.zarr", "second")
    both = labelled(place, tmp_path / "both.zarr", "first", "second")
    gap = (dense(joined) - dense(both)).abs().max()
    assert gap < 2e-3  # of float16, in logarithms, twice
    assert (dense(joined) - dense(full)).abs().max() > 0.05
    one, other = (store.read_crops(range(5)) for store in (joined, both))
    for name in ("box", "flip", "size", "target"):
        assert np.array_equal(getattr(one, name), getattr(other, name)), name
    assert np.array_equal(joined.content_hashes(), both.content_hashes())
    assert joined.status().tolist() == both.status().tolist()
    assert joined.num_bad() == 1
    spec = joined.spec
    assert (spec.teachers, spec.size) == (both.spec.teachers, 32)
    assert (spec.made_by, spec.weights, spec.scheme) == ("average", (), Scheme("full"))
    assert joined.fidelity().kl == pytest.approx(both.fidelity().kl, abs=1e-5)
    assert before == {f: f.read_bytes() for f in full.path.rglob("*") if f.is_file()}
    report = check_store(
        CheckConfig(
            joined.path, place / "data", deep=True, device="cpu",
            teacher=tuple(teacher(place, name) for name in ("first", "second")),
        )
    )  # fmt: skip
    assert report.ok, report.verdicts


def test_top_k_labels_are_as_near_as_the_stored_ones(place, full, tmp_path):
    """They are off by half of what the old labels are, and by what it costs to keep them anew."""
    old = labelled(place, tmp_path / "old.zarr", "first", scheme="topk2", temperature=3.0)
    exact = labelled(place, tmp_path / "first.zarr", "first", temperature=3.0)
    both = labelled(place, tmp_path / "both.zarr", "first", "second", temperature=3.0)
    joined = joining(place, old, tmp_path / "joined.zarr", "second")
    assert str(joined.spec.scheme) == "topk2"
    assert joined.spec.temperature == 3.0
    assert joined.fidelity() is None
    off, now = (dense(a) - dense(b) for a, b in ((old, exact), (joined, both)))
    kept = dense(both).sort(dim=2, descending=True).values
    tail = (kept[..., 2:] - kept[..., 2:].mean(2, keepdim=True)).abs().sum(2) / 2
    rounding = 0.07  # of a code: an eighth of a nat, rounded
    most = off.abs().sum(2) / 4 + tail + rounding
    assert (now.abs().sum(2) / 2 <= most).all()
    second = labelled(place, tmp_path / "second.zarr", "second", temperature=3.0)
    kept = [store.read_crops(range(5)).kept for store in (old, second, joined)]
    rows = joined.labelled_images()
    schemes = old.spec.scheme, second.spec.scheme
    mean = averaged(kept[:2], schemes, [0.5, 0.5], Scheme("topk", 2), 3)  # as `fkd average` has it
    assert (mean["index"][rows] == kept[2]["index"][rows]).mean() > 0.98
    gap = mean["code"][rows].astype(int) - kept[2]["code"][rows]
    assert np.median(np.abs(gap)) == 0


def test_a_full_store_is_kept_as_asked(place, full, tmp_path):
    joined = joining(place, full, tmp_path / "joined.zarr", "second", scheme="topk2-coarse")
    both = labelled(place, tmp_path / "both.zarr", "first", "second", scheme="topk2-coarse")
    one, other = (store.read_crops(range(5)).kept for store in (joined, both))
    same = (one["index"] == other["index"]).mean(), (one["code"] == other["code"]).mean()
    assert min(same) > 0.97
    assert joined.fidelity().kl == pytest.approx(both.fidelity().kl, abs=2e-3)


def test_each_teacher_counts_alike_or_as_is_said(place, full, tmp_path, capsys):
    two = joining(place, full, tmp_path / "two.zarr", "second")
    three = joining(place, two, tmp_path / "three.zarr", "third")
    both = joining(place, full, tmp_path / "both.zarr", "second", "third")
    assert three.spec.weights == both.spec.weights == ()
    assert (dense(three) - dense(both)).abs().max() < 3e-3
    assert [t.name[15:] for t in three.spec.teachers] == ["first", "second", "third"]
    capsys.readouterr()
    heavy = joining(place, two, tmp_path / "heavy.zarr", "third", weight=0.8)
    assert heavy.spec.weights == pytest.approx((0.1, 0.1, 0.8))
    assert (
        "shares: three_teachers:first 0.1, three_teachers:second 0.1, " in capsys.readouterr().err
    )
    single = [dense(labelled(place, tmp_path / f"{n}.zarr", n)) for n in ("second", "third")]
    mean = 0.1 * dense(full) + 0.1 * single[0] + 0.8 * single[1]
    assert (dense(heavy) - mean).abs().max() < 3e-3
    again = joining(place, heavy, tmp_path / "again.zarr", "first", weight=0.5)
    assert again.spec.weights == pytest.approx((0.05, 0.05, 0.4, 0.5))
    teachers = tuple(teacher(place, name) for name in ("first", "second", "third"))
    asked = CheckConfig(heavy.path, place / "data", device="cpu", teacher=teachers)
    assert check_store(asked).ok


def grown(store, path):
    """Copy a store, and give it the next crops as a segment of their own, labelled by itself."""
    shutil.copytree(store.path, path)
    LabelStore.open(path, writable=True).add_crops(7)
    return path


def test_all_segments_of_a_store_are_joined(place, full, tmp_path):
    longer = labelled(place, tmp_path / "longer.zarr", "first", num_crops=7)
    path = grown(full, tmp_path / "grown.zarr")
    store = LabelStore.open(path, writable=True)
    for number in store.pending_blocks():
        where, block = store.block(number), store.empty_block(number)
        slab = longer.read(where.images, where.crops)
        block.box[:], block.flip[:] = slab.box, slab.flip
        block.size[:] = slab.size
        for name, values in slab.kept.items():
            block.kept[name][:] = values
        store.commit_block(number, block)
    store = LabelStore.open(path)
    assert len(store.segments) == 2
    one = joining(place, store, tmp_path / "one.zarr", "second")
    other = joining(place, longer, tmp_path / "other.zarr", "second")
    assert one.spec.num_crops == 7
    assert torch.equal(dense(one), dense(other))


@pytest.mark.parametrize("version", [1, 2])
def test_stored_boxes_are_taken_as_they_are(place, full, tmp_path, version):
    """Older stores hold boxes that another rule drew, and those of version 1 hold no hashes."""
    began = begin_older(full, tmp_path / "old.zarr", version)
    spec = replace(began.spec, block_images=4)
    settings = {"num_crops": 5, "block_images": 4, "max_bad": 0.2, "scheme": "full"}
    label_images(
        label_config(place / "data", began.path, teacher=teacher(place, "first"), **settings)
    )
    old = LabelStore.open(began.path)
    assert spec.stores_views
    joined = joining(place, old, tmp_path / "joined.zarr", "second")
    assert joined.spec.format_version == 3
    assert joined.content_hashes() is not None
    one, other = (store.read_crops(range(5)) for store in (joined, old))
    assert np.array_equal(one.box, other.box)
    assert not np.array_equal(one.box, full.read_crops(range(5)).box)
    batch = next(
        StudentLoader(
            joined.path, images=place / "data", scheme="full", batch_size=4, crops_per_image=2,
            device="cpu", epochs=2,
        ).batches()
    )  # fmt: skip
    assert len(batch) == 4


def test_a_numbered_store_keeps_the_numbers_of_its_images(place, full, tmp_path):
    """A copy of some images draws their views by the numbers that they had."""
    keys, rows = full.image_paths(), np.array([1, 3, 8, 11])
    images = replace(
        find(place, full), paths=keys.take(rows), num_bytes=full.num_bytes()[rows],
        targets=full.targets()[rows],
    )  # fmt: skip
    spec = replace(full.spec, num_images=4, block_images=4, numbered=True, part=True)
    some = LabelStore.create(
        tmp_path / "some.zarr", spec, images, images.targets, full.class_names()
    )
    block, slab = some.empty_block(0), full.read_crops(range(5)).take(rows, np.arange(5))
    block.box[:], block.flip[:], block.size[:] = slab.box, slab.flip, slab.size
    block.content_hash[:] = full.content_hashes()[rows]
    block.image_number = rows.astype(np.uint64)
    block.kept["log_prob"][:] = slab.kept["log_prob"]
    some.commit_block(0, block)
    joined = joining(place, LabelStore.open(some.path), tmp_path / "joined.zarr", "second")
    whole = joining(place, full, tmp_path / "whole.zarr", "second")
    assert joined.image_numbers().tolist() == rows.tolist()
    one = joined.read_crops(range(5))
    other = whole.read_crops(range(5)).take(rows, np.arange(5))
    assert np.array_equal(one.box, other.box)
    assert np.array_equal(one.kept["log_prob"], other.kept["log_prob"])


def find(place, store):
    from fkd.originals import find_images

    return find_images(store, place / "data")


@pytest.mark.parametrize(
    ("scheme", "wanted", "words"),
    [
        ("hard", None, "holds hard, a class of each label and no probabilities"),
        ("samples4", None, "holds samples4, draws from each label and no probabilities"),
        ("topk2", "topk3", "asks for more than .* keeps: it holds topk2"),
        (
            "topk2-std",
            "topk2-std",
            "holds topk2-std, and the deviation of a mean follows from labels",
        ),
        ("full", "samples2", "what is drawn comes from a teacher's own label"),
    ],
)
def test_what_has_no_mean_is_refused(place, tmp_path, scheme, wanted, words):
    old = labelled(place, tmp_path / "old.zarr", "first", scheme=scheme, num_crops=1)
    with pytest.raises(FkdError, match=words):
        joining(place, old, tmp_path / "out.zarr", "second", scheme=wanted)
    assert not (tmp_path / "out.zarr").exists()


def test_images_that_changed_are_refused(place, full, tmp_path):
    shutil.copytree(place / "data", tmp_path / "data")
    victim = tmp_path / "data/train/circle/001.jpg"
    content = bytearray(victim.read_bytes())
    content[-9] ^= 1
    victim.write_bytes(content)
    with pytest.raises(
        FkdError, match=r"001\.jpg is not the file that was labelled in .*full\.zarr"
    ):
        joining(place, full, tmp_path / "out.zarr", "second", images=tmp_path / "data")
    victim.unlink()
    with pytest.raises(FkdError, match=r"circle/001\.jpg is missing"):
        joining(place, full, tmp_path / "out.zarr", "second", images=tmp_path / "data")


def test_what_does_not_fit_is_refused(place, full, tmp_path):
    out = tmp_path / "out.zarr"
    with pytest.raises(FkdError, match="is not apart from the store that --to names"):
        joining(place, full, full.path / "inside.zarr", "second")
    with pytest.raises(FkdError, match="is not apart from the store that --to names"):
        joining(place, full, full.path, "second", overwrite=True)
    with pytest.raises(FkdError, match=r"--amp bf16 is not that of .*full\.zarr"):
        joining(place, full, out, "second", amp="bf16")
    with pytest.raises(FkdError, match=r"--weight is 1; it must lie between 0\.001 and 0\.999"):
        joining(place, full, out, "second", weight=1)
    unfinished = shutil.copytree(full.path, tmp_path / "unfinished.zarr")
    (unfinished / "done/c/1/0").unlink()
    with pytest.raises(FkdError, match=r"unfinished\.zarr is unfinished: 1 of 3 blocks"):
        joining(place, LabelStore.open(unfinished), out, "second")
    assert not out.exists()


def test_a_run_that_was_cut_goes_on_and_another_is_refused(place, full, tmp_path, capsys):
    whole = joining(place, full, tmp_path / "whole.zarr", "second")
    cut = Path(shutil.copytree(whole.path, tmp_path / "cut.zarr"))
    (cut / "done/c/1/0").unlink()
    kept = (cut / "done/c/0/0").stat().st_mtime_ns
    for store, names, more, words in (
        (
            full,
            ["third"],
            {},
            "--teacher is three_teachers:first, three_teachers:third, the store has",
        ),
        (full, ["second"], {"weight": 0.3}, "--weight gives the teachers other shares"),
        (full, ["second"], {"scheme": "topk2"}, "--compress is topk2, the store has full"),
        (labelled(place, tmp_path / "b.zarr", "second"), ["second"], {}, "--teacher is"),
    ):
        with pytest.raises(FkdError, match=words):
            joining(place, store, cut, *names, **more)
    other = Path(shutil.copytree(full.path, tmp_path / "twin.zarr"))
    change_created(other)
    with pytest.raises(FkdError, match="it was made of another store"):
        joining(place, LabelStore.open(other), cut, "second")
    capsys.readouterr()
    again = joining(place, full, cut, "second")
    assert "goes on: 2 of 3 blocks are labelled" in capsys.readouterr().err
    assert (cut / "done/c/0/0").stat().st_mtime_ns == kept
    assert torch.equal(dense(again), dense(whole))
    joining(place, full, cut, "second")
    assert "is complete: there is nothing to do" in capsys.readouterr().err
    anew = joining(place, full, cut, "third", overwrite=True)
    assert anew.spec.teachers[1].name == "three_teachers:third"


def change_created(path):
    file = path / "zarr.json"
    from fkd.format.attributes import digest

    content = json.loads(file.read_text())
    content["attributes"]["fkd"]["created"] = "2020-01-01T00:00:00+00:00"
    content["attributes"]["sha256"] = digest(content["attributes"]["fkd"])
    file.write_text(json.dumps(content))


WORDS = "label --add-teacher three_teachers:second --teacher-classes names --size 48 --workers 1"
WORDS += " --device cpu --batch-size 8 --block 3 --to full.zarr --out s.zarr data"


def test_a_killed_command_goes_on(place, full, tmp_path, start_fkd):
    for name in ("three_teachers.py", "names"):
        shutil.copy(place / name, tmp_path)
    shutil.copytree(full.path, tmp_path / "full.zarr")
    shutil.copytree(place / "data", tmp_path / "data")
    before = {f: f.read_bytes() for f in (tmp_path / "full.zarr").rglob("*") if f.is_file()}
    seals = tmp_path / "s.zarr/done/c"
    env = {"PYTHONPATH": str(tmp_path)}
    with start_fkd(*WORDS.split(), env=env, cwd=tmp_path) as killed:
        killed.wait_for(lambda: any(seals.glob("*/0")))
        killed.kill()
    with start_fkd(*WORDS.split(), env=env, cwd=tmp_path) as process:
        done = process.finish()
    assert done.code == 0, done.err
    assert done.out.startswith("s.zarr: 12 images × 5 crops, full, ")
    assert "no labels for square/002.jpg: damaged" in done.err
    expected = joining(place, full, tmp_path / "expected.zarr", "second", block_images=3)
    assert (dense(LabelStore.open(tmp_path / "s.zarr")) - dense(expected)).abs().max() < 1e-3
    assert before == {f: f.read_bytes() for f in (tmp_path / "full.zarr").rglob("*") if f.is_file()}


def test_ranks_share_the_blocks_out(place, full, tmp_path):
    for name in ("three_teachers.py", "names"):
        shutil.copy(place / name, tmp_path)
    shutil.copytree(full.path, tmp_path / "full.zarr")
    shutil.copytree(place / "data", tmp_path / "data")
    done = ranks_finish(WORDS.split(), tmp_path, 2)
    assert [one.code for one in done] == [0, 0], done
    expected = joining(place, full, tmp_path / "expected.zarr", "second", block_images=3)
    assert (dense(LabelStore.open(tmp_path / "s.zarr")) - dense(expected)).abs().max() < 1e-3


def test_options_of_a_store_do_not_go_with_it(shared_store, monkeypatch):
    command = ["label", "data", "--add-teacher", "resnet18"]
    assert "--add-teacher needs --to STORE" in refused(*command)
    command += ["--to", shared_store.path]
    for words in (
        "--crops 9",
        "--teacher x",
        "--seed 1",
        "--dry-run",
        "--no-split",
        "--all-classes",
    ):
        said = refused(*command, *words.split())
        assert "does not go with --add-teacher, which takes the store's; leave it out" in said
    assert "--to goes with --add-teacher alone" in refused(
        "label", "data", "--teacher", "x", "--to", "y"
    )
    assert "Missing option '--teacher'" in refused("label", "data")


def test_the_attributes_say_how_it_was_made(place, full, tmp_path):
    joined = joining(place, full, tmp_path / "joined.zarr", "second", weight=0.25)
    said = to_json(joined.spec)
    assert said["made_by"] == "average"
    assert list(said["weights"]) == [0.75, 0.25]
    assert said["created"] == full.spec.created
    assert [record["name"] for record in said["teachers"]] == [
        "three_teachers:first",
        "three_teachers:second",
    ]
