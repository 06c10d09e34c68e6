"""What is given for a setting, as the type that the setting says: in Python people give what is at hand.

Text stands for a path, for a `Scheme` and for a `TeacherChoice`; lists, arrays and NumPy's numbers are as
good as tuples and numbers of Python. What cannot be meant is refused by a line that names the setting.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from numbers import Integral, Real
from os import PathLike, fspath
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Self, TypeVar, Union, get_args, get_origin

from fkd.errors import ConfigError

T = TypeVar("T")

SCHEMES = ("s3", "gs", "https", "http", "hf")

# A `Path` makes one slash of two, and would read a bucket as a folder.
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")
_LOST_SLASH = re.compile(rf"({'|'.join(SCHEMES)}):/[^/]")


class _Unfit(Exception):
    """A value that a setting cannot have; its text says what it must be."""


class Url(str):
    """The address of a store that is on no disk of this machine: s3://, gs://, https://, http:// or hf://.

    It is text, and holds no secret: what is printed, kept in a run's folder or sent to a tracker has it
    whole. Raises `ConfigError` for one with a password or a signature, and for another scheme.
    """

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Take an address as a user writes it."""
        scheme, _, rest = text.partition("://")
        host, _, path = rest.partition("/")
        shown = f"{scheme}://{host.rpartition('@')[2]}/{re.split('[?#]', path)[0]}"
        if "@" in host or "?" in rest or "#" in rest:
            raise ConfigError(
                f"the address {shown} was given with a password, a signature or options, which would be "
                "kept where it is; leave them out, and set them in the environment (AWS_ACCESS_KEY_ID …)"
            )
        if scheme.lower() not in SCHEMES or not host:
            known = ", ".join(f"{name}://" for name in SCHEMES)
            raise ConfigError(f"{shown} is no address that fkd reads; it knows {known}")
        return super().__new__(cls, f"{scheme.lower()}://{rest.rstrip('/')}")

    @property
    def name(self) -> str:
        """The last part of the address."""
        return self.rpartition("/")[2]

    @property
    def parent(self) -> "Url":
        """The address of what holds this."""
        return Url(self.rpartition("/")[0])


def is_address(value: object) -> bool:
    """Say whether text is an address, not a path."""
    return isinstance(value, str) and _ADDRESS.match(value) is not None


def as_place(name: str, value: object) -> Path | Url:
    """Return where a store is, given as text; raises `ConfigError` for anything else."""
    place: Path | Url = fit(name, value, Path | Url)
    return place


def settle(config: Any) -> None:
    """Give every field of a frozen dataclass the type that it is annotated with; raises `ConfigError`."""
    for field in fields(config):
        value = getattr(config, field.name)
        fitted = fit(field.name, value, field.type)
        if fitted is not value:
            object.__setattr__(config, field.name, fitted)


def fit(name: str, value: object, kind: Any) -> Any:
    """Return what is given for the setting `name` as a value of `kind`; raises `ConfigError`."""
    try:
        return _fit(value, kind)
    except _Unfit as must_be:
        raise ConfigError(f"{name} is {_shown(value)}; it must be {must_be}") from must_be


def as_path(name: str, value: object) -> Path:
    """Return a path that may be given as text; raises `ConfigError` for anything else."""
    path: Path = fit(name, value, Path)
    return path


def as_config(config: object, kind: type[T]) -> None:
    """Raise `ConfigError` where a function that takes a configuration is given something else."""
    if not isinstance(config, kind):
        raise ConfigError(f"{_shown(config)} is no {kind.__name__}; give {kind.__name__}(…)")


def _fit(value: Any, kind: Any) -> Any:
    if get_origin(kind) in (UnionType, Union):
        return _fit_one_of(value, get_args(kind))
    if get_origin(kind) is tuple:
        return _fit_tuple(value, get_args(kind))
    if is_dataclass(kind):
        return _fit_object(value, kind)
    if not isinstance(value, (str, PathLike)) and hasattr(value, "tolist"):
        value = value.tolist()  # a number of NumPy, or a tensor of one
    plain = str if get_origin(kind) is Literal else kind
    return _PLAIN[plain](value)


def _fit_one_of(value: Any, kinds: Sequence[Any]) -> Any:
    """Fit a setting that may be None, or one or several of a kind."""
    if value is None and type(None) in kinds:
        return None
    several = [kind for kind in kinds if get_origin(kind) is tuple]
    if Url in kinds and is_address(value):
        return Url(value)
    others = [kind for kind in kinds if kind not in several and kind not in (type(None), Url)]
    if several and (isinstance(value, (tuple, list)) or not others):
        return _fit(value, several[0])
    return _fit(value, others[0])


def _fit_tuple(value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    """Fit a tuple: of so many numbers, or of any number of objects, of which one may stand alone."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if kinds[-1] is Ellipsis:
        values = value if isinstance(value, (tuple, list)) else (value,)
        return tuple(_fit(each, kinds[0]) for each in values)
    if not isinstance(value, (tuple, list)) or len(value) != len(kinds):
        raise _Unfit(f"{len(kinds)} numbers")
    try:
        return tuple(kind(_fit(each, kind)) for each, kind in zip(value, kinds, strict=True))
    except _Unfit as error:
        raise _Unfit(f"{len(kinds)} numbers") from error


def _fit_object(value: Any, kind: Any) -> Any:
    """Fit one of our own dataclasses, which may have a form in text, and one in numbers."""
    if isinstance(value, kind):
        return value
    if isinstance(value, Mapping) and hasattr(kind, "of_table"):
        return kind.of_table(value)
    if hasattr(kind, "of_numbers"):
        plain = value.tolist() if hasattr(value, "tolist") else value
        if (made := kind.of_numbers(plain)) is not None:
            return made
    parse: Callable[[str], Any] | None = getattr(kind, "parse", None)
    if parse is None:
        raise _Unfit(f"of the class {kind.__name__}")
    if not isinstance(value, (str, PathLike)):
        numbers = ", whole numbers" if hasattr(kind, "of_numbers") else ""
        raise _Unfit(f"a {kind.__name__}{numbers}, or text for one")
    return parse(fspath(value))


def _path(value: object) -> Path:
    if not isinstance(value, (str, PathLike)) or isinstance(fspath(value), bytes):
        raise _Unfit("a path")
    if is_address(value):
        raise _Unfit(f"a path on this machine, and {value} is an address; copy what is there")
    if _LOST_SLASH.match(fspath(value)):
        address = fspath(value).replace(":/", "://", 1)
        raise _Unfit(
            f"a path on this machine, and {address} is an address; where one may stand, give it as text, "
            "since a Path makes one slash of two"
        )
    return value if isinstance(value, Path) else Path(value)


def _text(value: object) -> str:
    if type(value).__module__ == "torch" and type(value).__name__ == "device":
        return str(value)  # without torch, which is not loaded here
    text = fspath(value) if isinstance(value, PathLike) else value
    if not isinstance(text, str):
        raise _Unfit("text")
    return text


def _truth(value: object) -> bool:
    if not isinstance(value, bool):
        raise _Unfit("True or False")
    return value


def _number(value: object) -> float:
    if isinstance(value, bool):
        raise _Unfit("a number")
    if isinstance(value, (int, float)):
        return value
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        return float(value)
    raise _Unfit("a number")


def _whole(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise _Unfit("a whole number")
    return int(value)


_PLAIN: dict[type, Callable[[Any], Any]] = {
    Path: _path, Url: Url, str: _text, bool: _truth, float: _number, int: _whole,
}  # fmt: skip


def _shown(value: object) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "…"
