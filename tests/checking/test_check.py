"""`fkd check`: damage is found and named, repair makes damaged blocks again and nothing else."""

import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from helpers.folders import make_image_folder
from helpers.folders import tiny_label_config as label_config
from helpers.networks import TEACHER_CHOICE
from helpers.stores import begin_older, block_files, change_attributes
from PIL import Image

from fkd import (
    CheckConfig,
    LabelStore,
    Scheme,
    StudentLoader,
    TeacherChoice,
    check_store,
    label_images,
)
from fkd.errors import BlockError, ImagesError, ModelError, StoreError
from fkd.machine import held
from fkd.store import Block, InspectedStore
from fkd.views import sample_views

TEACHER = TEACHER_CHOICE
EVERY = ["view_hash", "palette", "slot", "code", "size", "status", "content_hash", "fidelity"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An image folder and a store of 5 blocks of it, which no test may change."""
    folder = tmp_path_factory.mktemp("whole")
    make_image_folder(folder / "data")
    label_images(label_config(folder / "data", folder / "labels.zarr", block_images=4))
    return folder


@pytest.fixture(scope="module")
def older(whole, tmp_path_factory):
    """A format 2 store of the same images, begun by an older fkd and labelled by this one."""
    path = tmp_path_factory.mktemp("older") / "labels.zarr"
    begin_older(LabelStore.open(whole / "labels.zarr"), path)
    label_images(label_config(whole / "data", path, block_images=4))
    return path


@pytest.fixture
def folder(whole, tmp_path):
    """A copy of both; the store names the images of the original."""
    return shutil.copytree(whole, tmp_path / "here")


def check(folder, **settings):
    settings = {"images": folder / "data", "device": "cpu", **settings}
    return check_store(CheckConfig(folder / "labels.zarr", **settings))


def states(report):
    return {verdict.part: verdict.state for verdict in report.verdicts}


def detail(report, part):
    return next(verdict.detail for verdict in report.verdicts if verdict.part == part)


def recommit(folder, number, change):
    """Write a block anew, with a valid seal, after `change` has had its way with it."""
    store = InspectedStore.open(folder / "labels.zarr", writable=True)
    slab, facts = store.read_block(number), store.image_facts(number)
    block = Block(
        slab.box, slab.flip, facts["size"], facts["status"], facts["content_hash"], slab.kept
    )
    change(block)
    store.commit_block(number, block)


def test_a_whole_store_is_well_in_every_part(whole):
    report = check(whole, deep=True, teacher=(TEACHER,), num_views=40)
    assert report.ok
    assert set(states(report).values()) == {"ok"}
    assert {"structure", "done", "checksums", "boxes", "ids", "values", "views"} <= set(
        states(report)
    )
    assert {"versions", "lists", "images", "contents", "labels"} <= set(states(report))
    assert report.damaged == ()
    assert "agrees on 100.0% of 40 views" in detail(report, "labels")


@pytest.mark.parametrize("damage", ["truncated", "flipped", "deleted", "emptied"])
@pytest.mark.parametrize("name", [*EVERY, "done"])
def test_every_damaged_file_is_found_sent_back_and_made_again(whole, folder, name, damage):
    path = folder / "labels.zarr"
    file = path / "done/c/1/0" if name == "done" else block_files(path)[name]
    content = bytearray(file.read_bytes())
    if damage == "deleted":
        file.unlink()
    elif damage == "flipped":
        content[len(content) // 2] ^= 0x10
        file.write_bytes(content)
    else:
        file.write_bytes(content[: len(content) // 2 if damage == "truncated" else 0])
    others = {f: f.stat().st_mtime_ns for f in path.rglob("*/c/*/*") if "/c/1" not in str(f)}
    report = check(folder, repair=True)
    assert not report.ok
    torn = name == "done" and damage in ("deleted", "emptied")
    if torn:  # what a power cut leaves: the block is not done, and nothing is damaged
        assert report.damaged == ()
        assert report.pending == 1
    else:
        assert report.damaged == report.sent_back == (1,)
        assert "block 1: " in detail(report, "checksums")
        assert name in detail(report, "checksums") or "seal" in detail(report, "checksums")
    assert LabelStore.open(path).pending_blocks() == [1]
    label_images(label_config(folder / "data", path, block_images=4))
    assert check(folder, deep=True).ok
    assert others == {f: f.stat().st_mtime_ns for f in others}
    one, other = (LabelStore.open(f / "labels.zarr").read_block(1) for f in (whole, folder))
    assert np.array_equal(one.box, other.box)
    assert np.array_equal(one.kept["index"], other.kept["index"])


def move_a_box(block):
    block.box[1, 2] = [0, 0, *block.size[1]]


def box_too_large(block):
    block.box[2, 3, 0] = block.size[2, 0]


def box_of_no_height(block):
    block.box[0, 0, 2] = 0


def id_past_the_classes(block):
    ids = block.kept["index"][1]
    ids[ids == 2] = 200


def id_twice(block):
    block.kept["index"][3, 0, 1] = block.kept["index"][3, 0, 0]


def falling_codes(block):
    block.kept["code"][0, 5] = [90, 20, 200]


def image_without_size(block):
    block.size[2] = 0
    block.box[2] = 0


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (move_a_box, "views"),
        (box_too_large, "boxes"),
        (box_of_no_height, "boxes"),
        (id_past_the_classes, "ids"),
        (id_twice, "values"),
        (falling_codes, "values"),
        (image_without_size, "values"),
    ],
)
def test_sealed_nonsense_is_found(folder, older, change, part):
    """All checksums are right: whoever wrote this was no labeller."""
    if part in ("boxes", "views"):  # a format 2 store has boxes of its own
        shutil.rmtree(folder / "labels.zarr")
        shutil.copytree(older, folder / "labels.zarr")
    recommit(folder, 2, change)
    report = check(folder)
    assert states(report)[part] == "FAILED"
    assert "block 2: " in detail(report, part)
    assert states(report)["checksums"] == "ok"
    assert report.damaged == (2,)


def test_other_boxes_than_those_labelled_are_found(folder):
    """As on a machine that draws others: all seals are right, and no box is stored."""
    recommit(folder, 2, move_a_box)
    report = check(folder)
    assert states(report)["views"] == "FAILED"
    said = "the boxes that this machine draws are not those that were labelled (from crop 0 on)"
    assert f"block 2: {said}" in detail(report, "views")
    assert report.damaged == (2,)
    store = LabelStore.open(folder / "labels.zarr")
    store.read_images(range(8), 6)
    with pytest.raises(BlockError, match=re.escape(said)):
        store.read_crops([3])


def test_an_older_store_is_continued_by_the_rule_that_it_was_begun_with(whole, older):
    store = LabelStore.open(older)
    assert (store.spec.format_version, store.spec.sampler) == (2, "random-resized-crop-1")
    slab = store.read_crops(range(6))
    for image, (height, width) in enumerate(slab.size.tolist()):
        box, flip = sample_views(store.spec.views, image, 6, height, width, store.spec.sampler)
        assert np.array_equal(box, slab.box[image])
        assert np.array_equal(flip, slab.flip[image])
    assert {"box", "flip"} <= {path.name for path in older.iterdir()}
    report = check_store(CheckConfig(older, images=whole / "data", device="cpu"))
    assert set(states(report).values()) == {"ok"}


def test_a_store_may_have_no_block_yet(folder):
    """As when its run was stopped in the first block: there is no folder of seals either."""
    shutil.rmtree(folder / "labels.zarr" / "done" / "c")
    for repair in (False, True):
        report = check(folder, repair=repair)
        assert states(report)["done"] == "note"
        assert report.sent_back == ()


def test_a_block_of_another_store_is_found(folder, tmp_path):
    """Every file is whole by its own checksums; only the seal ties them together."""
    other = tmp_path / "other.zarr"
    teacher = TeacherChoice("resnet18", "none", size=32)
    label_images(label_config(folder / "data", other, block_images=4, teacher=teacher))
    shutil.copy(block_files(other)["code"], block_files(folder / "labels.zarr")["code"])
    report = check(folder)
    assert report.damaged == (1,)
    assert "not those that were sealed" in detail(report, "checksums")


def swap(one, other):
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)


def test_changed_images_are_named(folder):
    files = sorted((folder / "data/train/circle").iterdir())
    files[0].unlink()
    files[1].rename(files[1].with_name("zzz.jpg"))
    files[2].write_bytes(files[2].read_bytes() + b"\0")
    report = check(folder)
    found = detail(report, "images")
    for words in (
        "circle/000.jpg is missing",
        "circle/001.jpg is missing",
        "circle/zzz.jpg is new",
    ):
        assert words in found
    assert "circle/002.jpg has" in found
    assert states(report)["checksums"] == "ok"


def test_a_file_of_the_same_size_is_found_by_a_deep_check_alone(folder):
    file = folder / "data/train/square/003.jpg"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    assert check(folder).ok
    report = check(folder, deep=True)
    assert states(report)["contents"] == "FAILED"
    assert "square/003.jpg" in detail(report, "contents")


def test_labels_of_swapped_images_do_not_agree_with_the_teacher(folder):
    """The paths stay, the contents move: what a wrong unpacking does."""
    files = sorted((folder / "data/train").rglob("*.jpg"))
    for one, other in zip(files[:9], files[9:], strict=True):
        swap(one, other)
    assert not check(folder, teacher=(TEACHER,)).ok


def test_swapped_images_are_never_trained_on(tmp_path):
    """Bitmaps of one size: neither path nor file size nor dimensions tell them apart."""
    rng = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(4):
            pixels = rng.integers(0, 256, (24, 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{number}.bmp")
    teacher = TeacherChoice("resnet18", "none", size=32)  # of as many classes as there are
    label_images(label_config(tmp_path / "data", tmp_path / "labels.zarr", teacher=teacher))
    settings = {"crops_per_image": 2, "batch_size": 4, "epochs": 4, "scheme": Scheme("topk", 2)}
    assert len(list(StudentLoader(tmp_path / "labels.zarr", **settings).batches())) == 8
    swap(tmp_path / "data/a/1.bmp", tmp_path / "data/b/2.bmp")
    loader = StudentLoader(tmp_path / "labels.zarr", **settings)
    with pytest.raises(ImagesError, match="is not the file that was labelled"):
        list(loader.batches())


def test_another_teacher_does_not_agree(whole):
    report = check(whole, teacher=(TeacherChoice("resnet18", "none"),), num_views=40)
    assert states(report)["labels"] == "FAILED"
    assert "not the weights that labelled" in detail(report, "labels")
    assert "worst" in detail(report, "labels")


def test_a_teacher_of_other_classes_is_told_what_a_check_can_be_given(whole, tmp_path, monkeypatch):
    """To keep a vector, or labels of its own classes, is for whoever begins a store."""
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "five_outputs.py").write_text(
        "from torch import nn\n"
        "def make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))\n"
    )
    five = TeacherChoice("five_outputs:make", size=32)
    with pytest.raises(
        ModelError, match=r"5 outputs; give .* one class name per output, in order$"
    ):
        check(whole, teacher=(five,))
    (tmp_path / "names.txt").write_text("a\nb\nc\nd\ne\n")
    with pytest.raises(ModelError, match=r"3 of 3 class folders are not in .*") as refused:
        check(whole, teacher=(replace(five, classes_file=tmp_path / "names.txt"),))
    assert "--unlabelled" not in str(refused.value)


def test_the_deviation_of_logits_is_compared(folder):
    """Twice what it was, in every crop: of the labels themselves all agrees."""
    path = folder / "labels.zarr"
    scheme = Scheme.parse("topk3-std")
    label_images(label_config(folder / "data", path, scheme=scheme, overwrite=True))
    report = check(folder, teacher=(TEACHER,), num_views=20)
    assert report.ok
    assert "deviation of logits off by: mean 0" in detail(report, "labels")
    recommit(folder, 0, lambda block: block.kept["deviation"].__iadd__(16))
    report = check(folder, teacher=(TEACHER,), num_views=20)
    assert states(report)["labels"] == "FAILED"
    assert "deviation of logits off by: mean 69" in detail(report, "labels")


def test_images_elsewhere_are_skipped_unless_they_are_needed(folder):
    change_attributes(folder / "labels.zarr", sign=True, images_root="/nowhere")
    assert states(check(folder, images=None))["images"] == "skipped"
    with pytest.raises(ImagesError, match="--images"):
        check(folder, images=None, deep=True)


def test_lists_that_are_not_those_of_the_fingerprint(folder):
    change_attributes(folder / "labels.zarr", sign=True, fingerprint=f"sha256:{'0' * 64}")
    assert states(check(folder))["lists"] == "FAILED"


def test_strange_files_and_leftovers_are_notes(folder):
    store = folder / "labels.zarr"
    (store / "README.txt").write_text("mine")
    (store / "done/c/4/0").unlink()
    report = check(folder)
    assert "README.txt" in detail(report, "structure")
    assert "files of unfinished blocks" in detail(report, "done")
    assert report.pending == 1
    assert not report.ok
    assert report.damaged == ()


def test_damaged_structure_is_a_verdict(folder):
    (folder / "labels.zarr/slot/zarr.json").write_text("{")
    report = check(folder, repair=True)
    assert states(report) == {"structure": "FAILED"}
    assert "slot/zarr.json" in detail(report, "structure")


def test_a_format_1_store_is_checked_by_the_sizes_of_its_images(folder):
    """Deep checks of stores without hashes decode the images."""
    store = folder / "labels.zarr"
    begin_older(LabelStore.open(store), folder / "older.zarr", version=1)
    shutil.rmtree(store)
    (folder / "older.zarr").rename(store)
    label_images(label_config(folder / "data", store, block_images=4))
    assert LabelStore.open(store).content_hashes() is None
    assert check(folder, deep=True).ok


def test_the_command_says_what_it_found(folder, run_fkd):
    done = run_fkd("check", folder / "labels.zarr", "--images", folder / "data")
    assert done.code == 0, done.err
    assert "all is well" in done.out
    (folder / "labels.zarr/slot/c/3/0/0").unlink()
    done = run_fkd("check", folder / "labels.zarr", "--images", folder / "data")
    assert done.code == 1
    assert "1 block damaged" in done.out
    assert "FAILED" in done.out
    assert "block 3" in done.out
    done = run_fkd("check", folder / "data")
    assert "not a label store" in done.error_line()
    done = run_fkd("check", folder / "labels.zarr", "--views", "0")
    assert "--views is 0" in done.error_line()


def test_lost_lists_send_no_block_back(folder):
    """The labels are whole: only what says whose they are has gone, and may be restored."""
    store = folder / "labels.zarr"
    target = store / "target/c/0"
    content = target.read_bytes()
    target.unlink()
    report = check(folder, repair=True)
    assert states(report)["lists"] == "FAILED"
    assert states(report)["checksums"] == "ok"
    assert report.damaged == report.sent_back == ()
    (store / "slot/c/1/0/0").unlink()
    assert check(folder, repair=True).sent_back == ()
    with pytest.raises(StoreError, match="array 'target'"):
        label_images(label_config(folder / "data", store, block_images=4))
    target.write_bytes(content)
    assert check(folder, repair=True).sent_back == (1,)


@pytest.mark.parametrize("where", ["slot/c", "done/c"])
def test_nothing_is_written_or_removed_through_a_link(folder, tmp_path, where):
    store = folder / "labels.zarr"
    shutil.move(store / where, tmp_path / "elsewhere")
    (store / where).symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere/1/0").mkdir(exist_ok=True) if where == "slot/c" else None
    before = {f: f.read_bytes() for f in (tmp_path / "elsewhere").rglob("*") if f.is_file()}
    report = check(folder, repair=True)
    assert states(report) == {"structure": "FAILED"}
    assert "is a link" in detail(report, "structure")
    with pytest.raises(StoreError, match="is a link"):
        label_images(label_config(folder / "data", store, block_images=4))
    assert before == {f: f.read_bytes() for f in (tmp_path / "elsewhere").rglob("*") if f.is_file()}


def test_images_that_are_gone_are_no_matter_of_where_to_look(folder):
    """The folder is there and its images are not: that is a finding, not an omission."""
    change_attributes(folder / "labels.zarr", sign=True, images_root=str(folder / "data/train"))
    assert check(folder, images=None).ok
    for file in (folder / "data/train/square").iterdir():
        file.unlink()
    assert states(check(folder, images=None))["images"] == "FAILED"
    shutil.rmtree(folder / "data/train")
    report = check(folder, images=None)
    assert states(report)["images"] == "skipped"
    assert report.skipped == ("images",)


def test_a_replaced_image_is_a_verdict_of_the_teacher_too(folder):
    """Of the same number of bytes, and smaller: a box would hang over its edge."""
    for file in (folder / "data/train").rglob("*.jpg"):
        size = file.stat().st_size
        Image.new("RGB", (8, 8)).save(file)
        file.write_bytes(file.read_bytes().ljust(size, b"\0"))
    report = check(folder, teacher=(TEACHER,))
    assert states(report)["images"] == "ok"
    assert states(report)["labels"] == "FAILED"
    assert "is not the file that was labelled" in detail(report, "labels")


def test_files_of_another_block_are_never_trained_on(folder):
    """All checksums of each file are right: a copy that went wrong, or a backup put together."""
    store = folder / "labels.zarr"
    for name in ("palette", "slot", "code"):
        shutil.rmtree(store / name / "c/0")
        shutil.copytree(store / name / "c/1", store / name / "c/0")
    loader = StudentLoader(
        store, images=folder / "data", crops_per_image=2, batch_size=4, scheme=Scheme("topk", 3)
    )
    with pytest.raises(StoreError, match="block 0: its files are not those that were sealed"):
        next(iter(loader))


def test_a_store_without_any_label_is_not_well(tmp_path):
    folder = make_image_folder(tmp_path / "data")
    for file in (folder / "train").rglob("*.jpg"):
        file.write_bytes(b"junk")
    label_images(label_config(folder, tmp_path / "labels.zarr", max_bad=1.0))
    report = check(tmp_path)
    assert states(report)["done"] == "FAILED"
    assert "18 damaged" in detail(report, "done")
    assert states(check(tmp_path, teacher=(TEACHER,)))["labels"] == "skipped"


def test_what_was_not_looked_at_is_not_called_good(folder):
    store = folder / "labels.zarr"
    for number in range(5):
        (store / f"slot/c/{number}/0/0").unlink()
    found = states(check(folder))
    assert found["checksums"] == "FAILED"
    assert found["boxes"] == found["values"] == "skipped"


def test_errors_of_the_moment_lose_no_block(folder, monkeypatch):
    """A disk or a memory that fails for now says nothing of the block."""
    import zarr

    read, failed = zarr.Array.__getitem__, []

    def fail_once(self, selection):
        if self.path == "" and self.shape == (18, 6, 3) and not failed:
            failed.append(1)
            raise MemoryError("Unable to allocate")
        return read(self, selection)

    monkeypatch.setattr(zarr.Array, "__getitem__", fail_once)
    report = check(folder, repair=True, workers=1)
    assert failed
    assert states(report)["checksums"] == "FAILED"
    assert "cannot be read now" in detail(report, "checksums")
    assert report.damaged == report.sent_back == ()


def test_repair_waits_for_no_labeller(folder):
    (folder / "labels.zarr/slot/c/3/0/0").unlink()
    seal = folder / "labels.zarr/done/c/3/0"
    with (
        held(folder / "labels.zarr/zarr.json", StoreError("busy"), "test"),
        pytest.raises(StoreError, match="at work"),
    ):
        check(folder, repair=True)
    assert seal.is_file()


def test_paths_may_be_text(folder):
    report = check_store(CheckConfig(str(folder / "labels.zarr"), images=str(folder / "data")))
    assert report.ok
    settings = {"crops_per_image": 2, "batch_size": 4, "images": folder / "data"}
    assert StudentLoader(str(folder / "labels.zarr"), scheme="topk2", **settings)


def test_a_deep_check_reports_hashes_that_cannot_be_read(folder):
    """And sends their block back: an error would come in the place of the report, after that."""
    file = folder / "labels.zarr" / "content_hash" / "c" / "1"
    file.write_bytes(file.read_bytes()[:-3])
    report = check(folder, deep=True, repair=True)
    assert report.sent_back == (1,)
    failed = {
        verdict.part: verdict.detail for verdict in report.verdicts if verdict.state == "FAILED"
    }
    assert set(failed) == {"checksums", "contents"}
    assert failed["contents"].startswith("block 1: array 'content_hash'")
