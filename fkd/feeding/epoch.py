"""Which epoch a dataset is in, and what it was asked for in it: in memory that its workers share."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray


class SharedEpoch:
    """The epoch of a dataset of N images, one for this process and all workers that it starts.

    A `DataLoader` copies its dataset to its workers, once where they persist. What is written here in one
    process is read in all of them. A copy that was pickled for other ends has an epoch of its own.
    """

    def __init__(self, num_images: int) -> None:
        self._number = _zeros(1, torch.int64)
        self._asked = _zeros(num_images, torch.bool)
        self._singly = _zeros(1, torch.int64)
        self._repeats_said = _zeros(1, torch.bool)
        self._share()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._share()

    def _share(self) -> None:
        for values in (self._number, self._asked, self._singly, self._repeats_said):
            values.share_memory_()  # type: ignore[no-untyped-call]

    @property
    def number(self) -> int:
        """The epoch, from 0."""
        return int(self._number)

    def begin(self, number: int) -> None:
        """Begin an epoch, in which nothing has been asked for."""
        self._number.fill_(number)
        self._asked.zero_()
        self._singly.zero_()

    def first_repeat(self, positions: NDArray[np.int64]) -> int | None:
        """Note that images [n] are asked for. Return the first to be asked for again, one time only."""
        asked = self._asked.numpy()
        again = positions[asked[positions]]
        asked[positions] = True
        return int(again[0]) if len(again) and self._is_news() else None

    def is_second_round(self) -> bool:
        """Note that one image is asked for by itself. Say if more were than there are, one time only.

        Whoever looks at some images, perhaps twice, has begun no epoch.
        """
        self._singly += 1
        return int(self._singly) > len(self._asked) and self._is_news()

    def _is_news(self) -> bool:
        said = bool(self._repeats_said)
        self._repeats_said.fill_(True)
        return not said


def _zeros(count: int, dtype: torch.dtype) -> torch.Tensor:
    # Processes share memory of the CPU alone, whatever the default device is.
    return torch.zeros(count, dtype=dtype, device="cpu")
