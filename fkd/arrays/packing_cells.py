"""Labels of the positions of grids, rearranged so that like numbers stand side by side.

What a cell's neighbours in a map say tells what to expect of it, and how its numbers lie around that. So
the numbers of a step of the lattice are put in the order of what is expected of them, which a reader
knows before it has them: the compressor's tables, of a few KB each, then are of one distribution.

Frames of a line of text tell little of each other, but a line's crops say much the same. So their numbers
lie in order, where the compressor finds what comes again.

Legend: n images, m crops, X = n · m views, G positions of each, s cells of a step in all views, C
classes, K kept numbers of a position.
"""

import numpy as np
from numpy.typing import NDArray

from fkd.arrays.lattice import Places, Sums, steps
from fkd.arrays.packing import pack_ranks, unpack_ranks
from fkd.config import Grid, is_line, num_positions
from fkd.format import expects

Bytes = NDArray[np.uint8]
Ids = NDArray[np.unsignedinteger]
Keys = NDArray[np.unsignedinteger]

_NO_CLASS = 255  # what is read where a place is past all classes: readers refuse such an id


def pack_cell_codes(code: Bytes, grid: Grid) -> Bytes:
    """Turn codes u8 [n, m, G · K], position after position, into as many bytes in another order.

    Rank by rank and, of maps, step by step, they are differences to the rank before, modulo 256.
    """
    if is_line(grid):
        return _by_rank(np.diff(_by_label(code, grid), axis=1, prepend=np.uint8(0)), code)
    planes, at = _planes(code, grid), 0
    packed = np.empty((len(planes), planes[0].size), np.uint8)
    for step in steps(grid):
        now, expected = step.take(planes), step.sums(planes)
        for rank in range(len(planes)):
            order = _by_code(now, expected, rank)
            differences = now[rank] - now[rank - 1] if rank else now[rank]
            packed[rank, at : at + len(order)] = differences[order]
        at += now.shape[1]
    return packed.reshape(code.shape)


def unpack_cell_codes(packed: Bytes, grid: Grid) -> Bytes:
    """Undo `pack_cell_codes`."""
    if is_line(grid):
        steps_down = packed.reshape(-1, len(packed) * packed.shape[1] * num_positions(grid))
        return _by_rank(steps_down.cumsum(axis=0, dtype=np.uint8), packed)
    (stream, planes), at = _streams(packed, grid), 0
    for step in steps(grid):
        expected = step.sums(planes)
        now = np.empty(expected.shape, np.uint8)
        for rank in range(len(planes)):
            order = _by_code(now, expected, rank)
            now[rank][order] = stream[rank, at : at + len(order)]
            if rank:
                now[rank] += now[rank - 1]
        step.put(planes, now)
        at += expected.shape[1]
    return _by_position(planes, packed)


def _by_code(now: Bytes, expected: Sums, rank: int) -> Places:
    """Return the order of a rank's codes [s] by what is expected of them; `now` [K, s] has ranks before.

    With e the means of neighbours, c_k - c_{k-1} is expected to be e_k - c_{k-1}, and more by three
    quarters of what c_{k-1} is above e_{k-1}; 16 times that is whole, and below 0 all is alike.
    """
    key = 4 * expected[rank]
    if rank:
        key -= 3 * expected[rank - 1]
        key -= np.int16(4) * now[rank - 1]
    return np.argsort(np.maximum(key, 0), kind="stable")


def pack_cell_ids(
    ids: Ids, code: Bytes | None, grid: Grid, num_classes: int, *, sort_ties: bool = False
) -> Ids:
    """Turn ids u8 [n, m, G · K] into places among the classes as expected, as many in another order.

    `code` u8 [n, m, G · K] has the codes of the same cells, None where there are none. Classes are
    expected in the order of their codes at the neighbours; of those that a neighbour has not kept, that
    is its tail's. A place does not count classes that an earlier rank has. With `sort_ties`, ids of
    equal codes, of ranks 2 to K, come back in the order in which they are expected. Of lines, and of more
    than 256 classes, ids of any width are put rank by rank.
    """
    if not expects(grid, num_classes):
        return _by_rank(_by_label(ids, grid), ids)
    planes, codes = _planes(ids, grid), _codes(ids, code, grid)
    packed, at = np.empty((len(planes), planes[0].size), np.uint8), 0
    likeness = np.empty((num_classes, *planes.shape[1:]), np.uint8)
    for step in steps(grid):
        now, beside = step.take(planes), step.take(codes)
        sums = step.sums(likeness)
        keys = _keys(sums)
        place = _places(keys, sums, now)
        if sort_ties and code is not None:
            place[1:] = _sorted_ties(place[1:], beside[:-1])
        place = pack_ranks(place.T[None])[0].T
        for rank in range(len(planes)):
            order = _by_doubt(keys, beside, rank)
            packed[rank, at : at + len(order)] = place[rank][order]
        step.put(likeness, _likeness(now, beside, num_classes))
        at += now.shape[1]
    return packed.reshape(ids.shape)


