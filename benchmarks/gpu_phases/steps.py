"""Right, part 2: steps of training at every setting, what waits, and a device that is full."""

import os
import shutil
import signal
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fkd import (
    FkdError,
    LabelConfig,
    Scheme,
    TeacherChoice,
    TrainConfig,
    label_images,
    train_student,
)
from fkd.config import Weighed
from fkd.errors import Stopped
from fkd.loader import StudentBatch
from fkd.students import read_checkpoint
from fkd.training import Learner

from .findings import Finding, Setting
from .pixels import labelled
from .small_models import SMALL_STUDENT, SMALL_TEACHER

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


def config(setting: Setting, run: Path, **more: Any) -> TrainConfig:
    """Return a short run of a small student on the pictures; `steps` of 20 views."""
    store = labelled(setting)
    steps = more.pop("steps", 3 if setting.tiny else 30)
    shutil.rmtree(run, ignore_errors=True)
    settings = {
        "store": store.path, "images": setting.pictures(), "out": run, "student": SMALL_STUDENT,
        "crops_per_image": 2, "scheme": Scheme("topk", 3), "batch_size": 20, "lr": 5.0,
        "epochs": steps * 20 / store.spec.num_images, "eval_every": 1e6,
        "device": setting.device_name,
    }  # fmt: skip
    return TrainConfig.from_recipe("fkd", **(settings | more))


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
        run_folder = train_student(run, learner=partial(_Noted, losses))
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
            config(setting, setting.folder / "like", **more), learner=partial(_Noted, collected)
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


class _Noted(Learner):
    """Keeps the loss of every step."""

    def __init__(self, losses: list[Tensor], *course: Any) -> None:
        super().__init__(*course)
        self._losses_seen = losses

    def step(
        self, batch: StudentBatch, step: int, *, lr: float, terms: Sequence[Weighed]
    ) -> Tensor:
        loss = super().step(batch, step, lr=lr, terms=terms)
        self._losses_seen.append(loss)
        return loss


def a_stop_and_a_resume(setting: Setting) -> Iterator[Finding]:
    """Stop a run by SIGTERM, go on, and compare the weights with two undisturbed runs' of resnet18.

    Where the two differ too, the device's own kernels are not deterministic; then the same once more
    with `torch.use_deterministic_algorithms`.
    """
    for deterministic in (False, True):
        if deterministic:
            os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
            torch.use_deterministic_algorithms(True, warn_only=True)
        with warnings.catch_warnings(record=True) as raised:
            warnings.simplefilter("always")
            one, two, resumed = _three_runs(setting)
        torch.use_deterministic_algorithms(False)
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        refused = {str(w.message).split(" ")[0] for w in raised if "determinis" in str(w.message)}
        noise, apart = weights_apart(one, two), weights_apart(one, resumed)
        figures = {
            "undisturbed runs differ by": f"{noise:.1e}",
            "the resumed one by": f"{apart:.1e}",
            "not deterministic": ", ".join(sorted(refused)) or None,
        }
        name = "deterministic algorithms" if deterministic else "as users run it"
        yield Finding(name, figures, apart <= 2 * noise if deterministic or setting.tiny else None)
        if setting.tiny:
            return


