"""Which rows of a batch: all that cuts a tensor to some of its rows, and nothing that drops an axis."""

import operator
from collections.abc import Sequence
from contextlib import suppress
from typing import TypeAlias

from torch import Tensor

from fkd.errors import SoftLabelError

# A slice, numbers int64 [b], bool [B] for the rows where it is true, or the number of one row.
Rows: TypeAlias = slice | int | Sequence[int] | Tensor


def as_rows(rows: Rows) -> Rows:
    """Return rows as a tensor understands them: of one number they are one row, of a tuple several.

    Arrays of NumPy are as good as tensors. Raises `SoftLabelError` for what names no rows.
    """
    if isinstance(rows, (slice, range)) or getattr(rows, "ndim", None) == 1:
        return rows
    if isinstance(rows, (tuple, list)):
        return list(rows)
    with suppress(TypeError):
        if not isinstance(rows, bool):
            return [operator.index(rows)]  # type: ignore[arg-type]  # what is no number says so
    raise SoftLabelError(
        f"rows are of the class {type(rows).__name__}; give a slice, numbers of shape [b], or truths of "
        "shape [B]"
    )
