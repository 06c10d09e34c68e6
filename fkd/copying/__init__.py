"""Stores are made of stores: carried, copied in part, merged and averaged, without a teacher.

A source is never written to. What is made is labelled block by block as `fkd label` does it: a run that
was ended goes on where it stood, and a reader finds a block whole or not at all. What is carried byte for
byte goes between folders, zips and buckets.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.copying.average import average_stores
    from fkd.copying.carry import CarryReport, carry_store
    from fkd.copying.copy import copy_store
    from fkd.copying.inputs import check_inputs
    from fkd.copying.merge import merge_stores
    from fkd.copying.report import closing_words
    from fkd.copying.same_views import refuse_vectors
    from fkd.copying.through_folder import removed
else:
    __getattr__, __dir__ = names_of(
        __name__,
        average="average_stores",
        carry="CarryReport carry_store",
        copy="copy_store",
        inputs="check_inputs",
        merge="merge_stores",
        report="closing_words",
        same_views="refuse_vectors",
        through_folder="removed",
    )

__all__ = [
    "CarryReport",
    "average_stores",
    "carry_store",
    "check_inputs",
    "closing_words",
    "copy_store",
    "merge_stores",
    "refuse_vectors",
    "removed",
]
