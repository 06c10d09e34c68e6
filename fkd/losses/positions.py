"""Logits of a grid of positions as rows, whose losses are a view's by their mean.

A student's grid and the stored one may differ. Stored labels stay as they are, since K kept classes of
neighbours cannot be blended: the student's logits come to their grid.

Legend: b views, C classes; h × w positions of a map, T frames of a line, G of either.
"""

from torch import Tensor

from fkd.amounts import as_count
from fkd.config import Grid, grid_text
from fkd.errors import SoftLabelError
from fkd.labels import GridLabels, SoftLabels, rows_of
from fkd.losses.given import fitting_labels, shown
from fkd.models import classes_of, grid_of, resized

# The shape of logits, by their number of axes.
_SHAPES = {
    3: ("lines", "[views, frames, classes]"),
    4: ("maps", "[views, classes, height, width]"),
}


def has_grid(logits: object) -> bool:
    """Say whether logits are of a map, [b, C, h, w], or a line, [b, T, C], and not of whole views."""
    return isinstance(logits, Tensor) and logits.dim() in _SHAPES


def has_frames(logits: Tensor) -> bool:
    """Say whether logits are of lines, [b, T, C]."""
    return logits.dim() == 3


def at_positions(logits: Tensor, grid: Grid) -> Tensor:
    """Return logits [b, C, h, w], or [b, T, C], at the positions of a grid, as rows [b · G, C]."""
    return rows_of(resized(logits, grid))


def by_view(losses: Tensor, num_views: int) -> Tensor:
    """Return the mean over positions, [b], of losses [b · G]."""
    return losses.reshape(num_views, -1).mean(dim=1) if num_views else losses


def fitting_positions(logits: Tensor, labels: object) -> GridLabels:
    """Return labels, `GridLabels` or probabilities of the logits' kind, in the precision of logits.

    Their grid may be any of as many sides. Raises `SoftLabelError` where the two do not belong together.
    """
    kind, shape = _SHAPES[logits.dim()]
    if not logits.is_floating_point():
        raise SoftLabelError(f"outputs are {shown(logits)}; give floats of shape {shape}")
    said = labels if isinstance(labels, GridLabels) else _dense(logits, labels)
    if len(said.grid) != logits.dim() - 2:
        raise SoftLabelError(
            f"each view has {grid_text(said.grid)} soft labels, and outputs are {kind}, {shape}; the "
            "model must return what the store holds"
        )
    if len(said) != len(logits):
        raise SoftLabelError(
            f"there are labels of {as_count(len(said), 'view')} for outputs of {len(logits):,}; give "
            "each view its own labels"
        )
    # What is looked at are shape, type and device, which a number that is repeated has, too.
    rows = logits.new_empty((1, 1)).expand(len(said.flat), classes_of(logits))
    return GridLabels(fitting_labels(rows, said.flat), said.grid)


def _dense(logits: Tensor, labels: object) -> GridLabels:
    kind, shape = _SHAPES[logits.dim()]
    grid = "(frames,)" if has_frames(logits) else "(height, width)"
    if isinstance(labels, SoftLabels):
        raise SoftLabelError(
            f"outputs are {shown(logits)}, {kind}, and the soft labels are one row each, which do not "
            f"say their grid; give GridLabels(labels, {grid}), or outputs of shape [views, classes]"
        )
    if not isinstance(labels, Tensor):
        raise SoftLabelError(
            f"soft labels are of the class {type(labels).__name__}; give GridLabels, or probabilities of "
            f"shape {shape}"
        )
    if labels.dim() != logits.dim() or not labels.is_floating_point():
        truth = "texts" if has_frames(logits) else "masks"
        raise SoftLabelError(
            f"soft labels are {shown(labels)}, and outputs are {kind}; give GridLabels, or probabilities "
            f"of shape {shape}, and {truth} as targets"
        )
    rows = rows_of(labels)
    return GridLabels(SoftLabels(None, rows, rows.new_zeros(len(rows))), grid_of(labels))


def refuse_mix(mix: object, logits: Tensor) -> None:
    """Raise `SoftLabelError` for a mix of views whose labels are maps or lines."""
    if mix is not None:
        kind, _ = _SHAPES[logits.dim()]
        raise SoftLabelError(
            f"views with {kind} of {grid_text(grid_of(logits))} outputs are not mixed, since each "
            "position has a label of its own; leave mix out"
        )


def on_one_grid(own: Tensor, known: Tensor) -> tuple[Tensor, Tensor]:
    """Return the outputs of two students as vectors are compared, the `own` ones on the other's grid.

    Of lines that is [b, C, T]: channels stand before positions.
    """
    if not (has_grid(own) and own.dim() == known.dim()):
        return own, known
    own = resized(own, grid_of(known))
    return (own.transpose(1, 2), known.transpose(1, 2)) if has_frames(own) else (own, known)
