"""`fkd train`."""

from functools import partial
from typing import Any

import click

from fkd.cli.options import (
    ALONE,
    PATH,
    RANK,
    RGB,
    STORE,
    engine,
    machine,
    rendering,
    setting,
    told_once,
)
from fkd.cli.process import note_dry_run
from fkd.cli.recipes import LossText, RecipeName, train_config
from fkd.cli.sections import Sectioned
from fkd.config import (
    BN_STATS,
    INTERPOLATIONS,
    LOGS,
    LR_SCHEDULES,
    OPTIMIZERS,
    TrainConfig,
)
from fkd.errors import ConfigError
from fkd.progress import note_lines

_DEFAULTS = TrainConfig().settings()
_setting = partial(setting, _DEFAULTS)


_SECTIONS = {
    "--images": "Files",
    "--recipe": "Recipe and student",
    "--crops-per-image": "Crops and labels",
    "--epochs": "Length and batches",
    "--optimizer": "Optimizer",
    "--loss": "Loss",
    "--min-confidence": "Selection of crops",
    "--mixup": "Augmentation",
    "--ema": "Averages over steps and processes",
    "--eval-every": "Evaluation and checkpoints",
    "--mean": "Input and seed",
    "--amp": "Machine",
}


@click.command(
    cls=Sectioned,
    sections=_SECTIONS,
    short_help="Train a student from a store, without a teacher.",
)
@click.argument("store", type=STORE, default=_DEFAULTS["store"])
@click.option("--images", type=PATH, help="The labelled images  [default: where the store says]")
@click.option("--drop-missing", is_flag=True, help="Leave labelled images out that are gone.")
@click.option(
    "--subset",
    metavar="FILE|SHARE",
    help="Train on a part of the images: a share (0.1 or 10%), of each class where images have classes, "
    "or a file with one image a line. Shares are drawn by the images' names, as `fkd label --subset` "
    "draws them.",
)
@click.option(
    "--classes",
    type=PATH,
    help="Train on the images of the classes in this file, one a line; the student keeps all outputs.",
)
@click.option(
    "--val",
    type=PATH,
    help="Folder to evaluate on, or none  [default: val beside train, as far as its classes are known]",
)
@click.option(
    "--out",
    type=PATH,
    help="Run folder  [default: runs/STUDENT-SCHEME-mM-NUMBER, with "
    "vectors for SCHEME where the store has no labels]",
)
@click.option(
    "--resume",
    is_flag=True,
    help="Go on with the run in --out, or with the newest of its name, by its own settings; a run that "
    "is not there begins.",
)
@click.option(
    "--recipe",
    type=RecipeName(),
    help="Settings by the name of a recipe of the field (fkd-vit, hinton, dist …, see docs/recipes.md), "
    "from a .toml file, or from the folder of a run, to repeat it. Options that are given come before "
    "them; of epochs that are given a recipe's own warm-up takes at most a quarter.  [default: fkd]",
)
@click.option(
    "--dry-run",
    is_flag=True,
    callback=note_dry_run,
    help="Print the settled recipe and where each value comes from, and say what a run would take, by a "
    "few steps that are not kept; write nothing.",
)
@_setting(
    "--student",
    "A torchvision model, timm:NAME, or package.module:function: a classifier, for a store of maps a "
    "segmentation model or a backbone of timm, for one of lines a function, such as fkd.models:crnn. "
    "Several, an option each, see the same views and learn from each other; the first decides what is "
    'best. A table says more of one: \'{name="b", model="resnet18", init="b.pth"}\'.',
    str,
    multiple=True,
    callback=lambda ctx, param, value: value or None,
    metavar="NAME|TABLE",
)
@click.option(
    "--init",
    help="Weights to begin with: default (the library's), or a file with a state dict or a checkpoint.",
)
@click.option("--init-ema", is_flag=True, help="Take the moving average in the file of --init.")
@_setting("--crops-per-image", "Stored crops used per decoded image, m; one pass counts m epochs.")
@click.option(
    "--crops",
    "num_crops",
    type=int,
    help="Take the first of the stored crops of each image alone; a store that grows need not have the "
    "others yet  [default: all]",
)
@_setting(
    "--stagger",
    "Steps between the batches that get an image's m crops, so that a batch holds as many images as "
    "views; (m - 1) times as many batches wait in memory. 0 puts the crops into one batch, as the paper "
    "does.",
    int,
    shown="16 / m",
)
@_setting(
    "--size",
    "Of the student's views, in pixels: a side (160), height and width (160x224), or A:B for a run whose "
    "views grow from A to B. Boxes are the store's at any size.",
    str,
    shown="the store's",
    metavar="S|HxW|A:B",
)
@_setting("--size-multiple", "With --size A:B: all sides are multiples of it.")
@_setting(
    "--interpolation", "How crops are resized.", click.Choice(INTERPOLATIONS), shown="the store's"
)
@click.option(
    "--compress",
    "scheme",
    help="How labels are read: full, hard, smooth, topkK (re-norm), topkK-smooth, or samplesN where the "
    "store has those; none where it has no labels.  [default: topk5, or all that is kept, if less]",
)
@_setting(
    "--label-temperature",
    "Re-tempers the stored labels: exact where --compress full reads a full store. topkK-smooth shares "
    "what was not kept evenly among the other classes; topkK drops it, and there is more of it the "
    "larger this is. 1 reads labels as they are.",
)
@_setting("--epochs", "Length; an epoch is as many views as there are images.", float)
@_setting("--batch-size", "Views a step, a multiple of m, on all processes together.")
@_setting(
    "--micro-batch", "Views at a time on the device; gradients add up.", int, shown="by device"
)
@_setting("--optimizer", "", click.Choice(OPTIMIZERS))
@_setting("--lr", "Rate at 1024 views a step; linear in the batch.")
@_setting("--min-lr", "Where the cosine ends.")
@_setting("--lr-schedule", "", click.Choice(LR_SCHEDULES))
@_setting("--warmup-epochs", "Linear warm-up before the schedule.")
@_setting("--momentum", "Of SGD; the first beta of Adam.")
@_setting("--weight-decay", "")
@_setting("--decay-norms/--no-decay-norms", "Whether biases and norms decay too.")
@_setting("--clip-grad", "Largest norm of the gradient.", float, shown="off")
@_setting(
    "--loss",
    "Soft cross-entropy to the store (ce), or KL, which has the same gradient; another distance (wttm, "
    'dist, nkd, mse …), or a term as \'{to="truth", by="ce", weight=0.1}\'; of lines ctc, to the text. '
    "Repeated, terms add up.",
    LossText(),
    multiple=True,
)
@_setting("--student-temperature", "T: divides the student's logits; the soft loss is times T².")
@_setting(
    "--hard-weight",
    "Share of the loss on the folder's class, or on the mask; 1 is plain supervised training.",
)
@_setting(
    "--hard-weight-end", "Where that share ends, linearly over the run.", float, shown="as begun"
)
@_setting("--label-smoothing", "Of the hard part.")
@_setting("--min-confidence", "Take crops whose stored label has a probability of at least this.")
@_setting(
    "--max-entropy", "Take crops whose label has at most this entropy, nats.", float, shown="off"
)
@click.option(
    "--calibrate",
    is_flag=True,
    help="FerKD's idea: crops on which the teacher is nearly sure are taken less, and those on which it "
    "is least sure are trained on with their folder's class.",
)
@_setting("--sure-above", "With --calibrate: the confidence above which it is nearly sure.")
@_setting("--sure-every", "With --calibrate: such a crop is taken in one of so many rounds.")
@_setting("--unsure-below", "With --calibrate: the confidence below which the class is the label.")
@_setting(
    "--unsure-smoothing", "With --calibrate: what the other classes get of that label, in all."
)
@_setting("--mixup", "Alpha of mixup; labels are mixed alike. 0 is off.")
@_setting("--cutmix", "Alpha of cutmix; with both, each step takes one. 0 is off.")
@_setting("--color-jitter", "Strength of brightness, contrast and saturation. 0 is off.")
@_setting(
    "--ema",
    "Decay of a moving average of the weights, such as 0.9999. It is evaluated beside the student, its "
    "top-1 decides which best.pt is kept, and checkpoints hold both; --ema of `fkd eval`, `fkd export` "
    "takes the average.",
    float,
    shown="off",
)
@_setting(
    "--bn-stats",
    "Batch norm's statistics in evaluations and their checkpoints: the running ones, or an estimate from "
    "training views. auto estimates while more than 1 % of the running ones is their initial value.",
    click.Choice(BN_STATS),
)
@click.option("--sync-bn", is_flag=True, help="Batch norm over all processes (CUDA).")
@_setting("--eval-every", "Epochs between evaluations.", float, shown="m")
@_setting("--eval-last", "Evaluate each of so many last epochs.", float)
@_setting(
    "--eval-size",
    "Views to evaluate on: a side, or height and width.",
    str,
    shown="the last --size",
    metavar="S|HxW",
)
@_setting(
    "--eval-crop",
    "Share of a resized image's shorter side that is evaluated (timm's crop_pct).",
    float,
    shown="0.875; 1 for views of up to 64 px",
)
@_setting("--save-every", "Minutes between checkpoints; evaluations save too. 0 is off.", float)
@click.option(
    "--log",
    type=click.Choice(LOGS),
    multiple=True,
    callback=lambda ctx, param, value: value or None,
    help="Where metrics go beside metrics.jsonl; once for each.  [default: tensorboard, if installed]",
)
@click.option(
    "--mean", nargs=3, metavar="R G B", type=RGB, default=_DEFAULTS["mean"], help="Of its input."
)
@click.option(
    "--std", nargs=3, metavar="R G B", type=RGB, default=_DEFAULTS["std"], help="Of its input."
)
@_setting("--seed", "Seed of initial weights and image order.")
@engine
@rendering
@machine
@click.pass_context
def train(ctx: click.Context, /, **options: Any) -> None:
    """Train a student on the crops and soft labels of STORE (default labels.zarr), without a teacher.

    With --resume, whatever is not given is taken from the run's config.json; what is given and is not as
    the run has it is refused. Ctrl-C and SIGTERM finish the step, save and stop; a second one stops at
    once, and what was saved before stays.

    \b
    Example: fkd train --crops-per-image 4 --compress topk5
    Go on after a stop: fkd train --resume --out runs/resnet50-topk5-m4-1
    On 8 GPUs: torchrun --nproc-per-node 8 -m fkd train --out runs/r50 --resume
    """
    dry_run = options.pop("dry_run")
    with told_once():
        config = train_config(ctx, options)
        from fkd.training import check_inputs

        check_inputs(config, alone=ALONE)
        if dry_run and (config.resume or not ALONE):
            raise ConfigError(
                "--dry-run is of one process and of a run that begins; leave out "
                + ("--resume" if config.resume else "torchrun")
            )
    if dry_run:
        _rehearse(config)
        return
    from fkd.training import train_student

    run = train_student(config)
    if RANK == "0":
        click.echo(f"{run}: config.json, metrics.jsonl, last.pt, best.pt")


def _rehearse(config: TrainConfig) -> None:
    """Print the settled recipe, which may go to a file, and say what the run would take."""
    from fkd.training import rehearse

    rehearsal = rehearse(config)
    click.echo(config.recipe_text(), nl=False)
    note_lines(rehearsal.lines())
