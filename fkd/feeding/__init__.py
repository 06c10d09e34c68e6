"""What a training loop of one's own is fed.

`StudentLoader` gives the batches that `fkd train` would train on, epoch by epoch, and goes on exactly
where a run was stopped. A `ViewBatch` has the views, their labels, and which stored crops they are.
`CenterViewLoader` gives the images that the student is evaluated on.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.feeding.batch import ViewBatch
    from fkd.feeding.evaluation import CenterViewLoader
    from fkd.feeding.loader import StudentLoader
else:
    __getattr__, __dir__ = names_of(
        __name__,
        batch="ViewBatch",
        evaluation="CenterViewLoader",
        loader="StudentLoader",
    )

__all__ = ["CenterViewLoader", "StudentLoader", "ViewBatch"]
