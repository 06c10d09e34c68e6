"""Headings over the options of a long `--help`."""

from collections.abc import Mapping
from typing import Any

import click


class Sectioned(click.Command):
    """A command whose help shows its options under headings.

    `sections` maps the option with which a section begins to the heading of that section. `--help`
    belongs to none of them and has a heading of its own at the end.
    """

    def __init__(self, *args: Any, sections: Mapping[str, str], **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._sections = sections

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options in their order, a heading before each that begins a section."""
        under: dict[str, list[tuple[str, str]]] = {}
        heading = "Options"
        for option in self.get_params(ctx):
            if not isinstance(option, click.Option):
                continue  # an argument, which the usage shows
            heading = self._sections.get(option.opts[0], heading)
            record = option.get_help_record(ctx)
            if record is not None:
                asks_for_help = option.opts[0] in ctx.help_option_names
                under.setdefault("Help" if asks_for_help else heading, []).append(record)
        for heading, records in under.items():
            with formatter.section(heading):
                formatter.write_dl(records)
