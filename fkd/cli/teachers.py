"""The teachers of a command, each with its options; and those that join the teachers of a store."""

from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from fkd.cli.options import PATH, STORE, F, OrDefault, once_or_each
from fkd.config import TEACHER_OUTPUTS, AddTeacherConfig, Scheme, TeacherChoice
from fkd.errors import ConfigError

# Options that say what a store is of, and so do not go with --add-teacher.
_OF_A_STORE = (
    "teacher", "subset", "classes", "unlabelled", "split", "class_names", "all_classes", "num_crops",
    "seed", "scale", "ratio", "flip", "fit", "mixup", "cutmix", "mix_share", "mix_period", "brightness",
    "contrast", "saturation", "erase", "temperature", "max_bad", "grow", "dry_run", "features",
    "map_stride",
)  # fmt: skip

# Options whose value is a field of `AddTeacherConfig` of the same name.
_FIELDS = (
    "out", "weight", "batch_size", "workers", "device", "block_images", "overwrite", "compile", "render",
)  # fmt: skip


_TEACHING = (
    click.option(
        "--teacher",
        multiple=True,
        help="A torchvision model, timm:NAME, hf:NAME or hf:FOLDER of transformers, a run of fkd train "
        "or a checkpoint in it, a .pt2, TorchScript or .onnx file, or package.module:function. Given "
        "several times, the probabilities are averaged; the options of teachers are then given once for "
        "all, or once for each, with the word default for those that need none.",
    ),
    click.option(
        "--teacher-weights",
        multiple=True,
        default=["default"],
        help="default (the library's download), none (random), or a file with a state dict or a "
        "checkpoint.",
    ),
    click.option(
        "--teacher-ema/--no-teacher-ema",
        multiple=True,
        default=[False],
        help="Take the moving average in the file of --teacher-weights, or in the run.",
    ),
    click.option(
        "--teacher-output",
        multiple=True,
        type=OrDefault(click.Choice(TEACHER_OUTPUTS)),
        help="What the teacher returns; of probs the logarithms are taken  [default: logits]",
    ),
    click.option(
        "--teacher-classes",
        multiple=True,
        type=OrDefault(PATH),
        help="File with one class name per teacher output, in order; maps folder names to outputs. The "
        "probabilities of outputs of one name are added.",
    ),
    click.option(
        "--all-classes",
        is_flag=True,
        help="Keep all outputs where the folder has fewer classes; default: restrict the logits.",
    ),
)

_ADDING = (
    click.option(
        "--add-teacher",
        multiple=True,
        help="Label the views of the store --to with one more teacher alone, and write the mean of its "
        "labels and the stored ones to --out. What the store is of, as --crops, stays.",
    ),
    click.option("--to", type=STORE, help="The store whose teachers --add-teacher joins."),
    click.option(
        "--weight",
        type=float,
        help="Share of the teacher that joins, between 0 and 1; of several, all together  [default: as "
        "much as each of the others]",
    ),
)


def teaching(command: F) -> F:
    """Add the options of the teachers that label, and of those that join others."""
    for option in reversed(_TEACHING + _ADDING):
        command = option(command)
    return command


def added_teacher(
    ctx: click.Context, images: Path, compress: str | None, options: dict[str, Any]
) -> AddTeacherConfig:
    """Return the configuration of --add-teacher; refuse options that the store has settled."""
    given = {p.name: p.opts[0] for p in ctx.command.params if p.name and _is_given(ctx, p.name)}
    for name in _OF_A_STORE:
        if name in given:
            raise ConfigError(
                f"{given[name]} does not go with --add-teacher, which takes the store's; leave it out"
            )
    if options["to"] is None:
        raise ConfigError("--add-teacher needs --to STORE, the store whose teachers it joins")
    return AddTeacherConfig(
        to=options["to"],
        images=images,
        teacher=chosen_teachers({**options, "teacher": options["add_teacher"]}),
        scheme=None if compress is None else Scheme.parse(compress),
        amp=options["amp"] if "amp" in given else None,
        **{name: options[name] for name in _FIELDS},
    )


def require_teacher(ctx: click.Context, options: dict[str, Any]) -> None:
    """Raise what click does where --teacher is missing; refuse options of --add-teacher without it."""
    for name in ("to", "weight"):
        if options[name] is not None:
            raise ConfigError(f"--{name} goes with --add-teacher alone; leave it out")
    if not options["teacher"]:
        teacher = next(param for param in ctx.command.params if param.name == "teacher")
        raise click.MissingParameter(ctx=ctx, param=teacher)


def _is_given(ctx: click.Context, name: str) -> bool:
    return ctx.get_parameter_source(name) == ParameterSource.COMMANDLINE


def chosen_teachers(options: dict[str, Any]) -> tuple[TeacherChoice, ...]:
    """Pair each --teacher with its options, which are given once for all or once for each."""
    count = len(options["teacher"])

    def each(name: str) -> list[Any]:
        return once_or_each(f"--{name.replace('_', '-')}", options[name], count)

    def triples(name: str) -> list[Any]:
        given = each(name)
        for triple in given:
            if triple is not None and None in triple and set(triple) != {None}:
                raise ConfigError(f"--{name}: give three numbers, or the word default three times")
        return [None if triple is None or None in triple else triple for triple in given]

    settings = zip(
        options["teacher"],
        each("teacher_weights"),
        each("teacher_classes"),
        each("size"),
        triples("mean"),
        triples("std"),
        each("interpolation"),
        each("teacher_ema"),
        each("teacher_output"),
        strict=True,
    )
    # fmt: off
    return tuple(
        TeacherChoice(
            name, weights, classes, options["all_classes"], size, mean, std, interpolation, ema,
            output or "logits",
        )
        for name, weights, classes, size, mean, std, interpolation, ema, output in settings
    )
    # fmt: on
