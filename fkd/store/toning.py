"""How the tone of a store's views changes: the numbers that it is drawn by, and the pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from fkd.config import ViewPolicy
from fkd.store.store import LabelStore
from fkd.views import tone_views


@dataclass(frozen=True)
class Toning:
    """Changes the tone of rendered views of a store as their labels have it; of most stores it does not.

    `numbers` int64 [N] are those by which the views of images are drawn, None where no tone changes.
    """

    policy: ViewPolicy
    numbers: NDArray[np.int64] | None = None

    @classmethod
    def of_store(cls, store: LabelStore) -> "Toning":
        """Return that of a store."""
        plain = store.spec.views.tone.plain
        return cls(store.spec.views, None if plain else store.image_numbers())

    def change(
        self,
        views: Sequence[Tensor] | Tensor,
        images: NDArray[np.int64],
        crops: NDArray[np.int64],
    ) -> None:
        """Change views uint8 [3, h, w] in place, of crops, int64 [n], of images, int64 [n]."""
        if self.numbers is not None:
            tone_views(self.policy, views, self.numbers[images], crops)

    def change_all(
        self, views: Sequence[Tensor] | Tensor, image: int, crops: NDArray[np.int64]
    ) -> None:
        """Change views of crops, int64 [n], of one image in place."""
        self.change(views, np.full(len(crops), image), crops)
