"""Why an image has no labels."""

from typing import get_args

from fkd.errors import Reason

# The position is the code in a store's `status`; 0 is a labelled image.
REASONS: tuple[str, ...] = ("labelled", *get_args(Reason))
