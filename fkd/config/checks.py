"""Bounds of what a user may choose, and the refusals that name a flag."""

from collections.abc import Sequence
from difflib import get_close_matches

from fkd.config.types import fit
from fkd.errors import ConfigError

# A seed is part of the key of a Philox generator, whose words have 64 bits.
MAX_SEED = 2**63 - 1
MAX_CROPS = 65_536
MAX_SIZE = 4096
MAX_BATCH = 1_000_000
MAX_WORKERS = 1024
MIN_ALPHA, MAX_ALPHA = 0.01, 32  # nearly a coin, and nearly always a half
MAX_BOUND = 65_500  # the longest side that libjpeg writes


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Raise `ConfigError` unless `low <= value <= high`; `name` is the flag as the user typed it."""
    value = fit(name, value, float)
    if not low <= value <= high:
        shown = (
            f"{value:g}" if abs(value) < 1e300 or not isinstance(value, int) else "far too large"
        )
        raise ConfigError(
            f"{name} is {shown}; it must lie between {_plain(low)} and {_plain(high)}"
        )


def check_alpha(name: str, value: float) -> None:
    """Raise `ConfigError` unless `value` is 0 or an α of Beta(α, α) within bounds."""
    value = fit(name, value, float)
    if value != 0 and not MIN_ALPHA <= value <= MAX_ALPHA:
        raise ConfigError(
            f"{name} is {value:g}; it must be 0, for none, or lie between {MIN_ALPHA} and {MAX_ALPHA}"
        )


def as_typed(values: Sequence[float]) -> str:
    """Return numbers as a user types them after a flag: in four digits, with spaces between."""
    return " ".join(f"{value:.4g}" for value in values)


def _plain(bound: float) -> str:
    return f"{bound:,}" if isinstance(bound, int) else f"{bound:g}"


def check_count(name: str, value: int, low: int, high: int) -> None:
    """Raise `ConfigError` unless `value` is a whole number and `low <= value <= high`."""
    check_range(name, fit(name, value, int), low, high)


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise `ConfigError` unless `value` is one of the choices."""
    if fit(name, value, str) not in choices:
        raise ConfigError(f"{name} {value!r} is unknown; choose {', '.join(choices)}")


def check_pair(name: str, pair: tuple[float, float], low: float, high: float) -> None:
    """Raise `ConfigError` unless both numbers lie in `[low, high]` and stand in rising order."""
    for value in pair:
        check_range(name, value, low, high)
    if pair[0] > pair[1]:
        raise ConfigError(f"{name} is {pair[0]:g} {pair[1]:g}; the smaller number comes first")


def check_key(what: str, key: object, known: Sequence[str]) -> None:
    """Raise `ConfigError` for a key that a table does not know, with the nearest that it does."""
    if key not in known:
        meant = get_close_matches(str(key), known, 1)
        perhaps = f" (perhaps {meant[0]}?)" if meant else ""
        raise ConfigError(f"{what} has no {key}{perhaps}; it knows {', '.join(known)}")
