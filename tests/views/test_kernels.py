"""The kernels that render on a GPU: Triton interprets them here, and compiles them for GPUs."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from helpers import interpreted as interpreter

from fkd.views import render_device

triton = pytest.importorskip("triton")


@pytest.fixture(scope="module")
def interpreted():
    """How many samples of each case differ from those of the threads."""
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


@pytest.mark.parametrize("reach", [1, 2])
def test_every_kind_of_gpu_gets_kernels_and_taps_without_fused_multiply_adds(
    reach, tmp_path, monkeypatch
):
    """Fused, two operations round once, and a weight may be another one."""
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for capability in (75, 90):
        compiled = {
            name: compiled_for(capability, name, REACH=reach, PADDED=True, **sizes)
            for name, sizes in {
                "taps_kernel": {"BLOCK": 128},
                "rows_kernel": {"ROWS": 8, "COLUMNS": 64},
                "columns_kernel": {"ROWS": 4, "SAMPLES": 256, "PADDING_VALUE": 127},
            }.items()
        }
        assert all(kernel.asm["cubin"] for kernel in compiled.values())
        taps = compiled["taps_kernel"].asm["ptx"]
        assert not re.search(r"fma\.rn\.f64", taps)
        assert set(re.findall(r"(?:div|rcp)\.[\w.]*f[\w.]+", taps)) == {"div.rn.f64"}
        assert set(re.findall(r"(?:mul|add|sub)\.[\w.]*f(?:32|64)", taps)) <= {
            f"{name}.rn.f64" for name in ("mul", "add", "sub")
        }


def compiled_for(capability, name, **constants):
    """Compile a kernel for a GPU that need not be there."""
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from fkd.views import triton_code

    kernel = getattr(triton_code, name)
    pointers = {"pixels": "*u8", "narrow": "*u8", "out": "*u8", "crops": "*i64"}
    kinds = pointers | dict.fromkeys(("first", "weight", "bits"), "*i32")
    kinds |= dict.fromkeys(constants, "constexpr")
    source = ASTSource(
        kernel,
        {argument: kinds.get(argument, "i32") for argument in kernel.arg_names},
        {(kernel.arg_names.index(constant),): value for constant, value in constants.items()},
    )
    options = {"enable_fp_fusion": name != "taps_kernel"}
    return triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)


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
