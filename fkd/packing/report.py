"""What became of images that were packed."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class Outcome:
    """What became of one image: the size of its copy with its mask's, and why one of them is bad.

    `packed` says that it was made smaller, `found` that its copy was there already.
    """

    num_bytes: int
    packed: bool = False
    found: bool = False
    bad: tuple[str, str] | None = None


@dataclass(frozen=True)
class PackReport:
    """What a run did: how many images it made smaller, copied, and found from an earlier run.

    `bad` has (name, reason) of each image or mask that this run looked at and could not decode.
    The bytes are those of all images and masks, before and after, whichever run packed them.
    """

    packed: int
    copied: int
    found: int
    bad: tuple[tuple[str, str], ...]
    bytes_before: int
    bytes_after: int

    @classmethod
    def of(cls, outcomes: Iterable[Outcome], bytes_before: int) -> "PackReport":
        """Add up what became of all images."""
        every = list(outcomes)
        packed, found = sum(o.packed for o in every), sum(o.found for o in every)
        bad = tuple(o.bad for o in every if o.bad)
        return cls(
            packed=packed,
            copied=len(every) - packed - found - len(bad),
            found=found,
            bad=bad,
            bytes_before=bytes_before,
            bytes_after=sum(o.num_bytes for o in every),
        )
