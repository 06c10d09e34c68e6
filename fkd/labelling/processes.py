"""The processes of one labelling run: alone, or joined by torchrun on one or many machines.

Everything goes through the key-value store that torchrun's agents keep; there is no process group
that could hang on a rank that died.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from torch.distributed import HashStore, PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from fkd.machine import own_device

# Longer than any block takes, and than any rank reads its list of images.
_PATIENCE = timedelta(days=7)


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

    def once(self, key: str, work: Callable[[], Any]) -> Any:
        """Do `work` on the leading rank; return its result, a JSON value, on every rank."""
        if self.leads:
            self.keys.set(key, json.dumps(work()))
        else:
            self.keys.wait([key], _PATIENCE)
        return json.loads(self.keys.get(key))

    def claim(self, items: Sequence[int]) -> Iterator[int]:
        """Yield the items that no other rank was given; `items` is the same list on every rank."""
        while (position := self.add("claimed", 1) - 1) < len(items):
            yield items[position]

    def add(self, key: str, amount: int) -> int:
        """Add to a number that all ranks share, and return the sum."""
        return self.keys.add(key, amount)

    def finish(self) -> None:
        """Tell the other ranks that this one has nothing left to do."""
        self.keys.set(f"finished/{self.rank}", "")

    def all_finished(self) -> bool:
        """Return whether every rank has nothing left to do."""
        return bool(self.keys.check([f"finished/{rank}" for rank in range(self.num_ranks)]))
