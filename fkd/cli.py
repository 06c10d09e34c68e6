"""The command line: parses, calls one function a command, prints. Nothing here loads torch early."""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from fkd.config import (
    AMPS,
    INTERPOLATIONS,
    RENDERS,
    Engine,
    LabelConfig,
    Scheme,
    TeacherChoice,
    TrainConfig,
    ViewPolicy,
)
from fkd.errors import ConfigError, FkdError

F = TypeVar("F", bound=Callable[..., Any])

_PATH = click.Path(path_type=Path)
_CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
_RANK = os.environ.get("RANK", "0")  # of the processes that torchrun starts, one reports
_LABEL = {f.name: f.default for f in fields(LabelConfig)}
_TRAIN = {f.name: f.default for f in fields(TrainConfig)}


class _Errors(click.Group):
    """Turns whatever a user can mend into one line on stderr and exit code 2; nothing else does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            _refuse_usage(error)

    def invoke(self, ctx: click.Context) -> Any:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _refuse_usage(error)
        except FkdError as error:
            _refuse(str(error))
        except KeyboardInterrupt:
            go_on = _GO_ON.get(ctx.invoked_subcommand or "", "")
            if _RANK != "0":
                sys.exit(130)
            click.echo(f"fkd: {ctx.invoked_subcommand} was stopped.{go_on}", err=True)
            sys.exit(130)


def _refuse_usage(error: click.UsageError) -> NoReturn:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        raise error
    command = f"fkd {error.ctx.info_name}" if error.ctx and error.ctx.parent else "fkd"
    _refuse(f"{error.format_message().rstrip('.')}; see `{command} --help`")


def _refuse(message: str) -> NoReturn:
    click.echo("fkd: error: " + " ".join(message.split("\n")), err=True)
    sys.exit(2)


_GO_ON = {
    "label": " Finished blocks are kept; it goes on where it was when the same command is run again.",
    "train": " Its run folder keeps the checkpoints of the evaluations so far.",
}


@click.group(cls=_Errors, context_settings={"max_content_width": 100, "show_default": True})
@click.version_option(package_name="fkd")
def main() -> None:
    """Fast knowledge distillation: label every crop once, train students without a teacher.

    \b
    fkd label --teacher resnet152 --crops 200 imagenet/
    fkd train --crops-per-image 4 --compress topk5
    """


def _machine(command: F) -> F:
    """Add the options that say where the work is done."""
    command = click.option("--workers", default=_CORES, help="Threads that decode and render.")(
        command
    )
    return click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps.")(command)


def _input(command: F) -> F:
    """Add the options that say how views come about."""
    return click.option(
        "--render",
        type=click.Choice(RENDERS),
        default="auto",
        help="Who renders crops, to the same pixels: CPU threads or the device. auto is the device only "
        "for a CUDA GPU with fewer than 3 workers.",
    )(command)


def _engine(command: F) -> F:
    """Add the options that say how a model is run."""
    command = click.option("--compile", is_flag=True, help="Run the model through torch.compile.")(
        command
    )
    return click.option(
        "--amp", type=click.Choice(AMPS), default="off", help="Autocast precision of the model."
    )(command)


@main.command()
@click.argument("images", type=_PATH)
@click.option(
    "--teacher",
    multiple=True,
    required=True,
    help="A torchvision model, timm:NAME, a .pt2 or TorchScript file, or package.module:function. Given "
    "several times, the probabilities are averaged; the options of teachers are then given once for "
    "all, or once for each.",
)
@click.option(
    "--teacher-weights",
    multiple=True,
    default=["default"],
    help="default (the library's download), none (random), or a state-dict file.",
)
@click.option(
    "--teacher-classes",
    multiple=True,
    type=_PATH,
    help="File with one class name per teacher output, in order; maps folder names to outputs.",
)
@click.option(
    "--all-classes",
    is_flag=True,
    help="Keep all outputs where the folder has fewer classes; default: restrict the logits.",
)
@click.option("--crops", default=_LABEL["num_crops"], help="Stored crops per image, M.")
@click.option("--out", default=_LABEL["out"], type=_PATH, help="The label store to make.")
@click.option("--compress", default="topk10", help="What is stored: full, hard, smooth or topkK.")
@click.option("--seed", default=0, help="Seed of boxes and flips.")
@click.option(
    "--size", multiple=True, type=int, help="Side of a crop in pixels  [default: the weights' own]"
)
@click.option(
    "--scale", nargs=2, type=float, default=(0.08, 1.0), help="Crop area, share of the image."
)
@click.option(
    "--ratio", nargs=2, type=float, default=(3 / 4, 4 / 3), help="Crop width over height."
)
@click.option(
    "--mean",
    nargs=3,
    multiple=True,
    type=float,
    help="Normalisation, R G B  [default: the weights' own]",
)
@click.option(
    "--std",
    nargs=3,
    multiple=True,
    type=float,
    help="Normalisation, R G B  [default: the weights' own]",
)
@click.option(
    "--interpolation",
    multiple=True,
    type=click.Choice(INTERPOLATIONS),
    help="Resampling  [default: the weights' own]",
)
@click.option("--temperature", default=1.0, help="Divides the teacher's logits before the softmax.")
@click.option("--batch-size", default=_LABEL["batch_size"], help="Views a batch, whatever M is.")
@click.option(
    "--block", type=int, help="Images committed together  [default: 256 to 4096, by size]"
)
@click.option("--max-bad", default=0.01, help="Share of unusable images above which to stop.")
@click.option("--overwrite", is_flag=True, help="Start anew instead of continuing a store.")
@click.option(
    "--dry-run", is_flag=True, help="Measure on a few images what the run would take, and stop."
)
@_engine
@_input
@_machine
def label(images: Path, **options: Any) -> None:
    """Label M crops of every image in IMAGES with a teacher, once, into a store.

    IMAGES is an image folder with one subfolder per class; IMAGES/train is used where it exists. A
    store that is there already is continued: finished blocks are not labelled again.

    \b
    Example: fkd label --teacher resnet152 --crops 200 imagenet/
    On 8 GPUs: torchrun --nproc-per-node 8 -m fkd label --teacher resnet152 --crops 200 imagenet/
    """
    config = LabelConfig(
        images=images,
        teacher=_teachers(options),
        out=options["out"],
        num_crops=options["crops"],
        views=ViewPolicy(options["seed"], options["scale"], options["ratio"]),
        scheme=Scheme.parse(options["compress"]),
        temperature=options["temperature"],
        batch_size=options["batch_size"],
        workers=options["workers"],
        device=options["device"],
        block_images=options["block"],
        max_bad=options["max_bad"],
        overwrite=options["overwrite"],
        engine=Engine(options["amp"], options["compile"]),
        render=options["render"],
    )
    if options["dry_run"]:
        from fkd.dryrun import estimate_run

        for name, text in estimate_run(config).lines():
            click.echo(f"{name:<9} {text}")
        return
    from fkd.info import bad_images, bytes_per_crop
    from fkd.label import label_images

    store = label_images(config)
    if _RANK != "0":
        return
    for path, reason in bad_images(store):
        click.echo(f"no labels for {path}: {reason}", err=True)
    spec = store.spec
    click.echo(
        f"{config.out}: {spec.num_images:,} images × {spec.num_crops} crops, {spec.scheme}, "
        f"{bytes_per_crop(store)['total']:.1f} bytes per crop"
    )


def _teachers(options: dict[str, Any]) -> tuple[TeacherChoice, ...]:
    """Pair each --teacher with its options, which are given once for all or once for each."""
    count = len(options["teacher"])

    def each(name: str) -> list[Any]:
        given = options[name]
        if count == 1:
            return [given[-1] if given else None]  # of an option that is repeated, the last counts
        if len(given) not in (0, 1, count):
            raise ConfigError(
                f"--{name.replace('_', '-')} is given {len(given)} times for {count} teachers; give it "
                "once, or once for each --teacher in order"
            )
        return list(given) if len(given) == count else [*given, None][:1] * count

    own = zip(
        options["teacher"],
        each("teacher_weights"),
        each("teacher_classes"),
        each("size"),
        each("mean"),
        each("std"),
        each("interpolation"),
        strict=True,
    )
    return tuple(
        TeacherChoice(
            name, weights, classes, options["all_classes"], size, mean, std, interpolation
        )
        for name, weights, classes, size, mean, std, interpolation in own
    )


@main.command()
@click.argument("store", type=_PATH, default=_TRAIN["store"])
@click.option("--images", type=_PATH, help="The labelled images  [default: where the store says]")
@click.option("--val", type=_PATH, help="Folder to evaluate on  [default: val beside train]")
@click.option("--out", type=_PATH, help="Run folder  [default: runs/STUDENT-SCHEME-mM-NUMBER]")
@click.option("--student", default=_TRAIN["student"], help="A torchvision classification model.")
@click.option(
    "--crops-per-image",
    default=_TRAIN["crops_per_image"],
    help="Stored crops used per decoded image, m; one pass counts m epochs.",
)
@click.option(
    "--compress",
    default="topk5",
    help="How labels are read: full, hard, smooth, topkK (re-norm) or topkK-smooth.",
)
@click.option(
    "--label-temperature",
    default=1.0,
    help="Re-tempers the stored labels: exact for full; for topkK the classes that were not kept "
    "share the residual evenly. 1 reads them as they are.",
)
@click.option(
    "--epochs", default=300.0, help="Length; an epoch is as many views as there are images."
)
@click.option("--batch-size", default=_TRAIN["batch_size"], help="Views a step, a multiple of m.")
@click.option("--micro-batch", type=int, help="Views at a time on the device; gradients add up.")
@click.option("--lr", default=_TRAIN["lr"], help="Rate at 1024 views a step; linear in the batch.")
@click.option("--momentum", default=_TRAIN["momentum"])
@click.option("--weight-decay", default=_TRAIN["weight_decay"])
@click.option("--warmup-epochs", default=0.0, help="Linear warm-up before the cosine.")
@click.option(
    "--hard-weight",
    default=0.0,
    help="Share of the loss on the folder's class; 1 is plain supervised training.",
)
@click.option("--eval-every", type=float, help="Epochs between evaluations  [default: m]")
@click.option("--mean", nargs=3, type=float, default=_TRAIN["mean"], help="Student input, R G B.")
@click.option("--std", nargs=3, type=float, default=_TRAIN["std"], help="Student input, R G B.")
@click.option("--seed", default=0, help="Seed of initial weights and image order.")
@_input
@_machine
def train(**options: Any) -> None:
    """Train a student on the crops and soft labels of STORE (default labels.zarr), without a teacher.

    \b
    Example: fkd train --crops-per-image 4 --compress topk5
    """
    options["scheme"] = Scheme.parse(options.pop("compress"))
    config = TrainConfig(**options)
    from fkd.train import train_student

    run = train_student(config)
    click.echo(f"{run}: config.json, metrics.jsonl, last.pt, best.pt")


@main.command(name="eval")
@click.argument("checkpoint", type=_PATH)
@click.argument("folder", type=_PATH)
@click.option("--batch-size", default=128, help="Images at a time.")
@_machine
def evaluate(checkpoint: Path, folder: Path, batch_size: int, workers: int, device: str) -> None:
    """Print top-1 and top-5 of CHECKPOINT on FOLDER, an image folder (or on FOLDER/val).

    \b
    Example: fkd eval runs/resnet50-topk5-m4-1/best.pt imagenet/val
    """
    from fkd.evaluate import evaluate_checkpoint

    accuracy = evaluate_checkpoint(
        checkpoint, folder, batch_size=batch_size, workers=workers, device=device
    )
    click.echo(
        f"top-1 {accuracy.top1:.2%}  top-5 {accuracy.top5:.2%}  loss {accuracy.loss:.4f}  "
        f"({accuracy.num_images:,} images, {accuracy.num_unusable:,} unusable)"
    )


@main.command()
@click.argument("store", type=_PATH, default=_TRAIN["store"])
def info(store: Path) -> None:
    """Say on one screen what STORE (default labels.zarr) holds.

    \b
    Example: fkd info labels.zarr
    """
    from fkd.info import describe

    for name, text in describe(store):
        click.echo(f"{name:<9} {text}")
