"""Options that several commands share."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import click

from fkd.amounts import as_count
from fkd.config import AMPS, RENDERS, Size, Url, ViewSizes, is_address
from fkd.errors import ConfigError, FkdError, ToldElsewhere

F = TypeVar("F", bound=Callable[..., Any])

PATH = click.Path(path_type=Path)


class Place(click.Path):
    """A path, or an address, whose slashes a path would lose."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return a `Path` or a `Url`; raises `ConfigError` for an address that is none."""
        return Url(value) if is_address(value) else super().convert(value, param, ctx)


STORE = Place(path_type=Path)
ALONE = "RANK" not in os.environ
RANK = os.environ.get("RANK", "0")  # of the processes that torchrun starts, one reports
# Each machine has its own files and command line: the first process there says what is wrong with them.
FIRST_HERE = os.environ.get("LOCAL_RANK", RANK) == "0"

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class OrDefault(click.ParamType):  # type: ignore[type-arg]  # plain in click 8.2
    """A value of another type, or the word `default`, which says that nothing is given."""

    def __init__(self, inner: "click.ParamType[Any]") -> None:
        self.inner, self.name = inner, inner.name

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return None for `default`."""
        return None if value == "default" else self.inner.convert(value, param, ctx)

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Show what the other type shows."""
        return self.inner.get_metavar(param, ctx)


class OfColour(click.ParamType):  # type: ignore[type-arg]  # plain in click 8.2
    """A number of a colour, of an option that takes three of them: red, green and blue."""

    name = "float"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Return a number; where the next option stands in its place, say that three are needed."""
        if isinstance(value, str) and value.startswith("--"):
            self.fail(
                "it takes three values, of red, green and blue, such as 0.5 0.5 0.5", param, ctx
            )
        return float(click.FLOAT.convert(value, param, ctx))


RGB = OfColour()


class OneSize(click.ParamType):  # type: ignore[type-arg]  # plain in click 8.2
    """The size of views: a side in pixels ("224"), or height and width ("160x224")."""

    name = "S|HxW"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Size:
        """Return a side, or height and width."""
        with suppress(TypeError, ValueError):
            return int(value)  # whether it can be a side is said with the teacher's other settings
        try:
            sizes = ViewSizes.parse(value) if isinstance(value, str) else ViewSizes(value, value)
        except ConfigError as error:
            raise ConfigError(
                f"--size {value!r} is unknown; give the side of square views (224), or height and width "
                "(160x224)"
            ) from error
        if sizes.grow:
            raise ConfigError(f"--size is {value}; give one size, since labels are of one")
        return sizes.last

    def get_metavar(self, param: click.Parameter, ctx: click.Context) -> str | None:
        """Show how it is written."""
        return self.name


class ManyNumbers(click.Command):
    """A command with an option, `many`, that takes all numbers that follow it: `--weights 0.7 0.3`."""

    def __init__(self, *args: Any, many: str, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self._many = many

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its numbers."""
        repeated: list[str] = []
        for arg in args:
            if len(repeated) >= 2 and repeated[-2] == self._many and _is_number(arg):
                repeated.append(self._many)
            repeated.append(arg)
        return super().parse_args(ctx, repeated)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


@contextmanager
def told_once() -> Iterator[None]:
    """Let one process of a machine say what is wrong with a command line, and the files that it names."""
    try:
        yield
    except FkdError as error:
        if FIRST_HERE:
            raise
        raise ToldElsewhere(str(error)) from error


def once_or_each(flag: str, given: Sequence[Any], count: int) -> list[Any]:
    """Return an option's value for each of `count` teachers: it is given once for all, or for each."""
    if count <= 1:
        return [
            given[-1] if given else None
        ] * count  # of an option that is repeated, the last counts
    if len(given) not in (0, 1, count):
        raise ConfigError(
            f"{flag} is given {len(given)} times for {as_count(count, 'teacher')}; give it once, or "
            "once for each --teacher in order, with the word `default` for those that need none"
        )
    return list(given) if len(given) == count else [*given, None][:1] * count


def setting(
    defaults: Mapping[str, Any], flag: str, text: str, kind: Any = None, **more: Any
) -> Callable[[F], F]:
    """Make an option of a setting that a recipe may hold: what the user does not say stays unsaid."""
    default = defaults[flag.split("/")[0].removeprefix("--").replace("-", "_")]
    shown = more.pop("shown", default)
    if kind is None and not isinstance(default, bool):
        kind = type(default)
    help_text = f"{text}  [default: {shown}]".lstrip()
    return click.option(flag, type=kind, default=None, show_default=False, help=help_text, **more)


def machine(command: F) -> F:
    """Add the options that say where the work is done."""
    command = click.option("--workers", default=CORES, help="Threads that decode and render.")(
        command
    )
    return click.option("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps.")(command)


def rendering(command: F) -> F:
    """Add the options that say how views come about."""
    return click.option(
        "--render",
        type=click.Choice(RENDERS),
        default="auto",
        help="Who renders crops, to the same pixels: CPU threads or the device. auto is the device "
        "where it is a CUDA GPU.",
    )(command)


def splitting(command: F) -> F:
    """Add the option that says what a folder named train is."""
    return click.option(
        "--split/--no-split",
        default=True,
        help="Whether IMAGES/train may be a split; with --no-split, IMAGES itself is taken.",
    )(command)


def engine(command: F) -> F:
    """Add the options that say how a model is run."""
    command = click.option("--compile", is_flag=True, help="Run the model through torch.compile.")(
        command
    )
    return click.option(
        "--amp", type=click.Choice(AMPS), default="off", help="Autocast precision of the model."
    )(command)
