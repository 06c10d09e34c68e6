"""The processes of one labelling run: alone, or joined by torchrun on one or many machines.

Everything goes through the key-value store that torchrun's agents keep; there is no process group
that could hang on a rank that died. A rank that fails or is stopped leaves word there, and whoever waits,
or comes for its next batch, ends too.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any

from torch.distributed import HashStore, PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from fkd.errors import FkdError, first_line
from fkd.machine import own_device

# Seconds between two looks at what another rank has done. A wait inside the key-value store would let no
# signal through.
_LOOK = 0.1


class EndedElsewhere(FkdError):
    """A run that another rank has ended; that rank says why."""


@dataclass(frozen=True)
class Ranks:
    """This process among `num_ranks`; `keys` are shared by all of them."""

    rank: int
    num_ranks: int
    local_rank: int
    keys: Store

    @classmethod
    def join(cls) -> "Ranks":
        """Meet the other processes that torchrun started; without torchrun, stand alone."""
        if "TORCHELASTIC_RUN_ID" not in os.environ:
            return cls.alone()
        keys, rank, num_ranks = next(iter(rendezvous("env://")))
        # The agents keep their store over a restart, and in it the claims of the dead ranks.
        attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
        keys = PrefixStore(f"fkd/{attempt}/{num_ranks}", keys)
        return cls(rank, num_ranks, int(os.environ["LOCAL_RANK"]), keys)

    @classmethod
    def alone(cls) -> "Ranks":
        """Return a run of this process only, even under torchrun."""
        return cls(0, 1, 0, HashStore())

    @property
    def leads(self) -> bool:
        """Whether this is the process that creates the store, shows progress and reports."""
        return self.rank == 0

    @property
    def restarted(self) -> bool:
        """Whether torchrun started these processes anew after a failure."""
        return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0

    def device(self, name: str) -> str:
        """Return the `--device` of this rank: its own GPU where the user did not number one."""
        return own_device(name, self.local_rank) if self.num_ranks > 1 else name

    @contextmanager
    def together(self) -> Iterator[None]:
        """Tell the other ranks what ends this one, be it an error or a signal; they end with it."""
        try:
            yield
        except BaseException as error:
            if not isinstance(error, EndedElsewhere):
                with suppress(Exception):  # the keys may be gone with the agent that kept them
                    # The first word stays: what ends the others is its consequence.
                    self.keys.compare_set("ended", "", json.dumps([self.rank, _reason(error)]))
            raise

    def go_on(self) -> None:
        """Return at once, or raise what ended another rank: `EndedElsewhere` or KeyboardInterrupt."""
        if not self.keys.check(["ended"]):
            return
        rank, reason = json.loads(self.keys.get("ended"))
        if reason is None:
            raise KeyboardInterrupt
        raise EndedElsewhere(f"rank {rank} of {self.num_ranks} ended the run: {reason}")

    def once(self, key: str, work: Callable[[], Any]) -> Any:
        """Do `work` on the leading rank; return its result, a JSON value, on every rank.

        Where the leading rank fails or is stopped instead, the others raise what `go_on` raises.
        """
        if self.leads:
            self.keys.set(key, json.dumps(work()))
        while not self.keys.check([key]):
            self.go_on()
            time.sleep(_LOOK)
        return json.loads(self.keys.get(key))

    def claim(self, work: str, items: Sequence[int]) -> Iterator[int]:
        """Yield the items of a work, by its name, that no other rank was given.

        `items` is the same list on every rank.
        """
        while (position := self.add(f"claimed/{work}", 1) - 1) < len(items):
            yield items[position]

    def add(self, key: str, amount: int) -> int:
        """Add to a number that all ranks share, and return the sum, unless another rank ended the run."""
        self.go_on()
        return self.keys.add(key, amount)

    def finish(self, work: str) -> None:
        """Tell the other ranks that this one has nothing left to do of a work."""
        self.keys.set(f"finished/{work}/{self.rank}", "")

    def all_finished(self, work: str) -> bool:
        """Return whether no rank has anything left to do of a work."""
        ranks = range(self.num_ranks)
        return bool(self.keys.check([f"finished/{work}/{rank}" for rank in ranks]))


def _reason(error: BaseException) -> str | None:
    """Say why a rank ended, or None where it was stopped."""
    if isinstance(error, FkdError):
        return str(error)
    return f"{type(error).__name__}: {first_line(error)}" if isinstance(error, Exception) else None
