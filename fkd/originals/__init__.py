"""What a store was made from: are today's images, and today's pixels of them, those that were labelled?

`find_images` lists the images that a store was made from, and no others; `find_present` those of them
that are still there. `find_labelled_masks` finds the masks beside them, `find_labelled_texts` the texts.
`probe` remembers what pictures look like to the labeller, and `drift` says how they look different now.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.originals.labelled_images import (
        LabelledImages,
        PresentImages,
        find_images,
        find_present,
        image_root,
        is_file_of_images,
        listed_again,
        present_among,
    )
    from fkd.originals.labelled_masks import LabelledMasks, find_labelled_masks
    from fkd.originals.labelled_texts import (
        LabelledTexts,
        LabelledTruth,
        find_labelled_texts,
        find_labelled_truth,
    )
    from fkd.originals.pixel_probe import drift, probe, probe_formats
else:
    __getattr__, __dir__ = names_of(
        __name__,
        labelled_images="LabelledImages PresentImages find_images find_present image_root "
        "is_file_of_images listed_again present_among",
        labelled_masks="LabelledMasks find_labelled_masks",
        labelled_texts="LabelledTexts LabelledTruth find_labelled_texts find_labelled_truth",
        pixel_probe="drift probe probe_formats",
    )

__all__ = [
    "LabelledImages",
    "LabelledMasks",
    "LabelledTexts",
    "LabelledTruth",
    "PresentImages",
    "drift",
    "find_images",
    "find_labelled_masks",
    "find_labelled_texts",
    "find_labelled_truth",
    "find_present",
    "image_root",
    "is_file_of_images",
    "listed_again",
    "present_among",
    "probe",
    "probe_formats",
]
