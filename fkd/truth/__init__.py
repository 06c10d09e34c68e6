"""Which class each pixel of an image is of: masks that lie beside images.

`masked_root` says which folder of a data set has images with masks, and `find_masks` finds those of a
list of images. `Masks` reads them as numbers of classes. A `Confusion` counts what is said at each pixel
against them.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.truth.confusion import Confusion
    from fkd.truth.finding import find_masks, masked_root, require_masked_root
    from fkd.truth.masks import Masks
else:
    __getattr__, __dir__ = names_of(
        __name__,
        confusion="Confusion",
        finding="find_masks masked_root require_masked_root",
        masks="Masks",
    )

__all__ = ["Confusion", "Masks", "find_masks", "masked_root", "require_masked_root"]
