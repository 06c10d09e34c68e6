"""What a student is fed from a store.

`run_images` are those of a run, and a `Schedule` says which crops each step takes. `student_batches`
reads their labels, decodes each image once and renders the crops. `sample_batches`
and `sample_labels` give a few crops, spread over the store.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.loader.batches import student_batches
    from fkd.loader.filling import StudentBatch
    from fkd.loader.labels import training_labels
    from fkd.loader.mixing import MixedRows
    from fkd.loader.part import chosen_images, part_identity
    from fkd.loader.picks import Picks
    from fkd.loader.planning import (
        as_stored,
        find_store,
        first_crops,
        open_store,
        pairs_of,
        plan_steps,
    )
    from fkd.loader.prefetch import StoredViews
    from fkd.loader.presence import RunImages, find_all, missing_identity, run_images
    from fkd.loader.samples import LabelSample, sample_batches, sample_labels
    from fkd.loader.schedule import Schedule
    from fkd.loader.selection import select_crops
    from fkd.loader.sizes import SizePlan
    from fkd.loader.vectors import read_vectors, restored
else:
    __getattr__, __dir__ = names_of(
        __name__,
        batches="student_batches",
        filling="StudentBatch",
        labels="training_labels",
        mixing="MixedRows",
        part="chosen_images part_identity",
        picks="Picks",
        planning="as_stored find_store first_crops open_store pairs_of plan_steps",
        prefetch="StoredViews",
        presence="RunImages find_all missing_identity run_images",
        samples="LabelSample sample_batches sample_labels",
        schedule="Schedule",
        selection="select_crops",
        sizes="SizePlan",
        vectors="read_vectors restored",
    )

__all__ = [
    "LabelSample",
    "MixedRows",
    "Picks",
    "RunImages",
    "Schedule",
    "SizePlan",
    "StoredViews",
    "StudentBatch",
    "as_stored",
    "chosen_images",
    "find_all",
    "find_store",
    "first_crops",
    "missing_identity",
    "open_store",
    "pairs_of",
    "part_identity",
    "plan_steps",
    "read_vectors",
    "restored",
    "run_images",
    "sample_batches",
    "sample_labels",
    "select_crops",
    "student_batches",
    "training_labels",
]
