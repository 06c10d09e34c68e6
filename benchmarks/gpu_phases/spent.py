"""What the time of a run was spent on, and what held it back."""

from dataclasses import astuple, dataclass
from typing import Self

from .findings import Figures

ENOUGH = 0.95  # of what the device does alone


@dataclass(frozen=True)
class Spent:
    """What went into `views` in `seconds`.

    `main`, `decoders` and `others` are seconds of the processor, of the main thread, of the threads that
    decode and of all other threads. The main thread waited `no_batch` seconds for a batch and
    `device_behind` for the device. `network` and `rendering` are seconds of the device.
    """

    views: int
    seconds: float
    main: float
    decoders: float
    others: float
    no_batch: float
    device_behind: float
    network: float
    rendering: float

    def __add__(self, other: Self) -> Self:
        """Return what both were spent on together."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return type(self)(*(one + another for one, another in pairs))

    @property
    def held_up(self) -> float:
        """Seconds in which the main thread had work and did not run.

        Another thread had Python's lock or the core, or went back through the network for it.
        """
        return max(0.0, self.seconds - self.main - self.no_batch - self.device_behind)

    def figures(self) -> Figures:
        """Return shares of the time, and microseconds of the processor for each view."""
        each = 1e6 / max(1, self.views)
        return {
            "main thread works": self._share(self.main),
            "waits for a batch": self._share(self.no_batch),
            "waits for the device": self._share(self.device_behind),
            "is held up": self._share(self.held_up),
            "its µs a view": round(self.main * each, 1),
            "µs of decoders": round(self.decoders * each, 1),
            "of others": round(self.others * each, 1),
            "device: network": self._share(self.network),
            "device: rendering": self._share(self.rendering),
        }

    def held_back_by(self, ratio: float) -> str:
        """Say what kept a run at a `ratio` of what the network does alone.

        It is what most of the main thread's time went into. Where that is waiting for the device, it is
        what most of the device's went into beyond what the network takes alone.
        """
        if ratio >= ENOUGH:
            return "nothing"
        main = {
            "the main thread's work": self.main,
            "the main thread, held up": self.held_up,
            "the threads that decode": self.no_batch,
            "the device": self.device_behind,
        }
        most = max(main, key=main.__getitem__)
        if most != "the device":
            return most
        device = {
            "the device: rendering": self.rendering,
            "the device: a slower network": self.network - ratio * self.seconds,
            "the device: all else": self.seconds - self.network - self.rendering,
        }
        return max(device, key=device.__getitem__)

    def _share(self, seconds: float) -> str:
        return f"{seconds / self.seconds:.0%}"
