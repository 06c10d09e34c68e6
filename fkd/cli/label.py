"""`fkd label`."""

import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fkd.amounts import as_count
from fkd.cli.options import (
    PATH,
    RANK,
    RGB,
    OneSize,
    OrDefault,
    engine,
    machine,
    rendering,
    splitting,
)
from fkd.cli.process import note_dry_run
from fkd.cli.sections import Sectioned
from fkd.cli.teachers import added_teacher, chosen_teachers, require_teacher, teaching
from fkd.cli.views import viewing, views_of
from fkd.config import (
    FEW_IMAGES,
    INTERPOLATIONS,
    USUAL_CROPS,
    USUAL_MAP_SCHEME,
    USUAL_MIXED_SCHEME,
    USUAL_SCHEME,
    VECTOR_SCHEMES,
    AddTeacherConfig,
    Engine,
    LabelConfig,
    Part,
    Scheme,
    Target,
    Url,
    VectorScheme,
    as_vector_scheme,
    grid_training,
)
from fkd.progress import note_lines, printable

if TYPE_CHECKING:
    from fkd.format import StoreSpec
    from fkd.store import LabelStore

VECTORS = ", ".join(VECTOR_SCHEMES)

_LABEL = {f.name: f.default for f in fields(LabelConfig)}


# Options whose value is a field of `LabelConfig` of the same name.
_FIELDS = (
    "out", "split", "unlabelled", "class_names", "num_crops", "temperature", "batch_size", "workers",
    "device", "block_images", "max_bad", "overwrite", "grow", "render", "map_stride",
)  # fmt: skip

_SECTIONS = {
    "--subset": "Images and classes",
    "--teacher": "Teachers",
    "--add-teacher": "One more teacher for a store",
    "--crops": "Crops and labels",
    "--size": "What the teacher sees",
    "--temperature": "Labelling",
    "--amp": "Machine",
}


@click.command(
    cls=Sectioned,
    sections=_SECTIONS,
    short_help="Label M crops of every image with a teacher, once.",
)
@click.argument("images", type=PATH)
@click.option(
    "--subset",
    metavar="FILE|SHARE",
    help="Label a part of the images: a share (0.1 or 10%), of each class where images have classes, or "
    "a file with one image a line. Shares are drawn by the images' names; a smaller one is a part of a "
    "larger one.",
)
@click.option(
    "--classes", type=PATH, help="Label the images of the classes in this file, one a line."
)
@click.option(
    "--unlabelled",
    is_flag=True,
    help="Take images at any depth of IMAGES, without classes; labels are over the teacher's.",
)
@splitting
@click.option(
    "--class-names",
    type=PATH,
    help="File with a name to read for each class (n01440764 tench), kept in the store.",
)
@teaching
@click.option(
    "--crops",
    "num_crops",
    type=int,
    help=f"Stored crops per image, M; more than a store has are added to it  [default: {USUAL_CROPS}, or "
    "what the store has]",
)
@click.option("--out", default=_LABEL["out"], type=PATH, help="The label store to make.")
@click.option(
    "--compress",
    help="What is stored: topkK-coarse (steps of 3/4 nat), topkK (1/8), smooth, hard, full, full-8bit, "
    "or samplesN: N classes drawn from each label, unbiased and noisy. topkK-std and topkK-coarse-std "
    "also keep the deviation of the teacher's logits, for losses that standardize.  [default: "
    f"{USUAL_SCHEME}, {USUAL_MAP_SCHEME} of maps, {USUAL_MIXED_SCHEME} of mixed views]. Of a teacher "
    f"without classes, {VECTORS} keep its output as a vector; none keeps --features alone.",
)
@click.option(
    "--features",
    multiple=True,
    metavar="LAYER|TABLE",
    help="Also keep what a layer of the teacher says: a submodule by name, `features` for the input of "
    f"its last linear layer, or a table, {Target.example}; pool is auto, mean, cls or none.",
)
@click.option(
    "--map-stride",
    type=int,
    metavar="PIXELS",
    help="Of a teacher that says a map of labels: one label for so many pixels of a crop, in height and "
    "in width  [default: the teacher's own]",
)
@viewing
@click.option(
    "--size",
    multiple=True,
    type=OrDefault(OneSize()),
    help="Side of a crop in pixels, or its height and width (512x1024), which it fills whatever its own "
    "shape is  [default: the weights' own]",
)
@click.option(
    "--mean",
    nargs=3,
    metavar="R G B",
    multiple=True,
    type=OrDefault(RGB),
    help="Normalisation; default default default for none  [default: the weights' own]",
)
@click.option(
    "--std",
    nargs=3,
    metavar="R G B",
    multiple=True,
    type=OrDefault(RGB),
    help="Normalisation; as --mean  [default: the weights' own]",
)
@click.option(
    "--interpolation",
    multiple=True,
    type=OrDefault(click.Choice(INTERPOLATIONS)),
    help="Resampling  [default: the weights' own]",
)
@click.option("--temperature", default=1.0, help="Divides the teacher's logits before the softmax.")
@click.option(
    "--batch-size",
    type=int,
    help="Views a batch, whatever M is  [default: 256 on a CUDA GPU, else 32]",
)
@click.option(
    "--block",
    "block_images",
    type=int,
    help="Images committed together  [default: 256 to 4096, by size]",
)
@click.option("--max-bad", default=0.01, help="Share of unusable images above which to stop.")
@click.option("--overwrite", is_flag=True, help="Start anew instead of continuing a store.")
@click.option(
    "--grow",
    is_flag=True,
    help="Label images that the store does not have yet into it; what it has stays as it is.",
)
@click.option(
    "--dry-run",
    is_flag=True,
    callback=note_dry_run,
    help="Measure on a few images what the run would take, and stop.",
)
@engine
@rendering
@machine
@click.pass_context
def label(ctx: click.Context, /, images: Path, compress: str | None, **options: Any) -> None:
    """Label M crops of every image in IMAGES with a teacher, once, into a store.

    IMAGES is a folder with one subfolder per class (IMAGES/train where it is a split), an archive, a
    table or a list. With --unlabelled it holds images in any way, and so it does where they have masks
    beside them, by which a teacher of maps is judged. A store that is there already is
    continued: finished blocks are not labelled again. It grows by more --crops, and with --grow by
    images that are new.

    \b
    Example: fkd label --teacher resnet152 --crops 200 imagenet/
    One more teacher: fkd label --add-teacher resnet50 --to labels.zarr --out both.zarr imagenet/
    On 8 GPUs: torchrun --nproc-per-node 8 -m fkd label --teacher resnet152 --crops 200 imagenet/
    """
    if options["add_teacher"]:
        _label(options["out"], _adding(added_teacher(ctx, images, compress, options)))
        return
    require_teacher(ctx, options)
    config = LabelConfig(
        images=images,
        teacher=chosen_teachers(options),
        part=Part(options["subset"], options["classes"]),
        views=views_of(options),
        scheme=_scheme(compress),
        targets=options["features"],
        engine=Engine(options["amp"], options["compile"]),
        **{name: options[name] for name in _FIELDS},
    )
    from fkd.labelling import check_inputs

    check_inputs(config)
    if options["dry_run"]:
        from fkd.labelling import estimate_run

        for name, text in estimate_run(config).lines():
            click.echo(f"{name:<9} {text}")
        return
    from fkd.labelling import label_images

    _label(config.out, partial(label_images, config))


