"""All that only a GPU can tell, in one run of at most eight minutes: `scripts/gpu`.

    python benchmarks/gpu.py --out docs/results
    python benchmarks/gpu.py --tiny --device cpu --out rehearsal

The checks run one after another, the most telling first, in a process of their own. Each has a bound: one
that hangs or crashes is noted, and the next ones run in a new process. After every check `gpu.json` and
`gpu.md` are written, so a run that is cut off leaves what it had. Networks that are timed compiled are
compiled by other processes meanwhile, into a cache that both share. `--images`, an image folder with
train and val, and `--teacher` make the last phase possible; nothing is downloaded.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

import click

sys.path.append(str(Path(__file__).parent / "accuracy"))

import torch
import torchvision
from gpu_phases import page, pixels, processes, steps, worth
from gpu_phases.findings import Check, Setting
from gpu_phases.label_rates import label_rate
from gpu_phases.runner import carried_out, run_checks
from gpu_phases.train_rates import losses, rivals, train_rate

from fkd import TeacherChoice
from fkd.examples.scenes import render_dataset
from fkd.progress import note

TOTAL = 480.0  # seconds
CHECKS: tuple[Check, ...] = (
    Check("right", "weights of the kernel", 20, pixels.weights_of_the_kernel),
    Check("right", "crops of all sizes", 30, pixels.crops_of_all_sizes),
    Check("right", "batches of a student", 30, pixels.batches_of_a_student),
    Check("right", "places that wait", 40, steps.places_that_wait),
    Check("right", "labels by precision", 30, pixels.labels_by_precision),
    Check("label speed", "resnet50, compiled", 70, partial(label_rate, "resnet50", compiled=True)),
    Check("train speed", "resnet50, compiled", 80, partial(train_rate, "resnet50")),
    Check("right", "every setting of training", 40, steps.every_setting),
    Check("right", "killed, and two processes", 60, processes.killed_and_shared),
    Check("right", "a stop and a resume", 40, steps.a_stop_and_a_resume),
    Check("right", "a full device", 20, steps.a_full_device),
    Check("right", "the CPU's losses", 20, steps.losses_of_the_cpu),
    Check("loss", "sparse and dense", 10, losses),
    Check("label speed", "resnet152", 45, partial(label_rate, "resnet152", compiled=False)),
    Check("train speed", "resnet18, compiled", 60, partial(train_rate, "resnet18")),
    Check("label speed", "vit_b_16, compiled", 45, partial(label_rate, "vit_b_16", compiled=True)),
    Check("train speed", "rivals", 40, rivals),
    Check("right", "a compiled teacher", 30, pixels.a_compiled_teacher),
    Check("right", "compiled settings", 60, steps.every_compiled_setting),
    Check("worth", "students", 150, worth.students),
)
COMPILED = [("teacher", "resnet50"), ("student", "resnet50"), ("student", "resnet18")]
COMPILED += [("teacher", "vit_b_16")]


@click.command()
@click.option("--out", default="docs/results", type=click.Path(path_type=Path), show_default=True)
@click.option("--device", default="auto", show_default=True)
@click.option("--tiny", is_flag=True, help="A rehearsal: the same checks on next to nothing.")
@click.option("--seconds", default=TOTAL, show_default=True, help="A bound on all of it.")
@click.option("--images", type=click.Path(path_type=Path, exists=True), help="For the last phase.")
@click.option("--teacher", help="Its model, such as mobilenet_v2.")
@click.option("--teacher-weights", default="default", show_default=True)
@click.option("--teacher-classes", type=click.Path(path_type=Path, exists=True))
@click.option("--mean", nargs=3, type=float, help="What the teacher's input is normalised with.")
@click.option("--std", nargs=3, type=float)
@click.option("--only", multiple=True, help="Run only checks whose name contains this.")
def main(out: Path, only: tuple[str, ...], seconds: float, **options: Any) -> None:
    """Run all checks, and write gpu.json and gpu.md into --out."""
    began = time.time()
    chosen = [n for n, c in enumerate(CHECKS) if not only or any(word in c.name for word in only)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, here = Path(name), Path(__file__)
        setting = Setting(
            folder, options["device"], options["tiny"], began + seconds, options["images"],
            teacher_of(options),
        )  # fmt: skip
        report: dict[str, Any] = {"about": about(setting), "checks": {}}
        with preparing(setting):
            for check, (rows, spent, trouble) in carried_out(here, CHECKS, chosen, setting):
                report["checks"][check.name] = {
                    "question": check.explained, "rows": rows, "seconds": spent, "trouble": trouble
                }  # fmt: skip
                report["about"]["compiled beforehand"] = compiled_so_far(folder)
                report["about"]["took"] = f"{time.time() - began:.0f} s"
                page.write(report, out)
                note(f"{check.name}: {spent:.0f} s{', ' + trouble if trouble else ''}")
    print(page.page(report))


def teacher_of(options: Mapping[str, Any]) -> TeacherChoice | None:
    """Return the teacher that was given, if one was."""
    if not options["teacher"]:
        return None
    return TeacherChoice(
        options["teacher"],
        options["teacher_weights"],
        options["teacher_classes"],
        mean=options["mean"] or None,
        std=options["std"] or None,
    )


def about(setting: Setting) -> dict[str, Any]:
    """Say what all figures depend on."""
    device = setting.device
    words = [Path(word).name if word.startswith("/") else word for word in sys.argv[1:]]
    known: dict[str, Any] = {"command": " ".join(["python benchmarks/gpu.py", *words])}
    known["cuda"] = device.type == "cuda"
    known["device"] = str(device)
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        known["device"] = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        done = subprocess.run(query, capture_output=True, text=True, check=False)
        known["driver"] = f"{done.stdout.strip()}, CUDA {torch.version.cuda}"
    known["processor"] = f"{os.cpu_count()} cores"
    known["versions"] = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    known["date"] = date.today().isoformat()
    return known


@contextmanager
def preparing(setting: Setting) -> Iterator[None]:
    """Let other processes render photos, and compile what is timed into a cache that is shared."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(setting.folder / "cache")
    jobs = []
    if setting.on_cuda and not setting.tiny:
        asked = [["--render-one", "pictures"], ["--render-one", "photos"]]
        asked += [["--compile-one", *one] for one in COMPILED]
        for words in asked:
            mark = setting.folder / f"{'-'.join(words[1:])}.{MARKS[words[0]]}"
            mark.touch()
            with mark.with_suffix(".log").open("w") as log:
                command = [sys.executable, __file__, *words, str(mark), str(setting.device)]
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
        render_dataset(aside, scenes, workers=2)
        aside.rename(setting.folder / name)
    finally:
        making.unlink()


def compile_one(role: str, name: str, mark: str, device: str) -> None:
    """Compile a network as it will be asked for: a process that `preparing` starts."""
    from fkd.machine import place
    from fkd.models import build

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


if __name__ == "__main__":
    if sys.argv[1:2] == ["--checks"]:
        run_checks(CHECKS, Path(sys.argv[2]), Path(sys.argv[3]))
    elif sys.argv[1:2] == ["--render-one"]:
        render_one(*sys.argv[2:])
    elif sys.argv[1:2] == ["--compile-one"]:
        compile_one(*sys.argv[2:])
    else:
        main()
