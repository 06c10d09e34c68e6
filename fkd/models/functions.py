"""Functions of the user's own that make a network: `package.module:function`."""

import importlib
from collections.abc import Callable
from typing import Any

from torch import nn

from fkd.errors import ModelError, first_line


def is_function(name: str) -> bool:
    """Say whether the name of a network is `package.module:function`."""
    return ":" in name and not name.startswith("timm:")


def call_function(name: str, *arguments: object, role: str, takes: str) -> nn.Module:
    """Import `package.module:function`, call it and return its model.

    `role` is "teacher" or "student" and `takes` says in words what the function is called with; both
    stand in the `ModelError` that is raised where there is no such function, where it fails or exits,
    and where it returns no model.
    """
    try:
        model = _find(name)(*arguments)
    except (Exception, SystemExit) as error:  # it is the user's own code that runs here
        raise ModelError(
            f"{role} {name}: {type(error).__name__}: {first_line(error)}; package.module:function "
            f"must name a function {takes} that returns a model"
        ) from error
    if not isinstance(model, nn.Module):
        raise ModelError(f"{role} {name} returned a {type(model).__name__}, not a torch.nn.Module")
    return model


def _find(name: str) -> Callable[..., Any]:
    module_name, _, attribute = name.partition(":")
    module = importlib.import_module(module_name)
    if not hasattr(module, attribute):
        where = getattr(module, "__file__", None) or "no file"
        raise AttributeError(f"module {module_name} ({where}) has no {attribute!r}")
    function: Callable[..., Any] = getattr(module, attribute)
    return function
