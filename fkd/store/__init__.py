"""The label store: what is kept of each image and each crop.

A labeller creates a `LabelStore` for a `StoreSpec` and commits it block by block. A reader gets a
`Slab`: some crops of some images. What is read is sealed, sound and plausible, or it is an error.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.store.inspection import InspectedStore
    from fkd.store.mixes import StoredMixes
    from fkd.store.segment import BlockPlace, Segment
    from fkd.store.slabs import Block, Slab, StoredCrops
    from fkd.store.store import LabelStore
    from fkd.store.toning import Toning
else:
    __getattr__, __dir__ = names_of(
        __name__,
        inspection="InspectedStore",
        mixes="StoredMixes",
        segment="BlockPlace Segment",
        slabs="Block Slab StoredCrops",
        store="LabelStore",
        toning="Toning",
    )

__all__ = [
    "Block",
    "BlockPlace",
    "InspectedStore",
    "LabelStore",
    "Segment",
    "Slab",
    "StoredCrops",
    "StoredMixes",
    "Toning",
]
