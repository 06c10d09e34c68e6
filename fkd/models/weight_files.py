"""Files of weights, read without running code in them.

`torch.load` with `weights_only=True` makes tensors and plain values, and imports nothing: it refuses a
file that names a class or function which is not on its list. Trainers put such things beside the
weights (a Namespace of arguments, a path, a number of NumPy), so each of these names is given a class
that does nothing. Nothing is imported, and nothing that a file names is called.
"""

import importlib
import pickletools
import zipfile
from _compat_pickle import IMPORT_MAPPING, NAME_MAPPING
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any
from warnings import catch_warnings, simplefilter

import torch
from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

from fkd.errors import ModelError
from fkd.models.files import require_weights

# torch reads nothing that names these modules, and no weights need them.
_NEVER = ("os.", "posix.", "nt.", "sys.")
_OLD_PICKLES = 4  # of a file from before 2020: a number, a version, the machine, the content


class Inert(list[Any]):
    """Stands for an object whose class is not looked up. It takes whatever it is given and keeps nothing.

    A list, for torch appends to nothing else.
    """

    def __new__(cls, *_: object) -> "Inert":
        """Take any arguments."""
        return super().__new__(cls)

    def __init__(self, *_: object) -> None:
        """Keep none of them."""

    def __setstate__(self, _: object) -> None:
        """Keep no state."""

    def append(self, _: object) -> None:
        """Keep no item."""

    def extend(self, _: object) -> None:
        """Keep no items."""

    # Unlike lists it can be a key.
    __eq__ = object.__eq__
    __hash__ = object.__hash__  # type: ignore[assignment]


class _Filled:
    """Stands for an object that items are set in, as in a dict: it becomes an `OrderedDict` of them.

    torch sets items in dicts of its own list alone, and a config like that may hold the weights.
    """

    def __new__(cls, *_: object) -> Any:
        return OrderedDict()


def read_file(path: Path) -> Any:
    """Read a file of `torch.save` onto the CPU, running no code in it; raises whatever torch does.

    Objects of classes that torch does not know become `Inert`, or an `OrderedDict` of their items.
    """
    with catch_warnings():
        simplefilter("ignore")  # about old or odd pickles, which the caller judges
        stands_for = {name: type(name, (Inert,), {}) for name in _foreign_names(path)}
        while True:
            try:
                with safe_globals([(stub, name) for name, stub in stands_for.items()]):
                    return torch.load(path, map_location="cpu", weights_only=True)
            except UnpicklingError as error:
                # Only reading shows which of them hold items; torch quotes the class that it cannot fill.
                filled = _quoted(error, stands_for)
                if not filled:
                    raise
                stands_for |= {name: type(name, (_Filled,), {}) for name in filled}


def _quoted(error: UnpicklingError, stands_for: dict[str, type]) -> list[str]:
    said = str(error)
    return [n for n, stub in stands_for.items() if issubclass(stub, Inert) and repr(stub) in said]


def _foreign_names(path: Path) -> Sequence[str]:
    """Name the classes and functions in a file that torch does not know, by looking at its opcodes.

    Safety does not hang on it: torch refuses a name that is overlooked here.
    """
    if zipfile.is_zipfile(path):
        return get_unsafe_globals_in_checkpoint(path)
    with path.open("rb") as file:
        named = [
            str(argument).split(" ", 1)
            for _ in range(_OLD_PICKLES)
            for opcode, argument, _ in pickletools.genops(file)
            if opcode.name == "GLOBAL"
        ]
    # Old files have Python 2's names. torch renames fewer of them than Python does, so both are kept.
    renamed = [
        NAME_MAPPING.get((module, name), (IMPORT_MAPPING.get(module, module), name))
        for module, name in named
    ]
    return sorted({f"{module}.{name}" for module, name in (*named, *renamed)})


def read_content(path: Path, what: str) -> Any:
    """Read a file of weights as `read_file` does, or a .safetensors file.

    Raises `ModelError`, which calls the file `what`, where it cannot be read so.
    """
    require_weights(path, what)
    try:
        if path.suffix == ".safetensors":
            return _read_safetensors(path, what)
        return read_file(path)
    except ModelError:
        raise
    except Exception as error:  # readers fail in a dozen ways, and say a paragraph each time
        raise ModelError(f"{what}: {_why_not(path)}") from error


def _read_safetensors(path: Path, what: str) -> Any:
    try:
        reader: Any = importlib.import_module("safetensors.torch")
    except ImportError as error:
        raise ModelError(
            f"{what} needs safetensors; install it with `pip install safetensors`"
        ) from error
    return reader.load_file(path)


def _why_not(path: Path) -> str:
    """Say what a file is that could not be read, and what to give instead."""
    if path.suffix == ".safetensors":
        return "not a file of safetensors, or a damaged one"
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
        if any(name.endswith(("/constants.pkl", "/archive_format")) for name in names):
            return "is a program, which is a --teacher by itself; give a state dict"
    try:
        refused = [name for name in _foreign_names(path) if name.startswith(_NEVER)]
    except Exception:  # it is no pickle at all
        refused = []
    if refused:
        return f"calls {refused[0]}, which no weights need; take the file for an attack"
    return (
        "not a state dict that can be read without running code in it; save one with "
        "torch.save(model.state_dict(), path)"
    )
