"""A copy of some images, crops and classes' values says of them what the store said."""

import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.copies import KEYS, assert_part, everything, files, labelled, teacher_probs
from helpers.processes import refused
from helpers.stores import make_store

from fkd import CopyConfig, FkdError, LabelStore, Part, check_store, copy_store
from fkd.cli import main
from fkd.images import ImageList, fingerprint
from fkd.orders import CheckConfig

GOLDEN = Path(__file__).parent.parent / "golden"


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """15 images in blocks of 4, 6 crops, top-10; one image has no labels."""
    return labelled(tmp_path_factory.mktemp("source") / "a.zarr", "topk10", bad=(6,))


def lines(path, *words):
    path.write_text("\n".join(words))
    return path


def copied(store, out, **choice):
    return copy_store(CopyConfig(store.path, out, **choice))


def test_some_images_keep_labels_views_and_numbers(store, tmp_path):
    chosen = [1, 3, 4, 6, 9, 14]
    listed = lines(tmp_path / "list.txt", *(KEYS[row] for row in reversed(chosen)))
    before = files(store.path)
    part = copied(store, tmp_path / "b.zarr", part=Part(str(listed)))
    assert_part(part, store, chosen)
    assert part.spec.numbered
    assert part.spec.part
    assert list(part.labelled_images()) == [0, 1, 2, 4, 5]
    assert files(store.path) == before
    again = copied(part, tmp_path / "c.zarr", part=Part(str(lines(tmp_path / "one", KEYS[9]))))
    assert_part(again, store, [9])


def test_some_classes(store, tmp_path):
    part = Part(classes=lines(tmp_path / "bees.txt", "bee"))
    assert_part(copied(store, tmp_path / "b.zarr", part=part), store, range(5, 10))


def test_some_crops_are_the_first_ones(store, tmp_path):
    part = copied(store, tmp_path / "b.zarr", num_crops=4)
    assert_part(part, store, range(15), num_crops=4)
    assert not part.spec.numbered
    assert not part.spec.part
    fresh = labelled(tmp_path / "fresh.zarr", "topk10", teacher_probs()[:, :4], bad=(6,))
    same = files(fresh.path)
    del same["zarr.json"]  # with the time of either
    changed = {name for name, content in same.items() if files(part.path)[name] != content}
    # What two of six crops gave up is known on average over all, so the mean is another.
    assert {name.split("/")[0] for name in changed} == {"fidelity", "done"}
    assert part.fidelity().kl == pytest.approx(fresh.fidelity().kl, rel=0.1)


@pytest.mark.parametrize("scheme", ["topk10", "full", "samples3"])
def test_what_is_not_changed_is_the_same_to_the_byte(tmp_path, scheme):
    if scheme == "samples3":
        source = LabelStore.open(GOLDEN / "samples2-v3.zarr")
    else:
        source = labelled(tmp_path / "a.zarr", scheme, bad=(2,))
    copy = copied(source, tmp_path / "b.zarr", num_crops=source.spec.num_crops)
    assert files(copy.path) == files(source.path)


@pytest.mark.parametrize("wanted", ["topk3", "topk3-coarse", "hard", "smooth"])
def test_a_narrower_scheme_is_what_a_teacher_would_have_left(store, tmp_path, wanted):
    part = copied(store, tmp_path / "b.zarr", scheme=wanted)
    fresh = labelled(tmp_path / "fresh.zarr", wanted, bad=(6,))
    found, true = everything(part), everything(fresh)
    for name, values in true.items():
        if name == "code":
            gap = np.abs(found[name].astype(int) - values)
            assert gap.max() <= 1
            assert (gap == 0).mean() > 0.7
        elif name == "index":  # classes of equal coarse codes stand in no order
            assert np.array_equal(np.sort(found[name]), np.sort(values))
            assert np.array_equal(found[name][..., 0], values[..., 0])
        else:
            assert np.array_equal(found[name], values), name
    mine, theirs = part.fidelity(), fresh.fidelity()
    assert (mine.kl is None) == (wanted == "hard")
    if wanted != "hard":
        assert mine.kl == pytest.approx(theirs.kl, abs=0.005)
    assert mine.kept_shares == pytest.approx(theirs.kept_shares, abs=0.01)


def test_dense_labels_are_quantized_a_few_at_a_time(tmp_path):
    source = labelled(tmp_path / "a.zarr", "full", bad=(6,))
    part = copied(source, tmp_path / "b.zarr", scheme="topk5", num_crops=3)
    fresh = labelled(tmp_path / "fresh.zarr", "topk5", teacher_probs()[:, :3], bad=(6,))
    assert (everything(part)["index"] == everything(fresh)["index"]).mean() > 0.98
    assert part.fidelity().kl == pytest.approx(fresh.fidelity().kl, abs=1e-3)