def unpack_cell_ids(packed: Ids, code: Bytes | None, grid: Grid, num_classes: int) -> Ids:
    """Undo `pack_cell_ids`; where a place is past all classes, the id is 255."""
    if not expects(grid, num_classes):
        return _by_rank(packed.reshape(packed.shape[2] // num_positions(grid), -1), packed)
    (stream, planes), at = _streams(packed, grid), 0
    codes = _codes(packed, code, grid)
    likeness = np.empty((num_classes, *planes.shape[1:]), np.uint8)
    for step in steps(grid):
        beside, keys = step.take(codes), _keys(step.sums(likeness))
        place = np.empty((len(planes), keys.shape[1]), np.uint8)
        for rank in range(len(planes)):
            order = _by_doubt(keys, beside, rank)
            place[rank][order] = stream[rank, at : at + len(order)]
        now = _classes(keys, unpack_ranks(place.T[None])[0].T)
        step.put(planes, now)
        step.put(likeness, _likeness(now, beside, num_classes))
        at += now.shape[1]
    return _by_position(planes, packed)


def _by_label(values: Ids, grid: Grid) -> Ids:
    """Return numbers [n, m, G · K] as [n · m · G, K]."""
    return values.reshape(-1, values.shape[2] // num_positions(grid))


def _by_rank(values: Ids, like: Ids) -> Ids:
    """Turn numbers of two axes to the other order, in the shape of other numbers."""
    return np.ascontiguousarray(values.T).reshape(like.shape)


def _keys(sums: Sums) -> Keys:
    """Return what the classes' codes are at the neighbours, [C, s], with ids in the last bits; sorted."""
    keys = _with_ids(sums, np.arange(len(sums))[:, None], len(sums))
    keys.sort(axis=0)
    return keys


def _with_ids(sums: Sums, ids: NDArray[np.integer], num_classes: int) -> Keys:
    """Return sums of 10 bits with ids behind them; with 6 more they are of 16, which are soon sorted."""
    keys: Keys = sums.astype(np.uint16 if num_classes <= 2**6 else np.uint32)
    keys <<= keys.dtype.type(_id_bits(num_classes))
    keys |= ids.astype(keys.dtype)
    return keys


def _id_bits(num_classes: int) -> int:
    return 6 if num_classes <= 2**6 else 8


def _places(keys: Keys, sums: Sums, ids: Bytes) -> Bytes:
    """Return where ids u8 [K, s] stand among the keys [C, s], u8."""
    own = _with_ids(np.take_along_axis(sums, ids.astype(np.intp), axis=0), ids, len(keys))
    place = np.empty(ids.shape, np.uint8)
    for rank, key in enumerate(own):
        np.sum(keys < key, axis=0, dtype=np.uint8, out=place[rank])
    return place


def _classes(keys: Keys, place: Bytes) -> Bytes:
    """Undo `_places`."""
    within = np.minimum(place, len(keys) - 1)
    found = np.take_along_axis(keys, within.astype(np.intp), axis=0)
    ids = (found & keys.dtype.type(2 ** _id_bits(len(keys)) - 1)).astype(np.uint8)
    ids[place >= len(keys)] = _NO_CLASS
    return ids


def _by_doubt(keys: Keys, codes: Bytes, rank: int) -> Places:
    """Return the order of a rank's places [s] by how little tells it from the next one.

    That is the lesser of two: how far the class of this rank is from the next among those that are
    expected, and how far the code of the next rank is from this one's. Both are of four neighbours.
    """
    bits = _id_bits(len(keys))
    steps_down = codes[rank] - codes[rank - 1] if rank else codes[rank]
    doubt = np.int16(4) * steps_down
    if rank + 1 < len(keys):
        gap = (keys[rank + 1] >> bits) - (keys[rank] >> bits)
        doubt = np.minimum(doubt, gap.astype(np.int16))
    return np.argsort(doubt, kind="stable")


def _likeness(ids: Bytes, codes: Bytes, num_classes: int) -> Bytes:
    """Return what cells say of all classes, u8 [C, s]: codes of those that are kept, else the tail's."""
    said = np.broadcast_to(codes[-1], (num_classes, ids.shape[1])).copy()
    cells = np.arange(ids.shape[1])
    for rank in reversed(range(len(ids))):
        said[np.minimum(ids[rank], num_classes - 1), cells] = codes[rank - 1] if rank else 0
    return said


def _sorted_ties(place: Bytes, code: Bytes) -> Bytes:
    """Put places of equal codes u8 [K - 1, s], which rise with rank, in rising order."""
    keys = (code.astype(np.uint16) << np.uint16(8)) | place
    keys.sort(axis=0)
    return keys.astype(np.uint8)


def _codes(ids: Bytes, code: Bytes | None, grid: Grid) -> Bytes:
    """Return the codes of cells as planes u8 [K, h, w, X]; without any, all but the first are 1."""
    return _planes(np.ones(ids.shape, np.uint8) if code is None else code, grid)


def _planes(values: Bytes, grid: Grid) -> Bytes:
    """Turn numbers [n, m, G · K], position after position, into planes [K, h, w, X]."""
    by_view = values.reshape(-1, *grid, values.shape[2] // num_positions(grid))
    return np.ascontiguousarray(by_view.transpose(3, 1, 2, 0))


def _streams(packed: Bytes, grid: Grid) -> tuple[Bytes, Bytes]:
    """Return packed numbers rank by rank, [K, X · G], and room for their planes [K, h, w, X]."""
    n, m, length = packed.shape
    ranks = length // num_positions(grid)
    return packed.reshape(ranks, -1), np.empty((ranks, *grid, n * m), np.uint8)


def _by_position(planes: Bytes, like: Bytes) -> Bytes:
    """Undo `_planes`, in the shape of other numbers."""
    return np.ascontiguousarray(planes.transpose(3, 1, 2, 0)).reshape(like.shape)
