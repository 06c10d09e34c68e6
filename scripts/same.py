"""Compare what two states of the code make of one image folder: each byte of a store, each loss of a run.

A store knows when it was made. That time and the signature over it are left out of the comparison. So is
what older code did not write and this code adds, and that alone, where the store of BASE has no such key:
who decoded JPEG files (`versions.decoder`), and how the package's own decoded (`probes.jpeg`).

Stores of this code are begun by its own spec, but with the format version and the sampler that the store
of BASE has, and then labelled on: so labels of the same views are compared, whatever BASE drew by.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]

# One thread sums in one order. No GPU is asked, since its sums may differ from run to run.
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}

TEACHER = "--teacher-weights none --size 32 --crops 6 --block 20 --batch-size 64"
STORES = {
    "sparse.zarr": f"--teacher squeezenet1_1 --teacher shufflenet_v2_x0_5 --compress topk3 {TEACHER}",
    "full.zarr": f"--teacher squeezenet1_1 --interpolation bicubic --compress full {TEACHER}",
}
# 96 steps, evaluated after 48: batch norm with momentum 0.1 has then forgotten its initial statistics,
# and is evaluated with its running ones.
STUDENT = "--student shufflenet_v2_x0_5 --batch-size 8 --epochs 16 --eval-every 8"
RUNS = {
    "plain": f"sparse.zarr --crops-per-image 2 --compress topk2 {STUDENT}",
    "mixed": f"full.zarr --crops-per-image 4 --stagger 1 --compress full --label-temperature 2 {STUDENT}"
    " --calibrate --hard-weight 0.3 --mixup 0.2 --cutmix 1 --color-jitter 0.4 --ema 0.9 --clip-grad 1"
    " --optimizer adamw --lr 0.01 --micro-batch 4",
}

# By attribute: the key in it that is newer than a BASE may be.
ADDED = {"versions": "decoder", "probes": "jpeg"}

HELP = """
from fkd.cli import main
main(["train", "--help"], standalone_mode=False)
"""

BEGIN = """
import sys
from dataclasses import replace
from pathlib import Path
from fkd import LabelStore
from fkd.images import ImageList
for name in sys.argv[1:]:
    new, was = LabelStore.open("new-" + name), LabelStore.open("../before/" + name).spec
    spec = replace(new.spec, sampler=was.sampler, format_version=was.format_version)
    targets, names = new.targets(), new.class_names()
    root = Path(spec.images_root)
    images = ImageList(root, new.image_paths(), targets, new.num_bytes(), names)
    LabelStore.create(Path(name), spec, images, targets, names)
"""

EACH = """
import json, sys
from fkd.cli import main
for command in json.loads(sys.argv[1]):
    main(command, standalone_mode=False)
"""


@click.command()
@click.argument("base")
def main(base: str) -> None:
    """Compare the commit BASE with this working tree; exit with 1 at the first difference."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_images(folder / "images")
        with checked_out(base, folder / "code") as code:
            make(code, folder / "before", as_base=False)
        make(ROOT, folder / "after", as_base=True)
        difference = first_difference(folder / "before", folder / "after")
    if difference is not None:
        raise click.ClickException(f"not as in {base}: {difference}")
    print(f"as in {base}: {len(STORES)} stores to the byte, {len(RUNS)} runs to the last loss")


