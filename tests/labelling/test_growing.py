"""A store grows: more crops of its images, more images. What is finished is never written again."""

import os
import signal
import threading
from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from helpers.folders import draw_image, make_image_folder
from helpers.folders import tiny_label_config as label_config
from helpers.networks import TEACHER, TEACHER_CHOICE
from helpers.processes import ranks_finish
from helpers.stores import begin_older

from fkd import (
    CheckConfig,
    FkdError,
    LabelStore,
    Scheme,
    check_store,
    label_images,
)
from fkd.config import Part
from fkd.labelling import estimate_run
from fkd.sources import list_images
from fkd.store import InspectedStore

WORDS = f"label --teacher {TEACHER} --size 32 --block 5 --compress topk3"
WORDS += " --workers 1 --device cpu --batch-size 16 --out s.zarr"


def files_of(path):
    """Return the content and time of every file of a store."""
    files = [file for file in path.rglob("*") if file.is_file()]
    return {file: (file.read_bytes(), file.stat().st_mtime_ns) for file in files}


def untouched(before):
    return all(
        file.exists() and (file.read_bytes(), file.stat().st_mtime_ns) == what
        for file, what in before.items()
    )


def same_crops(one, other, rows=None):
    """Compare all that two stores say of the images, label by label; `rows` are those of `other`."""
    num_images = one.spec.num_images
    rows = np.arange(num_images) if rows is None else rows
    slabs = [s.read(range(num_images), range(s.spec.num_crops)) for s in (one, other)]
    for name in ("box", "flip", "size", "target"):
        assert np.array_equal(getattr(slabs[0], name), getattr(slabs[1], name)[rows]), name
    for name, values in slabs[0].kept.items():
        if one.spec.scheme.kind == "samples":  # they have no order
            values, slabs[1].kept[name][:] = np.sort(values), np.sort(slabs[1].kept[name])
        gap = np.abs(values.astype(float) - slabs[1].kept[name][rows].astype(float))
        # A batch of another size may round otherwise.
        assert gap.max() <= (0 if name == "index" else 2e-3 if name == "log_prob" else 1), name
    assert np.array_equal(one.status(), other.status()[rows])
    if one.content_hashes() is not None:
        assert np.array_equal(one.content_hashes(), other.content_hashes()[rows])


@pytest.mark.parametrize("scheme", ["topk3", "topk2-coarse-std", "full", "samples2"])
def test_crops_are_added_as_if_labelled_at_once(shared_folder, tmp_path, scheme):
    settings = {"block_images": 5, "scheme": Scheme.parse(scheme)}
    whole = label_images(label_config(shared_folder, tmp_path / "whole.zarr", **settings))
    out = tmp_path / "s.zarr"
    label_images(label_config(shared_folder, out, num_crops=2, **settings))
    before = files_of(out)
    for num_crops in (3, 6):
        grown = label_images(label_config(shared_folder, out, num_crops=num_crops, **settings))
        assert (grown.spec.num_crops, grown.pending_blocks()) == (num_crops, [])
    assert untouched(before)
    assert len(grown.segments) == 3
    same_crops(grown, whole)
    first, second = grown.fidelity(), whole.fidelity()
    if second is not None:  # of samples it is not known
        assert first.kept_shares == pytest.approx(second.kept_shares, rel=1e-3)
    teacher = (TEACHER_CHOICE,)
    report = check_store(CheckConfig(out, shared_folder, teacher=teacher, device="cpu", deep=True))
    assert report.ok, report


@pytest.mark.parametrize("version", [1, 2])
def test_an_older_store_goes_on_in_its_own_version(shared_folder, tmp_path, version):
    settings = {"block_images": 5, "scheme": Scheme("topk", 3)}
    stores = []
    for name, crops in (("whole.zarr", 6), ("s.zarr", 2)):
        new = label_images(
            label_config(shared_folder, tmp_path / f"new-{name}", num_crops=crops, **settings)
        )
        begin_older(new, tmp_path / name, version)
        stores.append(
            label_images(label_config(shared_folder, tmp_path / name, num_crops=crops, **settings))
        )
    grown = label_images(label_config(shared_folder, tmp_path / "s.zarr", **settings))
    assert {segment.spec.format_version for segment in grown.segments} == {version}
    assert len(grown.segments) == 2
    same_crops(grown, stores[0])


