"""Make the pictures of docs/pictures.md from short runs on images that the project renders itself.

A resnet18 is trained as the teacher, labels a few hundred images, and two students learn: one from the
store, one from the folder's classes on the same crops. `fkd show` and `fkd plot` draw the rest.
"""

import json
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import torch
from PIL import Image
from quickstart import Demo, draw_picture, last_top1, supervised

from fkd import (
    LabelConfig,
    Scheme,
    ShowConfig,
    TeacherChoice,
    TrainConfig,
    label_images,
    plot_runs,
    show_store,
    train_student,
)
from fkd.images import decode, list_images
from fkd.images.scenes import Scenes, render_dataset

SIZE, CROPS, CLASSES, PER_CLASS = 48, 8, 5, 80


@click.command()
@click.option("--out", default="docs/pictures", type=click.Path(path_type=Path), show_default=True)
@click.option(
    "--work", type=click.Path(path_type=Path), help="Keep all else here, and go on from it."
)
def main(out: Path, work: Path | None) -> None:
    """Render, train a teacher, label, train two students; write PNG files to --out."""
    with TemporaryDirectory() as temporary:
        make(out, work or Path(temporary))


def make(out: Path, work: Path) -> None:
    """Run everything in `work`; the pictures go to `out`."""
    data = work / "images"
    scenes = Scenes(classes=CLASSES, train_per_class=PER_CLASS, val_per_class=40)
    render_dataset(data, scenes)
    images, val = list_images(data / "train"), list_images(data / "val")
    pixels = [decode(images.file(i)) for i in range(len(images))]
    demo = Demo(size=SIZE, batch_size=32)
    if not (work / "teacher.pt").exists():
        teacher, _ = supervised(
            "resnet18",
            images,
            pixels,
            val,
            demo,
            0,
            20,
            demo.teacher_lr,
            demo.teacher_scale,
            "teacher",
        )
        torch.save(teacher.state_dict(), work / "teacher.pt")
    store = label_images(
        LabelConfig(
            images=data,
            teacher=TeacherChoice("resnet18", str(work / "teacher.pt"), size=SIZE),
            out=work / "labels.zarr",
            num_crops=CROPS,
            block_images=200,
        )
    )
    out.mkdir(parents=True, exist_ok=True)
    draw_picture(store, images, out / "store.png")
    shrink(out / "store.png")
    runs = [train(work, "stored labels", 0.0), train(work, "folder's classes", 1.0)]
    plot_runs(runs, out / "curves.png")
    page = show_store(ShowConfig(work / "labels.zarr", out=work / "show", samples=3, crops=4))
    for figure in sorted(page.parent.glob("*.png")):
        copy = shutil.copy(figure, out / f"show-{figure.name}")
        shrink(Path(copy))
    print(json.dumps({run.name: last_top1(run) for run in runs}))


def shrink(path: Path) -> None:
    """Write a picture anew with at most 128 colours, which takes a third of the bytes."""
    Image.open(path).convert("RGB").quantize(128).save(path, optimize=True)


def train(work: Path, name: str, hard_weight: float) -> Path:
    """Train one student; a hard weight of 1 is plain supervised training on the stored crops."""
    config = TrainConfig.from_recipe(
        "fkd",
        store=work / "labels.zarr",
        out=work / name,
        student="resnet18",
        crops_per_image=2,
        scheme=Scheme("topk", 5),
        epochs=8,
        eval_every=2,
        batch_size=32,
        lr=0.6,
        hard_weight=hard_weight,
        seed=1,
        resume=True,
    )
    return train_student(config)


if __name__ == "__main__":
    main()
