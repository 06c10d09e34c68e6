"""The group of commands, and how errors and signals end it."""

import os
import signal
import sys
import time
import warnings
from typing import Any, NoReturn

import click

from fkd.cli.card import card
from fkd.cli.check import check
from fkd.cli.copying import average, copy, merge
from fkd.cli.eval import evaluate
from fkd.cli.export import export
from fkd.cli.export_labels import export_labels_
from fkd.cli.import_labels import import_
from fkd.cli.info import info
from fkd.cli.label import label
from fkd.cli.options import FIRST_HERE
from fkd.cli.pack import pack
from fkd.cli.plot import plot
from fkd.cli.process import Stopping, guard_streams
from fkd.cli.show import show
from fkd.cli.train import train
from fkd.errors import FkdError, Stopped, ToldElsewhere
from fkd.progress import note, note_once

_TIME_TO_TELL = 1.0  # seconds


class _Errors(click.Group):
    """Turns whatever a user can mend into one line on stderr and exit code 2; nothing else does."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except click.UsageError as error:
            _refuse_usage(error)

    def invoke(self, ctx: click.Context) -> Any:
        guard_streams()
        stopping = Stopping(ctx)
        # Pillow warns of metadata that fkd does not use, and of sizes that it bounds, and names no file.
        warnings.filterwarnings("ignore", module=r"PIL\.")
        if os.getcwd() not in sys.path:  # package.module:function is found as by `python -m fkd`
            sys.path.insert(0, os.getcwd())
        try:
            return super().invoke(ctx)
        except click.UsageError as error:
            _refuse_usage(error)
        except Stopped as stop:
            stopping.asked = True
            note_once(f"fkd: {stop}")
            # Whoever sends SIGTERM, as machines do before they go away, got what he wanted.
            sys.exit(0 if stop.signal_number == signal.SIGTERM else 130)
        except (Exception, KeyboardInterrupt) as error:
            if stopping.asked or isinstance(error, KeyboardInterrupt):  # or what came of one
                stopping.asked = True
                note_once(stopping.words())
                sys.exit(130)
            if isinstance(error, ToldElsewhere):
                _give_way()
            if isinstance(error, FkdError):
                _refuse(str(error))
            raise


def _give_way() -> NoReturn:
    """End without a word, after the process that tells why: with the first end torchrun ends all."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(_TIME_TO_TELL)
    sys.exit(2)


def _refuse_usage(error: click.UsageError) -> NoReturn:
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        raise error
    if not FIRST_HERE:  # every process of a machine has the same command line
        _give_way()
    command = f"fkd {error.ctx.info_name}" if error.ctx and error.ctx.parent else "fkd"
    _refuse(f"{error.format_message().rstrip('.')}; see `{command} --help`")


def _refuse(message: str) -> NoReturn:
    note("fkd: error: " + " ".join(message.split("\n")))
    sys.exit(2)


def _say_version(ctx: click.Context, _: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        from fkd.version import __version__

        click.echo(f"fkd, version {__version__}")
        ctx.exit()


@click.group(cls=_Errors, context_settings={"max_content_width": 100, "show_default": True})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_say_version,
    help="Show the version and exit.",
)  # fmt: skip
def main() -> None:
    """Fast knowledge distillation: label every crop once, train students without a teacher.

    \b
    fkd label --teacher resnet152 --crops 200 imagenet/
    fkd train --crops-per-image 4 --compress topk5
    """


for _command in (
    *(label, train, check, show, evaluate, info, pack, plot, export),
    *(copy, merge, average, import_, export_labels_, card),
):
    main.add_command(_command)