def test_an_unfinished_store_is_finished_first(shared_folder, tmp_path):
    config = label_config(shared_folder, tmp_path / "s.zarr", num_crops=2, block_images=5)
    label_images(config)
    InspectedStore.open(config.out, writable=True).unseal([1, 3])
    grown = label_images(label_config(shared_folder, config.out, block_images=5))
    same_crops(grown, label_images(label_config(shared_folder, tmp_path / "whole.zarr")))


def test_without_crops_a_store_keeps_its_own(shared_folder, tmp_path):
    out = tmp_path / "s.zarr"
    label_images(label_config(shared_folder, out, num_crops=2))
    again = label_images(label_config(shared_folder, out, num_crops=None))
    assert again.spec.num_crops == 2


def test_fewer_crops_are_refused(shared_store, shared_folder):
    with pytest.raises(
        FkdError, match=r"has 6 crops an image.*fkd copy --crops 2` writes a smaller"
    ):
        label_images(label_config(shared_folder, shared_store.path, num_crops=2))


def hang_after_a_block():
    """Write one block, and never come to the next one."""
    commit = LabelStore.commit_block

    def commit_and_hang(self, number, block):
        commit(self, number, block)
        threading.Event().wait()

    LabelStore.commit_block = commit_and_hang


def test_killed_while_it_grows_it_goes_on(shared_folder, tmp_path, start_fkd):
    out = tmp_path / "s.zarr"
    label_images(label_config(shared_folder, out, num_crops=2, block_images=5))
    before = files_of(out)
    process = start_fkd(*WORDS.split(), "--crops", 20, shared_folder, prepare=hang_after_a_block)
    seals = out / "segment-1" / "done" / "c"
    process.wait_for(lambda: any(seals.glob("*/0")))
    process.kill()
    assert untouched(before)
    done = files_of(seals)
    with pytest.raises(FkdError, match=r"or read the first 2 crops of each image \(--crops 2\)"):
        LabelStore.open(out).require_complete()
    process = start_fkd(*WORDS.split(), shared_folder)
    process.wait_for(lambda: process.code is not None or len(list(seals.glob("*/0"))) > len(done))
    with suppress(ProcessLookupError):  # it may have ended meanwhile
        process.send_signal(signal.SIGTERM)
    assert process.finish().code in (0, 130)
    grown = label_images(
        label_config(shared_folder, out, num_crops=20, block_images=5, batch_size=16)
    )
    assert untouched(before | done)
    whole = label_config(shared_folder, tmp_path / "w.zarr", num_crops=20, batch_size=16)
    same_crops(grown, label_images(whole))


def test_ranks_grow_a_store_together(image_folder, tmp_path):
    """The crops of the last segment need what other ranks say of the images that are added."""
    out = tmp_path / "s.zarr"
    label_images(label_config(image_folder, out, num_crops=2, block_images=5))
    InspectedStore.open(out, writable=True).unseal([0, 2])
    more = add_images(image_folder, 6)
    words = [*WORDS.split(), "--grow", "--crops", 6, image_folder]
    ranks = ranks_finish(words, tmp_path, 2)
    said = "".join(done.out + done.err for done in ranks)
    assert [done.code for done in ranks] == [0, 0], said
    assert said.count("24 images × 6 crops") == 1
    grown = LabelStore.open(out)
    assert grown.pending_blocks() == []
    assert list(grown.image_paths())[18:] == more


def add_images(folder, count):
    """Add images to the folder between those that it has; return their keys."""
    rng, keys = np.random.default_rng(5), []
    for number in range(count):
        kind = ("circle", "square", "triangle")[number % 3]
        key = f"{kind}/00{number // 3}b.jpg"
        draw_image(kind, rng, 40, 50).save(folder / "train" / key)
        keys.append(key)
    return sorted(keys)