def _three_runs(setting: Setting) -> list[Path]:
    student = SMALL_STUDENT if setting.tiny else "resnet18"
    runs = [setting.folder / f"stop-{n}" for n in range(3)]
    steps = 6 if setting.tiny else 20
    more = {"student": student, "amp": "bf16", "steps": steps, "ema": 0.9, "mixup": 0.2, "lr": 0.5}
    for run in runs[:2]:
        train_student(config(setting, run, **more))
    stopped = config(setting, runs[2], **more, resume=True)
    try:
        train_student(stopped, learner=partial(_Interrupted, steps // 2))
    except Stopped:
        train_student(stopped)
        return runs
    raise FkdError("the run was not stopped")


class _Interrupted(Learner):
    """Gets SIGTERM in a step, as from a machine that is about to go away."""

    def __init__(self, at: int, *course: Any) -> None:
        super().__init__(*course)
        self._at = at

    def step(
        self, batch: StudentBatch, step: int, *, lr: float, terms: Sequence[Weighed]
    ) -> Tensor:
        if step == self._at:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().step(batch, step, lr=lr, terms=terms)


def weights_apart(one: Path, other: Path) -> float:
    """Return the largest difference of two runs' last weights."""
    mine, theirs = (read_checkpoint(run / "last.pt").student.values() for run in (one, other))
    pairs = zip(mine, theirs, strict=True)
    return max(float((a.double() - b.double()).abs().max()) for a, b in pairs)


def places_that_wait(setting: Setting) -> Iterator[Finding]:
    """Count where the CPU waits for the device once more with each batch, in labelling and in training.

    Each task runs with some batches and with more; a place that waits as much more often is in the loop.
    """
    tasks: dict[str, Callable[[int], int]] = {
        "label, threads render": lambda n: _label(setting, n, render="cpu"),
        "label, the device renders": lambda n: _label(setting, n, render="device"),
        "train, threads render": lambda n: _train(setting, n, render="cpu"),
        "train, the device renders": lambda n: _train(setting, n, render="device", stagger=0),
        "train, all options": lambda n: _train(setting, n, **ALL_OPTIONS),
        "train, fp16": lambda n: _train(setting, n, amp="fp16"),
    }
    sizes = (2, 3) if setting.tiny else (4, 12)
    for name, task in tasks.items():
        if setting.on_cuda:
            task(sizes[0])  # what is made once is made
        (batches, few), (more_batches, many) = (_waits(setting, task, n) for n in sizes)
        grown = many - few
        often = {place: n for place, n in grown.items() if n >= 0.5 * (more_batches - batches)}
        figures = {
            "beside the loop": few.total(),
            f"more with {more_batches - batches} more batches": ", ".join(
                f"{place} × {n}" for place, n in sorted(often.items())
            )
            or "none",
        }
        yield Finding(name, figures, not often)


ALL_OPTIONS: dict[str, Any] = {
    "ema": 0.9, "mixup": 0.2, "color_jitter": 0.4, "clip_grad": 1.0, "amp": "bf16", "micro_batch": 7,
}  # fmt: skip


def _waits(setting: Setting, task: Callable[[int], int], size: int) -> tuple[int, "Counter[str]"]:
    """Return how many batches a task had, and how often each line of code waited."""
    if setting.on_cuda:
        torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("always")
        batches = task(size)
    if setting.on_cuda:
        torch.cuda.set_sync_debug_mode("default")
    places = (w for w in raised if "synchroniz" in str(w.message))
    lines = (f"{Path(w.filename).parent.name}/{Path(w.filename).name}:{w.lineno}" for w in places)
    return batches, Counter(lines)


def _label(setting: Setting, crops: int, **more: Any) -> int:
    teacher, out = TeacherChoice(SMALL_TEACHER, size=32), setting.folder / "waits.zarr"
    batch_size = 16 if setting.tiny else 64
    store = label_images(
        LabelConfig(
            setting.pictures(), teacher, out, crops, batch_size=batch_size,
            device=setting.device_name, overwrite=True, **more,
        )
    )  # fmt: skip
    return store.spec.num_images * crops // batch_size


def _train(setting: Setting, steps: int, **more: Any) -> int:
    train_student(config(setting, setting.folder / "waits", steps=steps, **more))
    return steps


def a_full_device(setting: Setting) -> Iterator[Finding]:
    """Run out of memory: one line must say what to do."""
    if not setting.on_cuda:
        yield Finding("only a GPU can be made small", {})
        return
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(0.005)
    try:
        yield from _out_of_memory(setting)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def _out_of_memory(setting: Setting) -> Iterator[Finding]:
    labels = LabelConfig(
        setting.pictures(), TeacherChoice("resnet50", "none", size=224), setting.folder / "full.zarr",
        8, batch_size=2048, device=setting.device_name, render="cpu",
    )  # fmt: skip
    big = {
        "student": "resnet50",
        "batch_size": 800,
        "micro_batch": 800,
        "steps": 2,
        "render": "cpu",
    }
    run = config(setting, setting.folder / "full", **big)
    tasks: dict[str, Callable[[], object]] = {
        "label": lambda: label_images(labels),
        "train": lambda: train_student(run),
    }
    for name, task in tasks.items():
        try:
            task()
            said = "nothing: it had room"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        named = (
            said.startswith("FkdError")
            and {"label": "--batch-size", "train": "--micro-batch"}[name] in said
        )
        yield Finding(name, {"said": said}, named)
