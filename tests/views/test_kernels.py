"""The kernels that render on a GPU: Triton interprets them here, and compiles them for GPUs."""

import json
import os
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from helpers import interpreted as interpreter

from fkd.config import sides_of
from fkd.views import render_device

pytest.importorskip("triton", reason="it comes with torch's builds for CUDA")

import triton
from triton.backends.compiler import GPUTarget
from triton.runtime import driver

from fkd.views import kernels, triton_code


def release(package):
    """Return the first two numbers of a package's version."""
    return tuple(int(number) for number in package.__version__.split(".")[:2])


@pytest.fixture(scope="module")
def interpreted():
    """How many samples of each case differ from those of the threads."""
    if release(triton) < (3, 7) and release(np) >= (2, 4):
        pytest.skip("the interpreter of this Triton needs an older NumPy")
    done = subprocess.run(
        [sys.executable, interpreter.__file__],
        env=os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("case", [*interpreter.CASES, interpreter.BOARD, interpreter.GOES])
def test_kernels_give_the_pixels_of_the_threads(case, interpreted):
    assert interpreted[case] == 0


class Absent:
    """A GPU that is not there, as far as Triton's compiler asks for it."""

    def __init__(self, capability):
        self.get_current_target = lambda: GPUTarget("cuda", capability, 32)

    def get_current_device(self):
        return 0

    def get_current_stream(self, device=0):
        return 0


@pytest.fixture(params=[75, 90])
def compiled(request, tmp_path, monkeypatch):
    """What is compiled, by kernel, where kernels are asked for and not run."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    found = {}

    class Asked:
        def __init__(self, name):
            self._name, self._kernel = name, getattr(triton_code, name)

        def __getitem__(self, grid):
            return partial(self._run, grid=grid, warmup=True)

        def _run(self, *args, **kwargs):
            kernel = self._kernel.run(*args, **kwargs)
            found.setdefault(self._name, {})[kernel.hash] = kernel

    for name in ("taps_kernel", "rows_kernel", "columns_kernel"):
        monkeypatch.setattr(kernels, name, Asked(name))
        getattr(triton_code, name).device_caches.clear()
    monkeypatch.setattr(driver, "_active", Absent(request.param))
    return found


def ask_for(size, interpolation, count, highest, *, padded=False):
    """Ask for crops in memory that is not aligned."""
    pixels = torch.zeros((4001, 3), dtype=torch.uint8)[1:]
    crops = torch.ones((9 if padded else 7, count), dtype=torch.int64)
    out = torch.empty((count + 1, *sides_of(size), 3), dtype=torch.uint8)[1:]
    kernels.render_by_kernels(pixels, crops, highest, (500, 375), interpolation, out)


def test_a_kernel_is_compiled_once_for_all_numbers(compiled):
    """Else a run would wait for a compiler whenever a number of crops or a height is a new one."""
    for size, count, highest in [(224, 256, 375), (32, 1, 16), (33, 7, 1), ((48, 320), 16, 48)]:
        ask_for(size, "bilinear", count, highest)
    assert {name: len(found) for name, found in compiled.items()} == {
        "taps_kernel": 1, "rows_kernel": 1, "columns_kernel": 1,
    }  # fmt: skip


def test_taps_are_compiled_without_fused_multiply_adds(compiled):
    """Fused, two operations round once, and a weight may be another one."""
    ask_for(32, "bilinear", 8, 40)
    ask_for(32, "bicubic", 8, 40, padded=True)
    assert len(compiled["taps_kernel"]) == 2
    for kernel in compiled["taps_kernel"].values():
        ptx = kernel.asm["ptx"]
        assert not re.search(r"fma\.[\w.]*f64", ptx)
        assert set(re.findall(r"(?:div|rcp)\.[\w.]*f[\w.]+", ptx)) == {"div.rn.f64"}
        assert kernel.metadata.enable_fp_fusion is False
    assert all(kernel.asm["cubin"] for found in compiled.values() for kernel in found.values())


@pytest.mark.parametrize("fault", ["other pixels", "no compiler", "no memory"])
def test_a_device_whose_kernels_do_not_work_uses_operations(fault, monkeypatch, capsys):
    def trial(device, interpolation, fit, *, kernels):
        if kernels and fault == "no compiler":
            raise RuntimeError("Failed to find C compiler.\nPlease specify via CC.")
        if kernels and fault == "no memory":
            raise torch.OutOfMemoryError
        return torch.full((2,), 3 + kernels)

    monkeypatch.setattr(render_device, "_trial", trial)
    asked = render_device.kernels_render.__wrapped__, torch.device("cuda", 0), "bilinear", "fill"
    if fault == "no memory":
        with pytest.raises(torch.OutOfMemoryError):
            asked[0](*asked[1:])
        return
    assert not asked[0](*asked[1:])
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert {"other pixels": "others on this device", "no compiler": "Failed to find C compiler"}[
        fault
    ] in said


def test_a_trial_renders_crops_that_differ():
    """What kernels are held against is the CPU's own, of boxes of one pixel and of whole images."""
    trial = render_device._trial(torch.device("cpu"), "bicubic", "pad", kernels=False)
    assert len(trial.reshape(24, -1).unique(dim=0)) == 24