def test_new_images_are_added_with_all_crops(image_folder, tmp_path, capsys):
    out = tmp_path / "s.zarr"
    label_images(label_config(image_folder, out, num_crops=2, block_images=5))
    before, all_added = files_of(out), []
    for count in (3, 6):
        added = [key for key in add_images(image_folder, count) if key not in all_added]
        config = label_config(image_folder, out, num_crops=2, block_images=5)
        with pytest.raises(FkdError, match=r"circle/00.b\.jpg is new; .*; --grow labels what is"):
            label_images(config)
        grown = label_images(
            label_config(image_folder, out, num_crops=2, block_images=5, grow=True)
        )
        all_added += added
        assert grown.pending_blocks() == []
        assert list(grown.image_paths())[18:] == all_added
        assert "3 new images" in capsys.readouterr().err
    assert untouched(before)
    label_images(config)
    assert "is complete" in capsys.readouterr().err
    label_images(label_config(image_folder, out, num_crops=2, block_images=5, grow=True))
    assert "there is no image that" in capsys.readouterr().err
    teacher = (TEACHER_CHOICE,)
    report = check_store(CheckConfig(out, image_folder, teacher=teacher, device="cpu", deep=True))
    assert report.ok, report
    assert all(verdict.state == "ok" for verdict in report.verdicts), report


def test_images_and_crops_are_added_at_once_and_again(image_folder, tmp_path):
    out, settings = tmp_path / "s.zarr", {"block_images": 5, "grow": True}
    label_images(label_config(image_folder, out, num_crops=2, block_images=5))
    add_images(image_folder, 3)
    label_images(label_config(image_folder, out, num_crops=4, **settings))
    grown = label_images(label_config(image_folder, out, num_crops=6, **settings))
    assert [(s.images, s.crops) for s in grown.segments] == [
        (range(18), range(2)),
        (range(18), range(2, 4)),
        (range(18, 21), range(4)),
        (range(18), range(4, 6)),
        (range(18, 21), range(4, 6)),
    ]
    assert grown.read(range(21), range(6)).flip.shape == (21, 6)
    # An image's views are drawn by its place, so the first 18 are those of a store of them alone.
    alone = make_image_folder(tmp_path / "alone")
    whole = label_images(label_config(alone, tmp_path / "whole.zarr"))
    one, other = grown.read(range(18), range(6)), whole.read(range(18), range(6))
    assert np.array_equal(one.box, other.box)
    assert np.array_equal(one.kept["index"], other.kept["index"])


def test_a_part_takes_the_new_images_that_it_chooses(image_folder, tmp_path):
    (tmp_path / "some.txt").write_text("circle/000.jpg\nsquare/001.jpg\n")
    out, part = tmp_path / "s.zarr", {"subset": str(tmp_path / "some.txt")}
    label_images(label_config(image_folder, out, part=Part(**part)))
    add_images(image_folder, 6)
    (tmp_path / "some.txt").write_text("triangle/000b.jpg\nsquare/001.jpg\ncircle/001b.jpg\n")
    grown = label_images(label_config(image_folder, out, part=Part(**part), grow=True))
    keys = ["circle/000.jpg", "square/001.jpg", "circle/001b.jpg", "triangle/000b.jpg"]
    assert list(grown.image_paths()) == keys
    assert check_store(CheckConfig(out, image_folder, deep=True)).ok


def test_deleted_images_are_counted_and_stay(image_folder, tmp_path, capsys):
    out = tmp_path / "s.zarr"
    label_images(label_config(image_folder, out, num_crops=2))
    before = files_of(out)
    for number in range(4):
        (image_folder / "train" / "circle" / f"00{number}.jpg").unlink()
    add_images(image_folder, 1)
    grown = label_images(label_config(image_folder, out, num_crops=2, grow=True))
    said = capsys.readouterr().err
    gone = "circle/000.jpg, circle/001.jpg, circle/002.jpg and 1 more"
    assert f"warning: 4 of 18 images of {out} are not in" in said
    assert gone in said
    assert untouched(before)
    assert grown.spec.num_images == 19
    with pytest.raises(FkdError, match=r"circle/000\.jpg is missing in .*crops of it are to be"):
        label_images(label_config(image_folder, out, num_crops=4, grow=True))
    assert LabelStore.open(out).spec.num_crops == 2