def draw_images(folder: Path) -> None:
    """Write 48 images to label and 12 to evaluate on: coarse noise in the colour of its class."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        for channel, kind in enumerate(("blue", "green", "red")):
            (folder / split / kind).mkdir(parents=True)
            for number in range(count):
                height, width = rng.integers(5, 9, 2)
                pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
                pixels[..., 2 - channel] |= 128
                image = Image.fromarray(pixels).resize((int(width) * 8, int(height) * 8))
                image.save(folder / split / kind / f"{number:02}.jpg", quality=90)


@contextmanager
def checked_out(commit: str, folder: Path) -> Iterator[Path]:
    """Check a commit out into a folder for as long as the block runs."""
    git = ["git", "-C", str(ROOT), "worktree"]
    if subprocess.run([*git, "add", "--quiet", "--detach", str(folder), commit]).returncode:
        raise click.ClickException(f"{commit} cannot be checked out")
    try:
        yield folder
    finally:
        subprocess.run([*git, "remove", "--force", str(folder)], check=True)


def make(code: Path, out: Path, *, as_base: bool) -> None:
    """Label and train with the code of one tree, by its command line, in its own stores or as BASE."""
    out.mkdir()
    home = run_python(code, out, "import fkd; print(fkd.__file__)").strip()
    if not Path(home).is_relative_to(code.resolve()):
        raise click.ClickException(f"{home} would be run, which is not in {code}")
    print(f"label and train with the code {out.name}")
    where = ["--workers", "1", "--device", "cpu"]
    for prefix in ("new-", "") if as_base else ("",):
        commands = [
            ["label", "../images", "--out", prefix + store, *options.split(), *where]
            for store, options in STORES.items()
        ]
        run_python(code, out, EACH, json.dumps(commands))
        if prefix:
            run_python(code, out, BEGIN, *STORES)
    # Code without the option evaluates views of 32 px so.
    has_share = "--eval-crop" in run_python(code, out, HELP)
    seen = ["--eval-crop", "0.875"] if has_share else []
    commands = [
        ["train", *options.split(), "--out", run, *where, *seen] for run, options in RUNS.items()
    ]
    run_python(code, out, EACH, json.dumps(commands))


def run_python(code: Path, cwd: Path, program: str, *arguments: str) -> str:
    """Run a program in a process that finds `fkd` in a tree; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=cwd,
        env=os.environ | ENVIRONMENT | {"PYTHONPATH": str(code)},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise click.ClickException(f"the code in {code} failed:\n{done.stderr}")
    return done.stdout


def first_difference(before: Path, after: Path) -> str | None:
    """Name the first file, loss or weight that differs, or return None."""
    for store in STORES:
        names = [{p.relative_to(out) for p in (out / store).rglob("*")} for out in (before, after)]
        for path in sorted(names[0] | names[1]):
            if path not in names[0] & names[1]:
                return f"only one of the two makes {path}"
            if (before / path).is_file() and not same_content(before / path, after / path):
                return f"{path} has other bytes"
    for run in RUNS:
        old, new = (measured(out / run / "metrics.jsonl") for out in (before, after))
        for was, line in zip_longest(old, new):
            if line != was:
                return f"{run}/metrics.jsonl: {line} was {was}"
        old, new = (torch.load(out / run / "last.pt")["student"] for out in (before, after))
        for name in [*old, *new]:
            if name not in old or name not in new or not torch.equal(old[name], new[name]):
                return f"{run}/last.pt has other values of {name}"
    return None


def same_content(before: Path, after: Path) -> bool:
    """Return whether a store's file has the same bytes, but for the time and what is `ADDED`."""
    old, new = before.read_bytes(), after.read_bytes()
    if before.name != "zarr.json" or before.parent.suffix != ".zarr":
        return old == new
    was, group = json.loads(old), json.loads(new)
    for attribute, key in ADDED.items():
        if key not in was["attributes"]["fkd"].get(attribute, {}):
            group["attributes"]["fkd"].get(attribute, {}).pop(key, None)
    return timeless(was) == timeless(group)


def timeless(group: dict[str, Any]) -> str:
    """Return the metadata of a store as text, without the time when it was made or probes of nothing."""
    content = group["attributes"]["fkd"]
    del group["attributes"]["sha256"], content["created"]
    if not content.get("probes", True):
        del content["probes"]
    return json.dumps(group)


def measured(path: Path) -> list[dict[str, Any]]:
    """Return the lines of a run's metrics without what depends on the clock."""
    clock = ("views_per_s", "images_per_s", "data_wait")
    lines = map(json.loads, path.read_text("utf-8").splitlines())
    return [{key: value for key, value in line.items() if key not in clock} for line in lines]


if __name__ == "__main__":
    main()
