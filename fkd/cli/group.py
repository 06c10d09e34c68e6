"""The group of commands, and how errors and signals end it."""

import os
import signal
import sys
from typing import Any, NoReturn

import click

from fkd.cli.check import check
from fkd.cli.eval import evaluate
from fkd.cli.export import export
from fkd.cli.info import info
from fkd.cli.label import label
from fkd.cli.options import RANK
from fkd.cli.pack import pack
from fkd.cli.plot import plot
from fkd.cli.show import show
from fkd.cli.train import train
from fkd.errors import FkdError, Stopped
from fkd.progress import printable


class _Errors(click.Group):
    """Turns whatever a user can mend into one line on stderr and exit code 2; nothing else does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            _refuse_usage(error)

    def invoke(self, ctx: click.Context) -> Any:
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        if os.getcwd() not in sys.path:  # package.module:function is found as by `python -m fkd`
            sys.path.insert(0, os.getcwd())
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _refuse_usage(error)
        except Stopped as stop:
            if RANK == "0":
                click.echo(f"fkd: {stop}", err=True)
            # Whoever sends SIGTERM, as machines do before they go away, got what he wanted.
            sys.exit(0 if stop.signal_number == signal.SIGTERM else 130)
        except FkdError as error:
            _refuse(str(error))
        except KeyboardInterrupt:
            go_on = _GO_ON.get(ctx.invoked_subcommand or "", "")
            if RANK != "0":
                sys.exit(130)
            click.echo(f"fkd: {ctx.invoked_subcommand} was stopped.{go_on}", err=True)
            sys.exit(130)


def _refuse_usage(error: click.UsageError) -> NoReturn:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        raise error
    command = f"fkd {error.ctx.info_name}" if error.ctx and error.ctx.parent else "fkd"
    _refuse(f"{error.format_message().rstrip('.')}; see `{command} --help`")


def _refuse(message: str) -> NoReturn:
    click.echo("fkd: error: " + printable(" ".join(message.split("\n"))), err=True)
    sys.exit(2)


_GO_ON = {
    "label": " Finished blocks are kept; it goes on where it was when the same command is run again.",
    "pack": " Finished images are kept; the same command, without --overwrite, goes on where it was.",
    "train": " Its run folder keeps the checkpoints so far; --resume goes on from the last.",
}


@click.group(cls=_Errors, context_settings={"max_content_width": 100, "show_default": True})
@click.version_option(package_name="fkd")
def main() -> None:
    """Fast knowledge distillation: label every crop once, train students without a teacher.

    \b
    fkd label --teacher resnet152 --crops 200 imagenet/
    fkd train --crops-per-image 4 --compress topk5
    """


for _command in (label, train, check, show, evaluate, info, pack, plot, export):
    main.add_command(_command)
