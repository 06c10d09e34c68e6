"""Faults on purpose, with real processes: no wrong label, what was done stays done, words that help.

`FKD_FAULT_ROUNDS=200 pytest tests/test_faults.py -k killed` kills more often; scripts/faults runs it.
"""

import ctypes
import itertools
import json
import os
import shutil
import sys
import time

import numpy as np
import pytest
import torch
from helpers.folders import make_image_folder
from helpers.processes import Forked

from fkd import LabelStore, Scheme, StudentLoader
from fkd.errors import FkdError, ImagesError
from fkd.students import newest_checkpoint

pytestmark = pytest.mark.whole

ROUNDS = int(os.environ.get("FKD_FAULT_ROUNDS", "6"))
LABEL = "label --teacher squeezenet1_1 --teacher-weights none --size 32 --crops 30 --block 2 --workers 1"
LABEL += ' --features {layer="features.12",pool="mean",name="mid"}'
LABEL = f"{LABEL} --compress topk3 --batch-size 16 --device cpu --out labels.zarr data".split()
TRAIN = "train labels.zarr --student shufflenet_v2_x0_5 --crops-per-image 2 --compress topk3"
TRAIN += (
    " --epochs 16 --batch-size 12 --save-every 0.0005 --workers 1 --device cpu --resume --out run"
)
TRAIN = TRAIN.split()
SHORT = ["--images", "data", "--epochs", "2", "--out", "run2"]
CHECK = ["check", "labels.zarr", "--repair", "--workers", "1", "--device", "cpu"]


def finish(folder, args, **more):
    """Run a command to its end; return its exit code and what it said."""
    done = Forked(args, folder, **more).finish()
    return done.code, done.out + done.err


