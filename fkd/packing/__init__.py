"""`fkd pack`: images copied from any source to a folder or to tar shards, large ones made smaller.

Masks and texts of lines beside images in folders go along.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.packing.pack import pack_images
    from fkd.packing.report import PackReport
else:
    __getattr__, __dir__ = names_of(__name__, pack="pack_images", report="PackReport")

__all__ = ["PackReport", "pack_images"]
