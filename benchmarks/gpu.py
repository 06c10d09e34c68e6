"""All that only a GPU can tell, in one run of at most eight minutes: `scripts/gpu`.

    python benchmarks/gpu.py --out docs/results
    python benchmarks/gpu.py --tiny --device cpu --out rehearsal

The checks run one after another, the most telling first, in a process of their own; some that time
nothing run beside others, in a second one. Each has a bound: one that hangs or crashes is noted, and the
next ones run in a new process. After every check `gpu.json` and `gpu.md` are written, so a run that is
cut off leaves what it had. What earlier runs into the same folder found is kept, but for the checks that
this one ends; where the code has changed since, it is said to be of earlier code. Networks that are timed
compiled are compiled by other processes meanwhile, into a cache that both share. `--images`, an image
folder with train and val, and `--teacher` make the last phase possible; nothing is downloaded.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import click

sys.path.append(str(Path(__file__).parent / "accuracy"))

import torch
import torchvision
from gpu_phases import beforehand, page, record
from gpu_phases.checks import CHECKS
from gpu_phases.findings import Setting
from gpu_phases.lanes import carried_out
from gpu_phases.runner import run_checks

from fkd import TeacherChoice
from fkd.progress import note

TOTAL = 480.0  # seconds


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
@click.option(
    "--missing", is_flag=True, help="Begin with what no run of this code into --out has ended."
)
@click.option(
    "--take", multiple=True, type=click.Path(path_type=Path, exists=True),
    help="Run nothing: add the findings of this gpu.json, of a run elsewhere, to those in --out.",
)  # fmt: skip
def main(
    out: Path,
    only: tuple[str, ...],
    seconds: float,
    missing: bool,
    take: tuple[Path, ...],
    **options: Any,
) -> None:
    """Run all checks, and write gpu.json and gpu.md into --out."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what it started ends with it
    began = time.time()
    chosen = [n for n, c in enumerate(CHECKS) if not only or any(word in c.name for word in only)]
    if take:
        print(page.page(taken(take, [CHECKS[n].name for n in chosen], out)))
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, here = Path(name), Path(__file__)
        setting = Setting(
            folder, options["device"], options["tiny"], began + seconds, options["images"],
            teacher_of(options),
        )  # fmt: skip
        head = about(setting)
        report = begun(out, head)
        if missing:
            left = record.missing(report)
            chosen.sort(key=lambda n: CHECKS[n].name not in left)
        with beforehand.preparing(here, setting):
            for check, (rows, spent, trouble) in carried_out(here, CHECKS, chosen, setting):
                entry = record.found(check, rows, spent, trouble)
                head["compiled beforehand"] = beforehand.compiled_so_far(folder)
                head["took"] = f"{time.time() - began:.0f} s"
                report = record.add(report, head, {check.name: entry})
                page.write(report, out)
                note(f"{check.name}: {spent:.0f} s{', ' + trouble if trouble else ''}")
    print(page.page(report))


def begun(out: Path, head: Mapping[str, Any]) -> record.Report:
    """Return what earlier runs into a folder found; a rehearsal must not go among what a GPU found."""
    known = read(out / "gpu.json")
    if known is None:
        return record.blank(head, CHECKS)
    if known["about"]["cuda"] != head["cuda"]:
        raise click.UsageError(
            f"{out}/gpu.json is of {known['about']['device']}, not of {head['device']}; "
            "choose another --out"
        )
    return known


def read(path: Path) -> record.Report | None:
    """Return what a gpu.json holds, None where there is none; refuse one that is damaged."""
    try:
        return record.known(path, CHECKS)
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def taken(paths: Sequence[Path], names: Sequence[str], out: Path) -> record.Report:
    """Add what runs elsewhere found of some checks, the oldest first, and write it."""
    others = [other for other in map(read, paths) if other is not None]
    if len({other["about"]["cuda"] for other in others}) > 1:
        raise click.UsageError("some of --take are of a GPU and some are rehearsals of a CPU")
    report = begun(out, others[0]["about"])
    for other in others:
        found = {name: other["checks"][name] for name in names}
        report = record.add(report, other["about"], found)
    page.write(report, out)
    return report


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
    command = record.plain(["python", "benchmarks/gpu.py", *sys.argv[1:]])
    known: dict[str, Any] = {"command": command}
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


if __name__ == "__main__":
    if sys.argv[1:2] == ["--checks"]:
        run_checks(CHECKS, Path(sys.argv[2]), Path(sys.argv[3]))
    elif sys.argv[1:2] == ["--render-one"]:
        beforehand.render_one(*sys.argv[2:])
    elif sys.argv[1:2] == ["--compile-one"]:
        beforehand.compile_one(*sys.argv[2:])
    else:
        main()
