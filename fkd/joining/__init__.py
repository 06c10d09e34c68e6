"""One more teacher for a finished store: `fkd label --add-teacher`.

`add_teacher` runs the new teachers alone, over the stored views, and writes the mean of their labels and
the stored ones to a new store. What labels and what is committed is that of `fkd.labelling`.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.joining.add import add_teacher
    from fkd.joining.inputs import check_adding
else:
    __getattr__, __dir__ = names_of(__name__, add="add_teacher", inputs="check_adding")

__all__ = ["add_teacher", "check_adding"]
