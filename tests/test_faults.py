"""Faults on purpose, with real processes: no wrong label, what was done stays done, words that help.

`FKD_FAULT_ROUNDS=200 pytest tests/test_faults.py -k killed` kills more often; scripts/faults runs it.
"""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.folders import make_image_folder
from helpers.processes import fkd_environment

from fkd import LabelStore, Scheme, StudentLoader
from fkd.errors import FkdError, ImagesError
from fkd.students import newest_checkpoint

ROUNDS = int(os.environ.get("FKD_FAULT_ROUNDS", "20"))
LABEL = "label --teacher resnet18 --teacher-weights none --size 32 --crops 30 --block 2 --workers 1"
LABEL = f"{LABEL} --compress topk3 --batch-size 16 --device cpu --out labels.zarr data".split()
TRAIN = "train labels.zarr --student resnet18 --crops-per-image 2 --compress topk3 --epochs 16"
TRAIN += " --batch-size 12 --save-every 0.0005 --workers 1 --device cpu --resume --out run"
TRAIN = TRAIN.split()
SHORT = ["--images", "data", "--epochs", "2", "--out", "run2"]
CHECK = ["check", "labels.zarr", "--repair", "--workers", "1", "--device", "cpu"]


def run_cli(folder, args):
    """What a process does: the command line, in a folder, silently."""
    os.chdir(folder)
    torch.set_num_threads(1)
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 1)
    os.dup2(silence, 2)
    from fkd.cli import main

    main(args)


