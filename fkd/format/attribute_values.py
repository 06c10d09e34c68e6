"""One value of a store's attributes each: of the right type and within bounds, or `Wrong`."""

from collections.abc import Mapping
from typing import Any, cast

from fkd.config import MAX_SIZE, Size

_MAX_TEXT = 4096


class Wrong(Exception):
    """An attribute that no labeller writes."""


def whole(content: Mapping[str, Any], key: str, low: int, high: int) -> int:
    """Return a whole number within bounds."""
    value = content.get(key)
    if type(value) is not int or not low <= value <= high:
        raise Wrong(f"{key} is {shown(value)}")
    return value


def count(content: Mapping[str, Any], key: str) -> int:
    """Return a number that is left out where it is 0."""
    return whole({key: 0, **content}, key, 0, 2**40)


def said(content: Mapping[str, Any], key: str) -> bool:
    """Return whether a key is there; it says nothing but true."""
    if key in content and content[key] is not True:
        raise Wrong(f"{key} is {shown(content[key])}")
    return key in content


def number(content: Mapping[str, Any], key: str, low: float, high: float) -> float:
    """Return a number within bounds."""
    value = content.get(key)
    if type(value) not in (int, float) or not low <= cast("float", value) <= high:
        raise Wrong(f"{key} is {shown(value)}")
    return float(cast("float", value))


def numbers(content: Mapping[str, Any], key: str, count: int) -> tuple[float, ...]:
    """Return so many numbers."""
    values = content.get(key)
    if not isinstance(values, list) or len(values) != count:
        raise Wrong(f"{key} is {shown(values)}, not {count} numbers")
    return tuple(number({key: value}, key, -1e9, 1e9) for value in values)


def text(content: Mapping[str, Any], key: str) -> str:
    """Return a text that is not too long and has no zero byte."""
    value = content.get(key)
    if not isinstance(value, str) or len(value) > _MAX_TEXT or "\0" in value:
        raise Wrong(f"{key} is {shown(value)}")
    return value


def named_texts(content: Mapping[str, Any]) -> dict[str, str]:
    """Return texts by names that are texts, too."""
    return {text({"name": name}, "name"): text(content, name) for name in content}


def choice(content: Mapping[str, Any], key: str, choices: tuple[Any, ...]) -> Any:
    """Return one of the texts that there are."""
    value = text(content, key)
    if value not in choices:
        raise Wrong(f"{key} is {shown(value)}")
    return value


def size(content: Mapping[str, Any]) -> Size:
    """Return the `size` of views: a side, or height and width where they differ."""
    sides = content.get("size")
    if not isinstance(sides, list):
        return whole(content, "size", 1, MAX_SIZE)
    good = len(sides) == 2 and all(type(n) is int and 0 < n <= MAX_SIZE for n in sides)
    if not good or sides[0] == sides[1]:
        raise Wrong(f"size is {shown(sides)}")
    return (sides[0], sides[1])


def json_object(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    """Return an object of JSON."""
    value = content.get(key)
    if not isinstance(value, dict):
        raise Wrong(f"{key} is {shown(value)}")
    return value


def shown(value: Any) -> str:
    """Quote a value for a message, briefly: it may be anything, and of any length."""
    if isinstance(value, int) and abs(value) >= 10**40:
        return "a number far too large"
    text = repr(value) if not isinstance(value, (list, dict)) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else text[:57] + "…"