def test_a_deviation_is_carried_made_of_full_labels_and_dropped(tmp_path):
    fresh = labelled(tmp_path / "std.zarr", "topk5-std", bad=(6,))
    full = labelled(tmp_path / "full.zarr", "full", bad=(6,))
    narrow = copied(fresh, tmp_path / "a.zarr", scheme="topk2-coarse-std")
    true = everything(fresh)["deviation"]
    assert len(np.unique(true)) > 10
    assert np.array_equal(everything(narrow)["deviation"], true)
    made = everything(copied(full, tmp_path / "b.zarr", scheme="topk5-std"))["deviation"]
    assert np.abs(made.astype(int) - true).max() <= 1
    plain = labelled(tmp_path / "plain.zarr", "topk5", bad=(6,))
    without = copied(fresh, tmp_path / "c.zarr", scheme="topk5")
    assert {n: v.tobytes() for n, v in everything(without).items()} == {
        n: v.tobytes() for n, v in everything(plain).items()
    }
    assert without.fidelity() == fresh.fidelity() == plain.fidelity()
    archive = copied(fresh, tmp_path / "d.zip")
    assert np.array_equal(everything(archive)["deviation"], true)
    with pytest.raises(
        FkdError, match=r"a\.zarr keeps: it holds topk2-coarse-std, .* also with -std"
    ):
        copied(narrow, tmp_path / "e.zarr", scheme="topk3-std")
    with pytest.raises(FkdError, match="holds topk5, which does not tell the deviation"):
        copied(plain, tmp_path / "e.zarr", scheme="topk5-std")
    assert not (tmp_path / "e.zarr").exists()


def test_the_segments_of_a_store_that_grew_become_one(tmp_path):
    probs = teacher_probs()
    store = labelled(tmp_path / "a.zarr", "topk10", probs[:10, :3], keys=KEYS[:10])
    more = np.arange(10, 15) + 9
    images = ImageList(Path("/images"), KEYS[10:], np.full(5, 2), more, ("ant", "bee", "cow"))
    store.add_images(images, np.full(5, 2), fingerprint(KEYS[10:], more))
    store = LabelStore.open(store.path, writable=True)
    store.add_crops(5)
    store = LabelStore.open(store.path, writable=True)
    assert len(store.segments) > 2
    whole = labelled(tmp_path / "whole.zarr", "topk10", probs[:, :5])
    slab = whole.read(range(15), range(5))
    for number in store.pending_blocks():
        place = store.block(number)
        rows = slice(place.images.start, place.images.stop)
        crops = slice(place.crops.start, place.crops.stop)
        block = store.empty_block(number)
        block.box[:], block.flip[:] = slab.box[rows, crops], slab.flip[rows, crops]
        block.size[:], block.content_hash[:] = slab.size[rows], whole.content_hashes()[rows]
        for name, values in slab.kept.items():
            block.kept[name][:] = values[rows, crops]
        store.commit_block(number, block)
    store = LabelStore.open(store.path)
    copy = copied(store, tmp_path / "b.zarr", num_crops=5)
    assert len(copy.segments) == 1
    assert_part(copy, whole, range(15), num_crops=5)
    fewer = copied(store, tmp_path / "c.zarr", num_crops=2)
    assert_part(fewer, whole, range(15), num_crops=2)


@pytest.mark.parametrize("name", ["topk3-v1", "topk3-v2", "full-v1", "topk3-coarse-v3"])
def test_older_stores_are_copied_in_part(tmp_path, name):
    source = LabelStore.open(GOLDEN / f"{name}.zarr")
    part = copied(source, tmp_path / "b.zarr", num_crops=2)
    slab = source.read(range(source.spec.num_images), range(2))
    found = part.read(range(source.spec.num_images), range(2))
    assert np.array_equal(found.box, slab.box)
    for name, values in slab.kept.items():  # classes of equal coarse codes stand in no order
        assert np.array_equal(np.sort(found.kept[name]), np.sort(values))
    assert (part.content_hashes() is None) == (source.content_hashes() is None)
    if name == "topk3-v1":
        with pytest.raises(FkdError, match="format version 1, which has no coarse labels"):
            copied(source, tmp_path / "c.zarr", scheme="topk2-coarse")


def test_a_copy_of_real_images_passes_its_check(shared_store, shared_folder, tmp_path):
    """Views are drawn anew by their numbers, and images found by their keys."""
    keys = [shared_store.image_paths()[row] for row in (2, 7, 16)]
    part = Part(str(lines(tmp_path / "list", *keys)))
    copy = copied(shared_store, tmp_path / "b.zarr", part=part, num_crops=4)
    report = check_store(CheckConfig(copy.path, images=shared_folder, deep=True, device="cpu"))
    assert report.ok, report.verdicts


