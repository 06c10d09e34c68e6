"""Amounts in words: the same number looks the same in every message.

Units of bytes are powers of 1024.
"""


def plural(unit: str) -> str:
    """Return the plural of a unit: "views", "classes", "batches", "epochs"."""
    hissing = unit.endswith(("s", "ch", "x")) and not unit.endswith("epoch")
    return unit + ("es" if hissing else "s")


def as_count(number: float, unit: str) -> str:
    """Return a number with its unit in the right form: "1 view", "1,200 views", "0.3 epochs"."""
    shown = f"{number:,.0f}" if float(number).is_integer() else f"{number:,.3g}"
    return f"{shown} {unit if shown == '1' else plural(unit)}"


def as_rate(per_second: float, unit: str) -> str:
    """Return a speed to three digits: "1,230 views/s", "0.52 views/s"."""
    digits = 0 if per_second >= 100 else 1 if per_second >= 10 else 2
    return f"{per_second:,.{digits}f} {plural(unit)}/s"


def as_duration(seconds: float) -> str:
    """Return a time in its two largest units: "48 s", "12 min 5 s", "3 h 20 min", "6 d 2 h"."""
    if seconds < 1:
        return "under 1 s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return _two(whole, 60, "min", "s")
    if whole < 86_400:
        return _two(round(seconds / 60), 60, "h", "min")
    return _two(round(seconds / 3600), 24, "d", "h")


def _two(count: int, each: int, large: str, small: str) -> str:
    most, rest = divmod(count, each)
    return f"{most} {large} {rest} {small}" if rest else f"{most} {large}"


def as_bytes(count: float) -> str:
    """Return a size: "812 bytes", "1.4 GiB"."""
    if count < 1024:
        return f"{count:,.0f} bytes"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if count < 1024:
            return f"{count:,.1f} {unit}"
    return f"{count / 1024:,.1f} TiB"


def as_large(count: float) -> str:
    """Return a number of parameters or the like: "25.6 M", "730 K", "812"."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "K")):
        if count >= size:
            return f"{count / size:.3g} {letter}"
    return f"{count:,.0f}"
