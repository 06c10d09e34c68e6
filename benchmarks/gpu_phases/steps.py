"""Right: steps of training at every setting, and beside those of the CPU."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from fkd import train_student
from fkd.students import read_checkpoint

from .findings import Finding, Setting
from .short_runs import Noted, config
from .small_models import SMALL_STUDENT

OPTIONS: dict[str, dict[str, Any]] = {
    "float32": {},
    "bf16": {"amp": "bf16"},
    "fp16 and its scaler": {"amp": "fp16"},
    "fp16, clipped": {"amp": "fp16", "clip_grad": 1.0},
    "micro-batches of 7": {"micro_batch": 7},
    "moving average": {"ema": 0.9},
    "mixup, cutmix and jitter": {"mixup": 0.2, "cutmix": 1.0, "color_jitter": 0.4},
    "adamw, bf16": {"optimizer": "adamw", "lr": 0.05, "amp": "bf16"},
    "rendered on the device": {"render": "device"},
    "all crops in one batch": {"stagger": 0},
    "compiled": {"compile": True},
    "compiled, bf16, micro-batches of two sizes": {
        "compile": True,
        "amp": "bf16",
        "micro_batch": 7,
    },
}


def every_setting(setting: Setting) -> Iterator[Finding]:
    """Train a few steps at each setting: the loss stays finite, and falls."""
    yield from _settings(setting, {k: v for k, v in OPTIONS.items() if "compile" not in v})


def every_compiled_setting(setting: Setting) -> Iterator[Finding]:
    """Train a few steps of a compiled student, with micro-batches of one size and of two."""
    if setting.tiny:
        yield Finding("too slow for a rehearsal")
        return
    yield from _settings(setting, {k: v for k, v in OPTIONS.items() if "compile" in v})


def _settings(setting: Setting, options: Mapping[str, dict[str, Any]]) -> Iterator[Finding]:
    for name, more in options.items():
        losses: list[Tensor] = []
        run = config(setting, setting.folder / "every", **more)
        run_folder = train_student(run, learner=partial(Noted, losses))
        scale = read_checkpoint(run_folder / "last.pt").trainer["scaler"].get("scale")
        figures = {
            "first loss": round(float(losses[0]), 3),
            "last loss": round(float(losses[-1]), 3),
            "scale of gradients": scale,
        }
        yield Finding(name, figures, setting.tiny or bool(losses[-1] < losses[0]))


def losses_of_the_cpu(setting: Setting) -> Iterator[Finding]:
    """Compare the losses of resnet18 in float32, without TF32, with those of the same run on the CPU."""
    torch.backends.cudnn.allow_tf32 = False
    student, seen = SMALL_STUDENT if setting.tiny else "resnet18", {}
    for device in ("cpu", setting.device_name):
        more = {
            "student": student,
            "lr": 0.1,
            "device": device,
            "steps": 3 if setting.tiny else 10,
        }
        collected: list[Tensor] = []
        train_student(
            config(setting, setting.folder / "like", **more), learner=partial(Noted, collected)
        )
        seen[device] = torch.stack([loss.cpu() for loss in collected])
    torch.backends.cudnn.allow_tf32 = True
    here, there = seen["cpu"], seen[setting.device_name]
    worst = float(((there - here) / here).abs().max())
    yield Finding(
        student,
        {"steps": len(here), "largest relative difference": f"{worst:.1e}"},
        worst < 1e-2,
    )
