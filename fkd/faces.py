"""The names of a wing, each loaded when it is first used.

Importing a wing runs its `__init__`, its face. Were its names imported there, whoever needs one room
would load them all, and torch with them: seconds, before a mistyped path can be refused. So a face tells
type checkers and readers where its names are, in a block that never runs, and has them found by this.
"""

import sys
from collections.abc import Callable
from importlib import import_module


def names_of(face: str, **rooms: str) -> tuple[Callable[[str], object], Callable[[], list[str]]]:
    """Return `__getattr__` and `__dir__` of a face (PEP 562): `rooms` are names by room, with spaces."""
    home = {name: f"{face}.{room}" for room, names in rooms.items() for name in names.split()}

    def load(name: str) -> object:
        if name not in home:
            raise AttributeError(f"module {face!r} has no attribute {name!r}")
        value = getattr(import_module(home[name]), name)
        setattr(sys.modules[face], name, value)  # it is asked for once
        return value

    def names() -> list[str]:
        return sorted({*vars(sys.modules[face]), *home})

    return load, names