def kill(folder, args, seconds):
    """Start a command, and kill it after so long; say whether it was still at work."""
    with Forked(args, folder) as process:
        deadline = time.monotonic() + seconds
        while process.code is None and time.monotonic() < deadline:
            time.sleep(0.002)
        return process.code is None


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Images, a store and a run that nobody disturbed, and how long each took."""
    folder = tmp_path_factory.mktemp("whole")
    make_image_folder(folder / "data", val_per_class=1)
    seconds = {}
    finish(folder, ["info", "nothing"])  # the server of forks starts
    for name, args in (("label", LABEL), ("train", TRAIN), ("check", CHECK)):
        began = time.monotonic()
        code, said = finish(folder, args)
        seconds[name] = time.monotonic() - began
        assert code == 0, said
    return folder, seconds


@pytest.fixture
def images(whole, tmp_path):
    shutil.copytree(whole[0] / "data", tmp_path / "data")
    return tmp_path


def done_blocks(path):
    """Return the sealed blocks of a store and their labels; none where there is no store yet."""
    if not path.exists():
        return {}
    store = LabelStore.open(path)
    return {number: store.read_block(number) for number in store.done_blocks()}


def same_block(one, other):
    fields = ("box", "flip", "size", "target")
    same = all(np.array_equal(getattr(one, f), getattr(other, f)) for f in fields)
    kept = one.kept.keys() == other.kept.keys() >= {"code", "vector.mid", "scale.mid"}
    return same and kept and all(np.array_equal(one.kept[k], v) for k, v in other.kept.items())


def assert_same_store(one, other):
    one, other = done_blocks(one), done_blocks(other)
    assert one.keys() == other.keys()
    assert all(same_block(one[n], other[n]) for n in one)


# -- SIGKILL at random moments --------------------------------------------------------------------


def test_label_killed_anywhere(whole, images):
    """Every block is there whole or not at all, and none that was done is lost."""
    rng, seconds = np.random.default_rng(), whole[1]["label"]
    good, before, killed = done_blocks(whole[0] / "labels.zarr"), set(), 0
    while killed < ROUNDS:  # one that was done before it could be killed does not count
        if before == set(good):
            shutil.rmtree(images / "labels.zarr")
        killed += kill(images, LABEL, rng.uniform(0, seconds))
        done = done_blocks(images / "labels.zarr")
        assert before - set(good) == set()
        assert before <= set(done) or before == set(good)
        assert all(same_block(block, good[number]) for number, block in done.items())
        before = set(done)
    assert finish(images, LABEL)[0] == 0
    assert_same_store(images / "labels.zarr", whole[0] / "labels.zarr")


def test_train_killed_anywhere(whole, images):
    """The weights at the end are those of a run that nobody killed, to the last bit."""
    shutil.copytree(whole[0] / "labels.zarr", images / "labels.zarr")
    rng, seconds, newest = np.random.default_rng(), whole[1]["train"], 0
    for _ in range(ROUNDS):
        kill(images, [*TRAIN, "--images", "data"], rng.uniform(0, seconds))
        checkpoint = newest_checkpoint(images / "run") if (images / "run").is_dir() else None
        step = 0 if checkpoint is None else checkpoint.step
        assert step >= newest
        newest = step
    assert finish(images, [*TRAIN, "--images", "data"])[0] == 0
    one, other = (
        torch.load(run / "last.pt", weights_only=True)["student"]
        for run in (images / "run", whole[0] / "run")
    )
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_check_killed_anywhere(whole, images):
    """A repair that is killed has sent a damaged block back or not; whole blocks stay."""
    shutil.copytree(whole[0] / "labels.zarr", images / "labels.zarr")
    rng, seconds = np.random.default_rng(), whole[1]["check"]
    good = done_blocks(whole[0] / "labels.zarr")
    store = images / "labels.zarr"
    for number in (1, 4):
        (store / f"slot/c/{number}/0/0").write_bytes(b"torn")
    for _ in range(ROUNDS):
        kill(images, CHECK, rng.uniform(0, seconds))
        seals = {int(seal.parent.name) for seal in (store / "done").rglob("0") if seal.is_file()}
        assert set(good) - {1, 4} <= seals
    finish(images, CHECK)
    assert LabelStore.open(store).pending_blocks() == [1, 4]
    assert finish(images, LABEL)[0] == 0
    assert_same_store(store, whole[0] / "labels.zarr")


# -- images and stores that change under a run ----------------------------------------------------


def loader(folder, **settings):
    settings = {"crops_per_image": 2, "batch_size": 4, "epochs": 8, "workers": 1, **settings}
    return StudentLoader(
        folder / "labels.zarr", images=folder / "data", scheme=Scheme("topk", 3), **settings
    )


@pytest.mark.parametrize("fate", ["deleted", "replaced", "truncated", "another picture"])
def test_an_image_that_changes_while_a_student_trains(whole, images, fate):
    """The list was right when training began; the file is looked at again when it is decoded."""
    shutil.copytree(whole[0] / "labels.zarr", images / "labels.zarr")
    batches = loader(images).batches()
    next(batches)
    victim, other = (images / "data/train/circle" / name for name in ("003.jpg", "004.jpg"))
    if fate == "deleted":
        victim.unlink()
    elif fate == "replaced":
        shutil.copy(other, victim)
    elif fate == "truncated":
        victim.write_bytes(victim.read_bytes()[:300])
    else:
        content = bytearray(victim.read_bytes())
        content[-9] ^= 0x40
        victim.write_bytes(content)
    with pytest.raises(ImagesError, match=r"003\.jpg"):
        list(batches)


@pytest.mark.parametrize("damage", ["truncated", "flipped", "deleted"])
def test_no_damaged_file_of_a_store_is_trained_on(whole, images, damage):
    """Every file of the store in turn: the batches are those of the whole store, or an error names it."""
    expected = [(p.clone(), s.value.clone()) for p, s in loader(whole[0]).batches()]
    store = images / "labels.zarr"
    shutil.copytree(whole[0] / "labels.zarr", store)
    refused = 0
    files = sorted(f for f in store.rglob("*") if f.is_file())
    for file in files:
        content = file.read_bytes()
        if damage == "deleted":
            file.unlink()
        elif damage == "truncated":
            file.write_bytes(content[: len(content) * 2 // 3])
        else:
            file.write_bytes(content[:-7] + bytes([content[-7] ^ 2]) + content[-6:])
        try:
            found = list(loader(images).batches())
        except FkdError as error:
            refused += str(store) in str(error)
        else:
            for (pixels, labels), (true, value) in zip(found, expected, strict=True):
                assert torch.equal(pixels, true)
                assert torch.equal(labels.value, value)
        file.write_bytes(content)
    assert refused > 0.9 * len(files)


def test_two_labellers_on_one_store(whole, images):
    """The second is turned away while the first is at work, and nothing is labelled twice or wrongly."""
    labellers = [Forked(LABEL, images) for _ in range(3)]
    codes = sorted(labeller.finish().code for labeller in labellers)
    assert codes[0] == 0
    assert set(codes) <= {0, 2}
    finish(images, LABEL)
    assert_same_store(images / "labels.zarr", whole[0] / "labels.zarr")
    assert not list(images.glob(".*partial*"))


# -- where a store lies ---------------------------------------------------------------------------


def give_up_privileges():
    """Make modes of files count for root too: drop its capabilities 1 to 3 to pass them over."""
    libc, header, sets = (
        ctypes.CDLL(None),
        (ctypes.c_uint32 * 2)(0x20080522, 0),
        (ctypes.c_uint32 * 6)(),
    )
    assert libc.capget(header, sets) == 0
    for number in range(3):  # effective, permitted and inheritable, of the first 32
        sets[number] &= ~0b1110
    assert libc.capset(header, sets) == 0


@pytest.fixture
def read_only(whole, tmp_path):
    """A copy of all, and a function that runs a command while its store may only be read."""
    folder = shutil.copytree(whole[0], tmp_path / "only")
    store = folder / "labels.zarr"

    def run(*args):
        modes = {path: path.stat().st_mode for path in [store, *store.rglob("*")]}
        for path, mode in modes.items():
            path.chmod(mode & 0o555)
        done = Forked(args, folder, prepare=give_up_privileges).finish()
        for path, mode in modes.items():
            path.chmod(mode)
        return done

    return folder, run


@pytest.mark.skipif(sys.platform != "linux", reason="root writes all")
def test_a_store_that_may_only_be_read(whole, read_only):
    """It is checked and trained on; writing to it is refused in words and changes nothing."""
    folder, run = read_only
    store = folder / "labels.zarr"
    (store / "code/c/2/0/0").write_bytes(b"torn")
    before = {f: f.read_bytes() for f in store.rglob("*") if f.is_file()}
    here = ["--images", "data", "--device", "cpu", "--workers", "1"]
    found = run("check", "labels.zarr", *here)
    assert (found.code, "block 2" in found.out) == (1, True), found.err
    repair = run("check", "labels.zarr", "--repair", *here)
    assert "cannot be sent back" in repair.error_line()
    (store / "done/c/2/0").unlink()
    del before[store / "done/c/2/0"]
    label = run(*LABEL)
    assert label.code == 2
    assert "labels.zarr" in label.err.splitlines()[-1]
    assert "Traceback" not in label.err
    assert before == {f: f.read_bytes() for f in store.rglob("*") if f.is_file()}
    shutil.copy(whole[0] / "labels.zarr/code/c/2/0/0", store / "code/c/2/0/0")
    shutil.copy(whole[0] / "labels.zarr/done/c/2/0", store / "done/c/2/0")
    train = run(*TRAIN, *SHORT)
    assert train.code == 0, train.err


def test_a_path_with_spaces_and_other_alphabets(whole, tmp_path):
    """Label, train, check, evaluate and export below one."""
    folder = tmp_path / "ünï códe 日本 'x' $y" / "a b"
    shutil.copytree(whole[0] / "data", folder / "my data")
    for split in ("train", "val"):
        (folder / "my data" / split / "circle").rename(folder / "my data" / split / "größer kreis")
    words = "--teacher resnet18 --teacher-weights none --size 32 --crops 4 --device cpu"
    few = "--batch-size 8 --epochs 1 --compress topk2 --student squeezenet1_1 --device cpu"
    for command in (
        ["label", *words.split(), "--out", "labels ñ.zarr", "my data"],
        ["train", "labels ñ.zarr", *few.split(), "--out", "run 1"],
        ["check", "labels ñ.zarr", "--deep", "--device", "cpu"],
        ["info", "labels ñ.zarr"],
        ["eval", "run 1", "my data"],
        ["export", "run 1"],
    ):
        assert finish(folder, command)[0] == 0, command
    assert (folder / "run 1/student.pth").is_file()


def test_the_smallest_of_everything(tmp_path):
    """One image a class, one crop, one view a batch, one image a block, one thread, one class kept."""
    make_image_folder(tmp_path / "data", train_per_class=1, val_per_class=1)
    label = "--teacher resnet18 --teacher-weights none --size 32 --crops 1 --batch-size 1 --block 1"
    train = "--crops-per-image 1 --batch-size 3 --epochs 1 --compress topk1 --student squeezenet1_1"
    for command in (
        f"label {label} --workers 1 --compress topk1 --device cpu data",
        f"train {train} --workers 1 --device cpu",
        "check --deep --views 1 --workers 1",
    ):
        assert finish(tmp_path, command.split())[0] == 0, command


def let_clocks_jump():
    """Make every look at the clock hours or a year off, forwards or back."""
    jumps, real = itertools.cycle([0, 3.2e7, -3.2e7, 60, -3600, 0.5]), time.time
    time.time = lambda: real() + next(jumps)


def test_a_clock_that_jumps(whole, images):
    for args in (LABEL, [*TRAIN, *SHORT]):
        code, said = finish(images, args, prepare=let_clocks_jump)
        assert code == 0, said
    assert_same_store(images / "labels.zarr", whole[0] / "labels.zarr")
    lines = (images / "run2/metrics.jsonl").read_text().splitlines()
    assert all(0 < json.loads(line).get("views_per_s", 1) < 1e6 for line in lines)
