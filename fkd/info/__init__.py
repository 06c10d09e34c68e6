"""What a store holds, in words and bytes: `fkd info`, and what other commands say of a store in passing.

`info_lines` is all of it on one screen, `bytes_per_crop` what a crop takes on disk. Labels are not read
and torch is not loaded.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.info.fidelity import (
        fidelity_words,
    )
    from fkd.info.labelled import (
        bad_images,
        num_crops_labelled,
        num_finished,
        num_labelled,
        reached,
    )
    from fkd.info.lines import (
        info_lines,
        kept_lines,
        mix_words,
    )
    from fkd.info.sizes import (
        bytes_per_crop,
        bytes_per_label,
        per_label,
    )
    from fkd.info.targets import (
        target_words,
    )
else:
    __getattr__, __dir__ = names_of(
        __name__,
        fidelity="fidelity_words",
        labelled="bad_images num_crops_labelled num_finished num_labelled reached",
        lines="info_lines kept_lines mix_words",
        sizes="bytes_per_crop bytes_per_label per_label",
        targets="target_words",
    )

__all__ = [
    "bad_images",
    "bytes_per_crop",
    "bytes_per_label",
    "fidelity_words",
    "info_lines",
    "kept_lines",
    "mix_words",
    "num_crops_labelled",
    "num_finished",
    "num_labelled",
    "per_label",
    "reached",
    "target_words",
]