@pytest.fixture(scope="module")
def server():
    """Processes that start at once: torch is loaded when they begin."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["fkd.labelling.label", "fkd.training.train", "fkd.checking.check", "fkd.cli.group"]
    )
    return context


def finish(server, folder, args):
    """Run a command to its end; return its exit code and its seconds."""
    began = time.monotonic()
    process = server.Process(target=run_cli, args=(folder, args))
    process.start()
    process.join(300)
    return process.exitcode, time.monotonic() - began


def kill(server, folder, args, seconds):
    """Start a command, and kill it after so long; say whether it was still at work."""
    process = server.Process(target=run_cli, args=(folder, args))
    process.start()
    process.join(seconds)
    alive = process.exitcode is None
    process.kill()
    process.join(60)
    return alive


@pytest.fixture(scope="module")
def whole(server, tmp_path_factory):
    """Images, a store and a run that nobody disturbed, and how long each took."""
    folder = tmp_path_factory.mktemp("whole")
    make_image_folder(folder / "data", val_per_class=1)
    seconds = {}
    finish(server, folder, ["info", "nothing"])  # the server itself starts
    for name, args in (("label", LABEL), ("train", TRAIN), ("check", CHECK)):
        code, seconds[name] = finish(server, folder, args)
        assert code == 0, name
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
    return same and all(np.array_equal(one.kept[k], v) for k, v in other.kept.items())


def assert_same_store(one, other):
    one, other = done_blocks(one), done_blocks(other)
    assert one.keys() == other.keys()
    assert all(same_block(one[n], other[n]) for n in one)


# -- SIGKILL at random moments --------------------------------------------------------------------


def test_label_killed_anywhere(server, whole, images):
    """Every block is there whole or not at all, and none that was done is lost."""
    rng, seconds = np.random.default_rng(), whole[1]["label"]
    good, before, killed = done_blocks(whole[0] / "labels.zarr"), set(), 0
    for _ in range(ROUNDS):
        if before == set(good):
            shutil.rmtree(images / "labels.zarr")
        killed += kill(server, images, LABEL, rng.uniform(0, seconds))
        done = done_blocks(images / "labels.zarr")
        assert before - set(good) == set()
        assert before <= set(done) or before == set(good)
        assert all(same_block(block, good[number]) for number, block in done.items())
        before = set(done)
    assert killed >= ROUNDS // 2
    assert finish(server, images, LABEL)[0] == 0
    assert_same_store(images / "labels.zarr", whole[0] / "labels.zarr")


def test_train_killed_anywhere(server, whole, images):
    """The weights at the end are those of a run that nobody killed, to the last bit."""
    shutil.copytree(whole[0] / "labels.zarr", images / "labels.zarr")
    rng, seconds, newest = np.random.default_rng(), whole[1]["train"], 0
    for _ in range(ROUNDS):
        kill(server, images, [*TRAIN, "--images", "data"], rng.uniform(0, seconds))
        checkpoint = newest_checkpoint(images / "run") if (images / "run").is_dir() else None
        step = 0 if checkpoint is None else checkpoint.step
        assert step >= newest
        newest = step
    assert finish(server, images, [*TRAIN, "--images", "data"])[0] == 0
    one, other = (
        torch.load(run / "last.pt", weights_only=True)["student"]
        for run in (images / "run", whole[0] / "run")
    )
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_check_killed_anywhere(server, whole, images):
    """A repair that is killed has sent a damaged block back or not; whole blocks stay."""
    shutil.copytree(whole[0] / "labels.zarr", images / "labels.zarr")
    rng, seconds = np.random.default_rng(), whole[1]["check"]
    good = done_blocks(whole[0] / "labels.zarr")
    store = images / "labels.zarr"
    for number in (1, 4):
        (store / f"box/c/{number}/0/0").write_bytes(b"torn")
    for _ in range(ROUNDS):
        kill(server, images, CHECK, rng.uniform(0, seconds))
        seals = {int(seal.parent.name) for seal in (store / "done").rglob("0") if seal.is_file()}
        assert set(good) - {1, 4} <= seals
    finish(server, images, CHECK)
    assert LabelStore.open(store).pending_blocks() == [1, 4]
    assert finish(server, images, LABEL)[0] == 0
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
    batches = iter(loader(images))
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
    expected = [(p.clone(), s.value.clone()) for p, s in loader(whole[0])]
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
            found = list(loader(images))
        except FkdError as error:
            refused += str(store) in str(error)
        else:
            for (pixels, labels), (true, value) in zip(found, expected, strict=True):
                assert torch.equal(pixels, true)
                assert torch.equal(labels.value, value)
        file.write_bytes(content)
    assert refused > 0.9 * len(files)


def test_two_labellers_on_one_store(server, whole, images):
    """The second is turned away while the first is at work, and nothing is labelled twice or wrongly."""
    processes = [server.Process(target=run_cli, args=(images, LABEL)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(300)
    codes = sorted(process.exitcode for process in processes)
    assert codes[0] == 0
    assert set(codes) <= {0, 2}
    finish(server, images, LABEL)
    assert_same_store(images / "labels.zarr", whole[0] / "labels.zarr")
    assert not list(images.glob(".*partial*"))


# -- where a store lies ---------------------------------------------------------------------------


def without_privileges(folder, args):
    """Run a command as one for whom modes of files count: root would write all the same."""
    drop = "--bounding-set=-dac_override,-dac_read_search,-fowner"
    setpriv = ["setpriv", drop, drop.replace("bounding-set", "inh-caps")]
    return subprocess.run(
        [*(setpriv if os.geteuid() == 0 else []), sys.executable, "-m", "fkd", *args], cwd=folder,
        env=fkd_environment() | {"PYTHONDONTWRITEBYTECODE": "1"}, capture_output=True, text=True,
        check=False, timeout=300,
    )  # fmt: skip


@pytest.mark.skipif(shutil.which("setpriv") is None and os.geteuid() == 0, reason="root writes all")
def test_a_store_that_may_only_be_read(whole, tmp_path):
    """It is checked and trained on; writing to it is refused in words and changes nothing."""
    folder = Path(shutil.copytree(whole[0], tmp_path / "only"))
    store = folder / "labels.zarr"
    (store / "code/c/2/0/0").write_bytes(b"torn")
    before = {f: f.read_bytes() for f in store.rglob("*") if f.is_file()}
    modes = {path: path.stat().st_mode for path in [store, *store.rglob("*")]}
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
    here = ["--images", "data", "--device", "cpu", "--workers", "1"]
    found = without_privileges(folder, ["check", "labels.zarr", *here])
    assert (found.returncode, "block 2" in found.stdout) == (1, True), found.stderr
    repair = without_privileges(folder, ["check", "labels.zarr", "--repair", *here])
    assert repair.returncode == 2
    assert "cannot be sent back" in repair.stderr
    assert repair.stderr.count("fkd: error:") == 1
    for path, mode in modes.items():
        path.chmod(mode)
    (store / "done/c/2/0").unlink()
    del before[store / "done/c/2/0"]
    for path, mode in modes.items():
        if path.exists():
            path.chmod(mode & 0o555)
    label = without_privileges(folder, LABEL)
    assert label.returncode == 2
    assert "labels.zarr" in label.stderr.splitlines()[-1]
    assert "Traceback" not in label.stderr
    for path, mode in modes.items():
        if path.exists():
            path.chmod(mode)
    assert before == {f: f.read_bytes() for f in store.rglob("*") if f.is_file()}
    shutil.copy(whole[0] / "labels.zarr/code/c/2/0/0", store / "code/c/2/0/0")
    shutil.copy(whole[0] / "labels.zarr/done/c/2/0", store / "done/c/2/0")
    for path, mode in modes.items():
        path.chmod(mode & 0o555)
    train = without_privileges(folder, [*TRAIN, *SHORT])
    for path, mode in modes.items():
        path.chmod(mode)
    assert train.returncode == 0, train.stderr


def test_a_path_with_spaces_and_other_alphabets(server, whole, tmp_path):
    """Label, train, check, evaluate and export below one."""
    folder = tmp_path / "ünï códe 日本 'x' $y" / "a b"
    shutil.copytree(whole[0] / "data", folder / "my data")
    for split in ("train", "val"):
        (folder / "my data" / split / "circle").rename(folder / "my data" / split / "größer kreis")
    words = "--teacher resnet18 --teacher-weights none --size 32 --crops 4 --device cpu"
    few = "--batch-size 8 --epochs 1 --compress topk2 --student resnet18 --device cpu"
    for command in (
        ["label", *words.split(), "--out", "labels ñ.zarr", "my data"],
        ["train", "labels ñ.zarr", *few.split(), "--out", "run 1"],
        ["check", "labels ñ.zarr", "--deep", "--device", "cpu"],
        ["info", "labels ñ.zarr"],
        ["eval", "run 1", "my data"],
        ["export", "run 1"],
    ):
        assert finish(server, folder, command)[0] == 0, command
    assert (folder / "run 1/student.pth").is_file()


def test_the_smallest_of_everything(server, tmp_path):
    """One image a class, one crop, one view a batch, one image a block, one thread, one class kept."""
    make_image_folder(tmp_path / "data", train_per_class=1, val_per_class=1)
    label = "--teacher resnet18 --teacher-weights none --size 32 --crops 1 --batch-size 1 --block 1"
    train = "--crops-per-image 1 --batch-size 3 --epochs 1 --compress topk1 --student resnet18"
    for command in (
        f"label {label} --workers 1 --compress topk1 --device cpu data",
        f"train {train} --workers 1 --device cpu",
        "check --deep --views 1 --workers 1",
    ):
        assert finish(server, tmp_path, command.split())[0] == 0, command


CLOCK = """
import itertools, time
jumps = itertools.cycle([0, 3.2e7, -3.2e7, 60, -3600, 0.5])
real = time.time
time.time = lambda: real() + next(jumps)
"""


def test_a_clock_that_jumps(whole, images):
    """Every look at the clock is hours or a year off, forwards or back."""
    (images / "site").mkdir()
    (images / "site/sitecustomize.py").write_text(CLOCK)
    path = f"{images / 'site'}:{os.environ.get('PYTHONPATH', '')}"
    for args in (LABEL, [*TRAIN, *SHORT]):
        done = subprocess.run(
            [sys.executable, "-m", "fkd", *args], cwd=images,
            env=fkd_environment() | {"PYTHONPATH": path}, capture_output=True, text=True, check=False,
            timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert_same_store(images / "labels.zarr", whole[0] / "labels.zarr")
    lines = (images / "run2/metrics.jsonl").read_text().splitlines()
    assert all(0 < json.loads(line).get("views_per_s", 1) < 1e6 for line in lines)
