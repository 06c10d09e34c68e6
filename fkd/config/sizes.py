"""The sizes of a student's views over a run, as a user writes them.

Legend: H and W are the height and width of a view in pixels.
"""

import re
from dataclasses import dataclass

from fkd.config.checks import MAX_SIZE, check_count
from fkd.config.types import settle
from fkd.config.views import Size, as_size, sides_of, size_text
from fkd.errors import ConfigError

_SIDES = re.compile(r"\s*(\d{1,9})(?:\s*[xX×\s]\s*(\d{1,9}))?\s*")


@dataclass(frozen=True)
class ViewSizes:
    """The size of views at the beginning of a run and at its end.

    Most runs have one size. In text that is a side ("224"), or height and width ("160x224", "160 224");
    the two ends of a run stand with a colon between ("128:224").
    """

    first: Size
    last: Size

    def __post_init__(self) -> None:
        settle(self)
        for name in ("first", "last"):
            object.__setattr__(self, name, as_size(*sides_of(getattr(self, name))))

    @classmethod
    def parse(cls, text: str) -> "ViewSizes":
        """Read what a user writes; anything else is refused."""
        ends = [_SIDES.fullmatch(end) for end in text.split(":")]
        found = [_size(end) for end in ends if end is not None]
        if len(found) < len(ends) or len(ends) > 2:
            raise ConfigError(
                f"size {text!r} is unknown; give the side of square views (224), height and width "
                "(160x224), or the first and the last size of a run (128:224)"
            )
        return cls(found[0], found[-1])

    @classmethod
    def of_numbers(cls, value: object) -> "ViewSizes | None":
        """Return the one size that a number, or height and width, stand for; None for anything else."""
        sides = value if isinstance(value, (tuple, list)) else (value, value)
        whole = all(isinstance(side, int) and not isinstance(side, bool) for side in sides)
        if len(sides) != 2 or not whole:
            return None
        size = as_size(*sides)
        return cls(size, size)

    def __str__(self) -> str:
        """Return what `parse` reads."""
        ends = dict.fromkeys(size_text(end) for end in (self.first, self.last))
        return ":".join(ends)

    @property
    def grow(self) -> bool:
        """Whether the run ends at another size than it begins at."""
        return self.first != self.last

    def check(self, flag: str, multiple: int | None = None) -> None:
        """Refuse sides that cannot be, and sizes that shrink.

        With `multiple` there may be several sizes, whose sides are multiples of it. Raises `ConfigError`.
        """
        for side in (*sides_of(self.first), *sides_of(self.last)):
            check_count(flag, side, 1, MAX_SIZE)
        if not self.grow:
            return
        if multiple is None:
            raise ConfigError(f"{flag} is {self}; it is one size, such as {size_text(self.last)}")
        ends = list(zip(sides_of(self.first), sides_of(self.last), strict=True))
        if any(first > last for first, last in ends):
            raise ConfigError(
                f"{flag} {self} shrinks; sizes grow over a run, so the smaller one comes first"
            )
        for side in (side for end in ends for side in end):
            if side % multiple:
                below = max(1, side // multiple) * multiple
                raise ConfigError(
                    f"{flag} {self}: {side} is not a multiple of {multiple}; take {below} or "
                    f"{below + multiple}, or another --size-multiple"
                )

    def steps(self, multiple: int) -> list[Size]:
        """Return the sizes of a run in order, evenly from the first to the last.

        The side that grows most takes every multiple on its way; the other is rounded to the nearest.
        """
        ends = list(zip(sides_of(self.first), sides_of(self.last), strict=True))
        count = max((last - first) // multiple for first, last in ends)
        if not count:
            return [self.last]
        return [
            as_size(
                *(first + _rounded((last - first) * n / count, multiple) for first, last in ends)
            )
            for n in range(count + 1)
        ]


def _size(end: "re.Match[str]") -> Size:
    height = int(end[1])
    return as_size(height, int(end[2] or height))


def _rounded(length: float, multiple: int) -> int:
    return int(length / multiple + 0.5) * multiple
