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
from fkd.progress import note

TOTAL = 480.0  # seconds
CHECKS: tuple[Check, ...] = (
    Check("right", "weights of the kernel", 20, pixels.weights_of_the_kernel),
    Check("right", "crops of all sizes", 30, pixels.crops_of_all_sizes),
    Check("right", "batches of a student", 20, pixels.batches_of_a_student),
    Check("right", "places that wait", 30, steps.places_that_wait),
    Check("right", "labels by precision", 30, pixels.labels_by_precision),
    Check("right", "every setting of training", 40, steps.every_setting),
    Check("right", "killed, and two processes", 60, processes.killed_and_shared),
    Check("right", "a stop and a resume", 40, steps.a_stop_and_a_resume),
    Check("right", "a compiled teacher", 30, pixels.a_compiled_teacher),
    Check("right", "the CPU's losses", 20, steps.losses_of_the_cpu),
    Check("right", "a full device", 20, steps.a_full_device),
    Check("label speed", "resnet50, compiled", 50, partial(label_rate, "resnet50", compiled=True)),
    Check("train speed", "resnet50, compiled", 80, partial(train_rate, "resnet50")),
    Check("loss", "sparse and dense", 10, losses),
    Check("label speed", "resnet152", 45, partial(label_rate, "resnet152", compiled=False)),
    Check("train speed", "resnet18, compiled", 60, partial(train_rate, "resnet18")),
    Check("label speed", "vit_b_16, compiled", 45, partial(label_rate, "vit_b_16", compiled=True)),
    Check("train speed", "rivals", 40, rivals),
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
    with tempfile.TemporaryDirectory() as name:
        folder, here = Path(name), Path(__file__)
        setting = Setting(
            folder, options["device"], options["tiny"], began + seconds, options["images"],
            teacher_of(options),
        )  # fmt: skip
        report: dict[str, Any] = {"about": about(setting), "checks": {}}
        with compiling(setting):
            for check, (rows, spent, trouble) in carried_out(here, CHECKS, chosen, setting):
                report["checks"][check.name] = {
                    "question": check.explained, "rows": rows, "seconds": spent, "trouble": trouble
                }  # fmt: skip
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
    known: dict[str, Any] = {"command": "python benchmarks/gpu.py " + " ".join(sys.argv[1:])}
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
def compiling(setting: Setting) -> Iterator[None]:
    """Let other processes compile what is timed compiled, into a cache that ours finds it in."""
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(setting.folder / "compiled")
    jobs = []
    if setting.on_cuda and not setting.tiny:
        command = [sys.executable, __file__, "--compile-one"]
        jobs = [
            subprocess.Popen(
                [*command, *one, str(setting.device)],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for one in COMPILED
        ]
    try:
        yield
    finally:
        for job in jobs:
            job.kill()
            job.wait()


def compile_one(role: str, name: str, device: str) -> None:
    """Compile a network as it will be asked for: the process that `compiling` starts."""
    from fkd.machine import place
    from fkd.models import build

    model = place(build(name, 20 if role == "teacher" else 1000, 224), torch.device(device))
    views = torch.rand(256, 3, 224, 224, device=device).contiguous(
        memory_format=torch.channels_last
    )
    compiled = torch.compile(model.train(role == "student"), dynamic=False)
    with torch.inference_mode(role == "teacher"), torch.autocast("cuda", torch.bfloat16):
        logits = compiled(views)
    if role == "student":
        logits.float().logsumexp(1).mean().backward()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--checks"]:
        run_checks(CHECKS, Path(sys.argv[2]), Path(sys.argv[3]))
    elif sys.argv[1:2] == ["--compile-one"]:
        compile_one(*sys.argv[2:])
    else:
        main()
