"""The teachers of a command, each with its options."""

from typing import Any

from fkd.cli.options import once_or_each
from fkd.config import TeacherChoice
from fkd.errors import ConfigError


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
