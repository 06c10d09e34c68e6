"""What a training loop of one's own is fed.

`StudentLoader` gives the batches that `fkd train` would train on, epoch by epoch, and goes on exactly
where a run was stopped. A `ViewBatch` has the views, their labels, and which stored crops they are.
`CenterViewLoader` gives the images that the student is evaluated on.
`CropDataset` gives the crops of one image at a time, for those whose trainer asks image by image.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.feeding.batch import ViewBatch
    from fkd.feeding.dataset import CropDataset
    from fkd.feeding.evaluation import CenterViewLoader
    from fkd.feeding.loader import StudentLoader
else:
    __getattr__, __dir__ = names_of(
        __name__,
        batch="ViewBatch",
        dataset="CropDataset",
        evaluation="CenterViewLoader",
        loader="StudentLoader",
    )

__all__ = ["CenterViewLoader", "CropDataset", "StudentLoader", "ViewBatch"]