def test_what_cannot_be_added_is_refused(image_folder, tmp_path):
    out, train = tmp_path / "s.zarr", image_folder / "train"
    label_images(label_config(image_folder, out, num_crops=2))
    grow = label_config(image_folder, out, num_crops=2, grow=True)
    before = files_of(out)
    (train / "star").mkdir()
    (train / "star" / "000.jpg").write_bytes((train / "circle" / "000.jpg").read_bytes())
    with pytest.raises(FkdError, match=r"class star is new, and the labels of .* are over 3 oth"):
        label_images(grow)
    (train / "star" / "000.jpg").unlink()
    (train / "star").rmdir()
    content = (train / "circle" / "000.jpg").read_bytes()
    (train / "circle" / "000.jpg").write_bytes(content + b"\0")
    with pytest.raises(FkdError, match=r"circle/000\.jpg has .* bytes, .* when it was labelled"):
        label_images(grow)
    (train / "circle" / "000.jpg").write_bytes(content)
    for file in (train / "circle").iterdir():
        file.unlink()
    (train / "circle").rmdir()
    with pytest.raises(FkdError, match=r"class circle of .* has no image left"):
        label_images(grow)
    assert untouched(before)


def test_more_crops_are_of_the_images_that_were_labelled(image_folder, tmp_path):
    out, square = tmp_path / "s.zarr", image_folder / "train" / "square"
    (square / "003.jpg").write_bytes(b"no image")
    label_images(label_config(image_folder, out, num_crops=2, max_bad=1))
    more = label_config(image_folder, out, num_crops=4, max_bad=1)
    content = (square / "001.jpg").read_bytes()
    other = bytearray(content)
    other[-40] ^= 1
    (square / "001.jpg").write_bytes(other)
    with pytest.raises(FkdError, match=r"square/001\.jpg (is not the file|was|had)"):
        label_images(more)
    (square / "001.jpg").write_bytes(content)
    (square / "003.jpg").write_bytes(b"\0" * 8)
    assert label_images(more).num_bad() == 1
    assert LabelStore.open(out).pending_blocks() == []


def test_stores_of_other_makers_are_refused(image_folder, tmp_path):
    out = tmp_path / "s.zarr"
    store = label_images(label_config(image_folder, tmp_path / "a.zarr", num_crops=2))
    images = list_images(image_folder / "train")
    spec = replace(store.spec, made_by="average")
    LabelStore.create(out, spec, images, images.targets, store.class_names())
    with pytest.raises(
        FkdError, match=r"was made by `fkd average`.*grow the stores that it was made"
    ):
        label_images(label_config(image_folder, out, num_crops=4))


def test_what_a_killed_run_left_of_a_segment_is_removed(shared_folder, tmp_path):
    out = tmp_path / "s.zarr"
    label_images(label_config(shared_folder, out, num_crops=2))
    os.makedirs(out / ".segment-1.abcd.partial" / "done")
    label_images(label_config(shared_folder, out, num_crops=3))
    assert not list(out.glob(".segment*"))
    assert InspectedStore.open(out).strange_files() == []


def test_a_dry_run_counts_what_is_labelled_already(image_folder, tmp_path, capsys):
    out = tmp_path / "s.zarr"
    label_images(label_config(image_folder, out, num_crops=2))
    add_images(image_folder, 3)
    before = files_of(out)
    grows = estimate_run(label_config(image_folder, out, num_crops=6, grow=True))
    assert (grows.num_views, grows.num_labelled) == (21 * 6, 18 * 2)
    assert ("views", "126 (6 per image), 36 of them labelled already") in grows.lines()
    assert grows.seconds == pytest.approx(90 / grows.views_per_s)
    other = estimate_run(label_config(image_folder, out, temperature=2.0))
    assert (other.num_views, other.num_labelled) == (21 * 6, 0)
    assert files_of(out) == before


def test_images_without_classes_are_added_too(image_folder, tmp_path):
    out, train = tmp_path / "s.zarr", image_folder / "train"
    settings = {"unlabelled": True, "num_crops": 2, "split": False}
    label_images(label_config(train, out, **settings))
    (train / "deep" / "er").mkdir(parents=True)
    draw_image("circle", np.random.default_rng(1), 40, 50).save(train / "deep" / "er" / "1.jpg")
    grown = label_images(label_config(train, out, grow=True, **settings))
    assert list(grown.image_paths())[18:] == ["deep/er/1.jpg"]
    assert grown.targets() is None
    assert check_store(CheckConfig(out, train, deep=True)).ok
