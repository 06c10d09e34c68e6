"""Options of how views are drawn, and what is done to them before the teacher sees them."""

from typing import Any

import click

from fkd.cli.options import F
from fkd.config import FITS, MixPolicy, TonePolicy, ViewPolicy

_MIX, _TONE = MixPolicy(), TonePolicy()

_VIEWING = (
    click.option(
        "--seed", default=0, help="Seed of boxes and flips, and of what views are mixed with."
    ),
    click.option(
        "--scale",
        nargs=2,
        metavar="MIN MAX",
        type=float,
        default=(0.08, 1.0),
        help="Crop area, share of the image.",
    ),
    click.option(
        "--ratio",
        nargs=2,
        metavar="MIN MAX",
        type=float,
        default=(3 / 4, 4 / 3),
        help="Crop width over height; with --fit pad, relative to the image's own.",
    ),
    click.option(
        "--flip/--no-flip",
        default=True,
        help="Whether a coin mirrors each crop. Mirrored text is none.",
    ),
    click.option(
        "--fit",
        default=FITS[0],
        type=click.Choice(FITS),
        help="Resize a crop to fill its view, whatever its own shape is; or pad: keep its shape, at the "
        "upper left, and let the rest be grey.",
    ),
    click.option(
        "--mixup",
        type=float,
        default=_MIX.mixup,
        help="Mix each view with one of another image before the teacher sees it, in shares of "
        "Beta(α, α) for this α.",
    ),
    click.option(
        "--cutmix",
        type=float,
        default=_MIX.cutmix,
        help="Or put a part of the other view into it; α as of --mixup. With both, a coin decides.",
    ),
    click.option(
        "--mix-share", default=_MIX.share, help="Share of the views that are mixed at all."
    ),
    click.option(
        "--mix-period",
        default=_MIX.period,
        help="Crops after which an image gets another partner. Fewer decode more, here and in training.",
    ),
    click.option(
        "--brightness",
        default=_TONE.brightness,
        help="Change each view by a factor from [1 - s, 1 + s] before the teacher sees it; the student "
        "sees the same pixels. 0 is off.",
    ),
    click.option("--contrast", default=_TONE.contrast, help="As --brightness."),
    click.option("--saturation", default=_TONE.saturation, help="As --brightness."),
    click.option(
        "--erase",
        default=_TONE.erase,
        help="Share of the views of which a part is made grey before the teacher sees them.",
    ),
)


def viewing(command: F) -> F:
    """Add the options of views to a command."""
    for option in reversed(_VIEWING):
        command = option(command)
    return command


def views_of(options: dict[str, Any]) -> ViewPolicy:
    """Return the policy of views."""
    mix = (options[name] for name in ("mixup", "cutmix", "mix_share", "mix_period"))
    tone = (options[name] for name in ("brightness", "contrast", "saturation", "erase"))
    drawn = options["seed"], options["scale"], options["ratio"]
    return ViewPolicy(
        *drawn, MixPolicy(*mix), TonePolicy(*tone), flip=options["flip"], fit=options["fit"]
    )
