"""What is true at the positions of an image: masks that lie beside images, and texts of lines.

`masked_root` says which folder of a data set has images with masks, and `find_masks` finds those of a
list of images. `Masks` reads them as numbers of classes. A `Confusion` counts what is said at each pixel
against them. `lined_root`, `list_lines` and `find_texts` do so with `Texts`, which labels.txt says, and
`ReadLines` counts what is read of lines.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.truth.confusion import Confusion
    from fkd.truth.finding import (
        find_masks,
        masked_root,
        require_masked_root,
        unnamed_masks,
    )
    from fkd.truth.masks import Masks, mask_path
    from fkd.truth.readings import ReadLines, aligned
    from fkd.truth.text_files import (
        find_texts,
        lined_root,
        list_lines,
        require_blank,
        require_lined_root,
        require_named,
    )
    from fkd.truth.texts import Texts, Truth, as_rows, edit_distance, read_off
else:
    __getattr__, __dir__ = names_of(
        __name__,
        confusion="Confusion",
        finding="find_masks masked_root require_masked_root unnamed_masks",
        masks="Masks mask_path",
        readings="ReadLines aligned",
        text_files="find_texts lined_root list_lines require_blank require_lined_root require_named",
        texts="Texts Truth as_rows edit_distance read_off",
    )

__all__ = [
    "Confusion",
    "Masks",
    "ReadLines",
    "Texts",
    "Truth",
    "aligned",
    "as_rows",
    "edit_distance",
    "find_masks",
    "find_texts",
    "lined_root",
    "list_lines",
    "mask_path",
    "masked_root",
    "read_off",
    "require_blank",
    "require_lined_root",
    "require_masked_root",
    "require_named",
    "unnamed_masks",
]
