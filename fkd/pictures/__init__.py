"""Crops of a store as pictures: rendered as a student gets them, with the labels that it learns from.

A `CropViewer` draws images with their crops, and galleries of crops of many images. Each is a `Picture`:
a figure's files with the words and the numbers that belong to it. It needs matplotlib.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.pictures.figure_parts import (
        EDGE,
        place_axes,
    )
    from fkd.pictures.map_figures import (
        class_colours,
    )
    from fkd.pictures.picture import (
        Picture,
        Table,
        as_files,
    )
    from fkd.pictures.shown import (
        Pixels,
    )
    from fkd.pictures.viewer import (
        CropViewer,
    )
else:
    __getattr__, __dir__ = names_of(
        __name__,
        figure_parts="EDGE place_axes",
        map_figures="class_colours",
        picture="Picture Table as_files",
        shown="Pixels",
        viewer="CropViewer",
    )

__all__ = [
    "EDGE",
    "CropViewer",
    "Picture",
    "Pixels",
    "Table",
    "as_files",
    "class_colours",
    "place_axes",
]