def test_what_is_done_stays_done_and_another_store_is_refused(store, tmp_path):
    out = tmp_path / "b.zarr"
    copied(store, out, num_crops=4)
    seals = {f: f.stat().st_mtime_ns for f in (out / "done").rglob("0") if f.is_file()}
    (out / "done/c/2/0").unlink()
    copy = copied(store, out, num_crops=4)
    assert_part(copy, store, range(15), num_crops=4)
    again = {f: f.stat().st_mtime_ns for f in (out / "done").rglob("0") if f.is_file()}
    assert {f.parent.name for f in seals if again[f] != seals[f]} == {"2"}
    for choice, words in (
        ({"num_crops": 3}, "--crops is 3, the store has 4"),
        ({"num_crops": 4, "scheme": "hard"}, "--compress is hard, the store has topk10"),
        ({"num_crops": 4, "part": Part("0.5")}, "its images are others"),
    ):
        with pytest.raises(FkdError, match=words):
            copied(store, out, **choice)
    assert_part(LabelStore.open(out), store, range(15), num_crops=4)
    assert_part(copied(store, out, num_crops=3, overwrite=True), store, range(15), num_crops=3)


def test_what_cannot_be_copied_is_refused_in_one_line(store, tmp_path):
    unfinished = labelled(tmp_path / "half.zarr", "topk10", skip=(1,))
    out, there = tmp_path / "out.zarr", tmp_path / "there"
    there.mkdir()
    nobody = lines(tmp_path / "nobody", "dog/1.jpg")
    for args, words in (
        ([store.path, out, "--crops", 7], "a.zarr has 6 crops an image; give fewer, or label more"),
        ([store.path, out, "--crops", 0], "--crops is 0"),
        ([store.path, out, "--compress", "full"], "asks for more than"),
        ([store.path, out, "--compress", "topk3-smooth"], "store topk3 and choose -smooth"),
        ([store.path, out, "--images", nobody], "dog/1.jpg is no image of"),
        ([store.path, out, "--classes", nobody], "dog/1.jpg is no class of"),
        ([store.path, store.path / "x", "--crops", 2], "x lies in the store"),
        ([store.path, store.path, "--crops", 2, "--overwrite"], "a.zarr is the store"),
        ([store.path, store.path.parent, "--crops", 2], "holds the store"),
        ([unfinished.path, out, "--crops", 2], "is unfinished: 1 of 4 blocks"),
        ([tmp_path / "no.zarr", out, "--crops", 2], "no.zarr does not exist"),
        ([store.path, there, "--crops", 2], "there is not a label store"),
        ([store.path, there, "--crops", 2, "--overwrite"], "left alone"),
    ):
        assert words in refused("copy", *args, alone=False)
    assert not out.exists()


def test_a_damaged_source_makes_no_copy_of_it(store, tmp_path):
    torn = tmp_path / "torn.zarr"
    shutil.copytree(store.path, torn)
    file = torn / "slot/c/2/0/0"
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    with pytest.raises(FkdError, match=r"torn\.zarr: block 2"):
        copied(LabelStore.open(torn), tmp_path / "b.zarr", num_crops=4)
    assert 2 in LabelStore.open(tmp_path / "b.zarr").pending_blocks()


def test_stored_boxes_are_copied(tmp_path):
    source, _ = make_store(tmp_path / "a.zarr")
    some = lines(tmp_path / "some", *(source.image_paths()[row] for row in (1, 6, 10)))
    part = copied(source, tmp_path / "b.zarr", num_crops=5, part=Part(str(some)))
    assert_part(part, source, [1, 6, 10], num_crops=5)


def test_all_of_a_store_is_carried_and_what_is_chosen_goes_into_one_file(store, tmp_path):
    whole, part = tmp_path / "whole.zarr.zip", tmp_path / "part.zarr.zip"
    done = CliRunner().invoke(main, ["copy", str(store.path), str(whole)])
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith(f"{whole}: 15 images × 6 crops, topk10, ")
    assert files(copied(LabelStore.open(whole), tmp_path / "back.zarr").path) == files(store.path)
    assert_part(copied(LabelStore.open(whole), part, num_crops=4), store, range(15), num_crops=4)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["back.zarr", part.name, whole.name]
    assert "is there already" in refused("copy", store.path, part, "--crops", 3)
    shorter = copied(store, part, num_crops=3, overwrite=True)
    assert_part(shorter, store, range(15), num_crops=3)


def test_overwrite_replaces_no_zip_of_something_else_and_what_was_left_half_made(store, tmp_path):
    photos = tmp_path / "photos.zip"
    with zipfile.ZipFile(photos, "w") as archive:
        archive.writestr("me.jpg", b"jpeg")
    before = photos.read_bytes()
    for more in ([], ["--crops", 3]):
        message = refused("copy", store.path, photos, "--overwrite", *more)
        assert "photos.zip is not a label store, so it is left alone" in message
    assert photos.read_bytes() == before
    copied(store, tmp_path / ".part.zip.made", num_crops=2)  # of a run that was killed
    with pytest.raises(FkdError, match="--crops is 3, the store has 2"):
        copied(store, tmp_path / "part.zip", num_crops=3)
    part = copied(store, tmp_path / "part.zip", num_crops=3, overwrite=True)
    assert_part(part, store, range(15), num_crops=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["part.zip", "photos.zip"]
