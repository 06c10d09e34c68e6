"""`fkd pack`: a data set copied with large images made smaller, so that training decodes less."""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.packing.pack import PackReport, pack_images
else:
    __getattr__, __dir__ = names_of(__name__, pack="PackReport pack_images")

__all__ = ["PackReport", "pack_images"]