def _scheme(compress: str | None) -> Scheme | VectorScheme | None:
    """Return what --compress names: how labels are kept or, of a vector, how that is."""
    if compress is None:
        return None
    return as_vector_scheme(compress) or Scheme.parse(compress)


def _adding(config: AddTeacherConfig) -> Callable[[], "LabelStore"]:
    """Return what lets a teacher join, once all is checked that needs no torch."""
    from fkd.joining import add_teacher, check_adding

    check_adding(config)
    return partial(add_teacher, config)


def _label(out: Path, work: Callable[[], "LabelStore"]) -> None:
    """Make a store at `out`, and say what is in it and what comes next."""
    from fkd.info import bad_images, bytes_per_crop
    from fkd.labelling import EndedElsewhere

    try:
        store = work()
    except EndedElsewhere:
        if RANK == "0":
            raise
        sys.exit(2)
    if RANK != "0":
        return
    for path, reason in bad_images(store):
        click.echo(f"no labels for {printable(path)}: {reason}", err=True)
    spec = store.spec
    click.echo(
        f"{out}: {as_count(spec.num_images, 'image')} × {as_count(spec.num_crops, 'crop')}, "
        f"{spec.kept_words}, {bytes_per_crop(store)['total']:.1f} bytes per crop"
    )
    _say_next(out, spec)


def _say_next(out: Path | Url, spec: "StoreSpec") -> None:
    """Name the commands that come next, as they can be typed."""
    name = shlex.quote(str(out))
    if spec.grid:
        training = grid_training(spec.grid, spec.num_crops, truth=bool(spec.truth))
        training += f" --compress {_reading_of(spec)}" if spec.mixes else ""
    else:
        training = _training_of(spec)
    note_lines(
        [
            ("next", f"fkd check {name}"),
            ("", f"fkd show {name}"),
            ("", f"fkd train {name} {training}"),
        ]
    )


def _training_of(spec: "StoreSpec") -> str:
    """Return the options of `fkd train` that a store of one label or vectors a view is learned with."""
    most = spec.views.mix.period if spec.views.mix.mixes else spec.num_crops
    # A batch is a multiple of these.
    m = max(c for c in (1, 2, 4) if c <= min(most, spec.num_crops))
    recipe = "--recipe small " if spec.num_images < FEW_IMAGES else ""
    options = f"{recipe}--crops-per-image {m}"
    return f"{options} --compress {_reading_of(spec)}" if spec.labels.there else options


def _reading_of(spec: "StoreSpec") -> Scheme:
    """Return how labels are read as it is usual, or as all that a store keeps where that is less."""
    reading = (USUAL_MIXED_SCHEME if spec.mixes else USUAL_SCHEME).reading
    return reading if spec.scheme.can_be_read_as(reading) else spec.scheme.reading
