"""Settings are written as a recipe file, each with the place that it comes from."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_BARE = re.compile(r"[A-Za-z0-9_-]+")
_WIDE = 28  # where the comment of a short line begins
_DEFAULT = "default"


def recipe_text(head: Sequence[str], values: Mapping[str, Any], sources: Mapping[str, str]) -> str:
    """Return a TOML file that `recipe_layers` reads.

    It has the lines of `head` as comments, then a line for each of `values`, which are plain JSON values,
    with its source as a comment: "default", or what it is from. TOML has no null: None is left out.
    """
    lines = [f"# {line}".rstrip() for line in head]
    for name, value in values.items():
        if value is not None:
            lines += _setting(name, value, sources.get(name, ""))
    return "\n".join(lines) + "\n"


def _setting(name: str, value: Any, source: str) -> list[str]:
    """Return the lines of a setting; tables of a list get one each."""
    told = source if source in ("", _DEFAULT) else f"from {source}"
    comment = f"  # {_printable(told)}" if told else ""
    if isinstance(value, (list, tuple)) and any(isinstance(one, Mapping) for one in value):
        tables = [f"  {_plain(one)}," for one in value]
        return [f"{_key(name)} = [{comment}", *tables, "]"]
    return [f"{_key(name)} = {_plain(value)}".ljust(_WIDE) + comment]


def _plain(value: Any) -> str:
    if isinstance(value, Mapping):
        pairs = [f"{_key(name)} = {_plain(one)}" for name, one in value.items() if one is not None]
        return f"{{{', '.join(pairs)}}}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(_plain(one) for one in value)}]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return repr(value)
    return _text(str(value))


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text)


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _text(value: str) -> str:
    """Return a basic string: JSON's escapes are TOML's, which knows no lone surrogates."""
    whole = value.encode("utf-8", "replace").decode()
    return json.dumps(whole, ensure_ascii=False).replace("\x7f", "\\u007f")
