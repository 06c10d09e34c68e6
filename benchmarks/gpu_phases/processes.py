"""Right: the command line in processes of its own, killed, gone on with, and two at a time."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TypeAlias

import numpy as np

from fkd import LabelStore
from fkd.students import read_checkpoint

from .findings import Finding, Setting
from .short_runs import weights_apart
from .small_models import SMALL_STUDENT, SMALL_TEACHER

Process: TypeAlias = "subprocess.Popen[str]"
BENCHMARKS = Path(__file__).parent.parent


def killed_label(setting: Setting) -> Iterator[Finding]:
    """Kill `fkd label` by SIGKILL and go on.

    Labels made in other batches may differ in the last bits of a logit, so a code may be another one.
    """
    out = setting.folder / "killed.zarr"
    killed = _kill_when(_label(setting, out), lambda: any((out / "done").glob("**/[0-9]*")))
    left = LabelStore.open(out).pending_blocks()
    _finish(setting, _label(setting, out))
    differ = _differences(_whole(setting), out)
    figures = {"killed": str(killed), "blocks left": len(left)} | differ
    yield Finding("label, killed", figures, differ["boxes that differ"] == 0)


def killed_train(setting: Setting) -> Iterator[Finding]:
    """Kill `fkd train` by SIGKILL and go on, beside a run that is not disturbed."""
    if setting.tiny:
        yield Finding(REHEARSED)
        return
    whole = _whole(setting)
    undisturbed, out = setting.folder / "run-whole", setting.folder / "run-killed"
    beside = _train(setting, whole, undisturbed)
    killed = _kill_when(_train(setting, whole, out), (out / "last.pt").exists)
    step = read_checkpoint(out / "last.pt").step
    _finish(setting, _train(setting, whole, out))
    _finish(setting, beside)
    apart = weights_apart(undisturbed, out)
    figures = {
        "killed": str(killed),
        "went on from step": step,
        "weights differ by": f"{apart:.1e}",
    }
    ended = read_checkpoint(out / "last.pt").step
    whole_steps = read_checkpoint(undisturbed / "last.pt").step
    yield Finding("train, killed", figures, ended == whole_steps)


def two_label(setting: Setting) -> Iterator[Finding]:
    """Let two processes that share the device label one store."""
    if setting.tiny:
        yield Finding(REHEARSED)
        return
    out = setting.folder / "two.zarr"
    _finish(setting, _label(setting, out, torchrun=True))
    differ = _differences(_whole(setting), out)
    yield Finding("label, two processes", differ, differ["boxes that differ"] == 0)


def two_train(setting: Setting) -> Iterator[Finding]:
    """Let two processes that share the device train one student."""
    if setting.tiny:
        yield Finding(REHEARSED)
        return
    out = setting.folder / "run-two"
    said = _finish(setting, _train(setting, _whole(setting), out, torchrun=True))
    step = read_checkpoint(out / "last.pt").step
    figures = {"steps": step, "said": "share a GPU" if "share a GPU" in said else None}
    yield Finding("train, two processes", figures, step > 0)


# A process takes seconds to load torch.
REHEARSED = "too slow for a rehearsal; the tests kill and share on the CPU"


def _whole(setting: Setting) -> Path:
    """Return a store that one process labelled undisturbed, once."""
    whole = setting.folder / "whole.zarr"
    if not whole.exists():
        aside = setting.folder / f"whole.{os.getpid()}.zarr"
        _finish(setting, _label(setting, aside))
        aside.rename(whole)
    return whole


def _fkd(*arguments: object, torchrun: bool = False) -> Process:
    launcher = [sys.executable, "-m"]
    if torchrun:
        launcher += ["torch.distributed.run", "--nproc-per-node", "2", "--standalone", "-m"]
    paths = [str(BENCHMARKS), str(BENCHMARKS.parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [*launcher, "fkd", *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _label(setting: Setting, out: Path, *, torchrun: bool = False) -> Process:
    crops = 30 if setting.tiny else 100
    return _fkd(
        "label", "--teacher", SMALL_TEACHER, "--size", 32, "--crops", crops, "--block", 10,
        "--compress", "topk3", "--device", setting.device_name, "--out", out, setting.pictures(),
        torchrun=torchrun,
    )  # fmt: skip


def _train(setting: Setting, store: Path, out: Path, *, torchrun: bool = False) -> Process:
    return _fkd(
        "train", store, "--student", SMALL_STUDENT, "--crops-per-image", 2, "--compress", "topk3",
        "--epochs", 8, "--batch-size", 20, "--save-every", 0.005,
        "--eval-every", 1e6,
        "--device", setting.device_name, "--resume", "--out", out, torchrun=torchrun,
    )  # fmt: skip


def _finish(setting: Setting, process: Process) -> str:
    """Wait for a process; one that takes too long is ended by SIGTERM, which torchrun hands on."""
    try:
        said, _ = process.communicate(timeout=max(1, setting.left))
    except subprocess.TimeoutExpired:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=3)
        process.kill()
        said, _ = process.communicate()
        raise RuntimeError(f"took too long: {said[-400:]}") from None
    if process.returncode:
        raise RuntimeError(f"exit code {process.returncode}: {said[-800:]}")
    return said


def _kill_when(process: Process, ready: Callable[[], bool]) -> bool:
    """Kill a process as soon as `ready`; say whether it was still at work."""
    while process.poll() is None and not ready():
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return process.returncode == -signal.SIGKILL


def _differences(one: Path, other: Path) -> dict[str, float]:
    a, b = (LabelStore.open(path) for path in (one, other))
    crops = range(a.spec.num_crops)
    here, there = a.read_crops(crops), b.read_crops(crops)
    same = np.ones(here.box.shape[:2], bool)
    for name, values in here.kept.items():
        same &= (values == there.kept[name]).all(axis=2)
    return {
        "boxes that differ": int((here.box != there.box).sum()),
        "labels that differ, %": round(100 * float((~same).mean()), 3),
    }
