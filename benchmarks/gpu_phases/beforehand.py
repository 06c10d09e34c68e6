"""What other processes do while checks run: they draw photos, and compile networks that are timed."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from fkd.machine import place
from fkd.models import build

from .findings import Setting, rendered

COMPILED = [("teacher", "resnet50"), ("student", "resnet50"), ("student", "resnet18")]
COMPILED += [("teacher", "vit_b_16")]


@contextmanager
def preparing(script: Path, setting: Setting) -> Iterator[None]:
    """Let other processes render photos, and compile what is timed into a cache that is shared.

    `script` is started with `--render-one` or `--compile-one`, and calls the function of that name.
    """
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(setting.folder / "cache")
    jobs = []
    if setting.on_cuda and not setting.tiny:
        asked = [["--render-one", "pictures"], ["--render-one", "photos"]]
        asked += [["--compile-one", *one] for one in COMPILED]
        for words in asked:
            mark = setting.folder / f"{'-'.join(words[1:])}.{MARKS[words[0]]}"
            mark.touch()
            with mark.with_suffix(".log").open("w") as log:
                command = [sys.executable, str(script), *words, str(mark), str(setting.device)]
                jobs.append(subprocess.Popen(command, stdout=log, stderr=log))
    try:
        yield
    finally:
        for job in jobs:
            job.kill()
            job.wait()


MARKS = {"--render-one": "making", "--compile-one": "compiling"}


def render_one(name: str, mark: str, device: str) -> None:
    """Render a folder of pictures: a process that `preparing` starts."""
    making = Path(mark)
    setting = Setting(making.parent, device, False, 0.0)
    try:
        scenes = {"pictures": setting.small_scenes, "photos": setting.photo_scenes}[name]()
        aside = setting.folder / f"{name}.partial"
        rendered(scenes)(aside)
        aside.rename(setting.folder / name)
    finally:
        making.unlink()


def compile_one(role: str, name: str, mark: str, device: str) -> None:
    """Compile a network as it will be asked for: a process that `preparing` starts."""
    compiling, began = Path(mark), time.perf_counter()
    try:
        model = place(build(name, 10 if role == "teacher" else 1000, 224), torch.device(device))
        views = torch.rand(256, 3, 224, 224, device=device)
        views = views.contiguous(memory_format=torch.channels_last)
        compiled = torch.compile(model.train(role == "student"), dynamic=False)
        with torch.inference_mode(role == "teacher"), torch.autocast("cuda", torch.bfloat16):
            logits = compiled(views)
        if role == "student":
            logits.float().logsumexp(1).mean().backward()
        seconds = f"{time.perf_counter() - began:.0f}"
        compiling.with_suffix(".seconds").write_text(seconds)
    finally:
        compiling.unlink()


def compiled_so_far(folder: Path) -> str:
    """Name what was compiled in other processes, and its seconds or the last word of one that failed."""
    known = {path.stem: f"{path.read_text()} s" for path in sorted(folder.glob("*.seconds"))}
    for path in sorted(folder.glob("*-*.log")):
        lines = path.read_text(errors="replace").strip().splitlines()
        if path.stem not in known and lines and path.stem.split("-")[0] in ("teacher", "student"):
            known[path.stem] = lines[-1][-200:]
    return ", ".join(f"{name} {value}" for name, value in known.items()) or "nothing"
