"""The grid of positions that labels of a view are of.

A label of a whole view has the grid (). A map has (h, w), of which the view is divided into h rows of w
cells, each with a label of its own. A line of text has (T,), of which it is divided into T frames from
left to right.
"""

import math

Grid = tuple[int, ...]

MAX_POSITIONS = 2**20  # of one view

IGNORED = 255  # of a mask: a pixel that counts for nothing

BLANK = 0  # of a line: the class of a frame that says no character, as CTC has it
NO_TEXT = -1  # in the place of characters, where a line has no text that counts


def num_positions(grid: Grid) -> int:
    """Return how many labels a view has: 1 where it has one of its own."""
    return math.prod(grid)


def grid_text(grid: Grid) -> str:
    """Return a grid as people read it: "33x33", "40", and "" for a label of the whole view."""
    return "x".join(map(str, grid))


def is_line(grid: Grid) -> bool:
    """Say whether a grid is of the frames of a line of text."""
    return len(grid) == 1


def grid_words(grid: Grid) -> str:
    """Say what a view has: "one label", "a map of 33x33 labels" or "a line of 40 labels"."""
    if not grid:
        return "one label"
    return f"a {'line' if is_line(grid) else 'map'} of {grid_text(grid)} labels"


def grids_words(grid: Grid) -> str:
    """Say what a store keeps: "one label a view", "maps of 33x33 labels" or "lines of 40 labels"."""
    if not grid:
        return "one label a view"
    return f"{'lines' if is_line(grid) else 'maps'} of {grid_text(grid)} labels"


def grid_training(grid: Grid, num_crops: int, *, truth: bool) -> str:
    """Return the options of `fkd train` that a store of maps or lines is learned with.

    That is their recipe. Without masks or texts the loss is to the store alone; of one crop an image, no
    more are taken at a time.
    """
    recipe = "lines" if is_line(grid) else "maps"
    loss, once = "" if truth else " --loss kl", " --crops-per-image 1" if num_crops == 1 else ""
    return f"--recipe {recipe}{loss}{once}"
