"""How ids and codes of the cells of maps are laid out for the compressor: rank by rank, each a plane.

Legend: n images, m crops, G cells of a map, K kept numbers of each.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Cells = NDArray[Any]


def pack_cells(values: Cells, num_positions: int) -> Cells:
    """Turn numbers cell by cell, [n, m, G · K], into plane by plane, [n, m, K · G]."""
    n, m, _ = values.shape
    planes = values.reshape(n, m, num_positions, -1).transpose(0, 1, 3, 2)
    return np.ascontiguousarray(planes).reshape(n, m, -1)


def unpack_cells(planes: Cells, num_positions: int) -> Cells:
    """Undo `pack_cells`."""
    return pack_cells(planes, planes.shape[2] // num_positions)
