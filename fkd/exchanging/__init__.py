"""Label sets of other programs: `fkd import` makes a store of one, `fkd export-labels` one of a store.

`import_labels` reads what a `ForeignLabels` gives of each image: boxes, flips and labels. FKD's own files
are the format that there is.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.exchanging.exporting import ExportReport, export_labels
    from fkd.exchanging.importing import import_labels
    from fkd.exchanging.inputs import check_import
    from fkd.exchanging.joint import ForeignImage, ForeignLabels, LabelFileError, Traits
else:
    __getattr__, __dir__ = names_of(
        __name__,
        exporting="ExportReport export_labels",
        importing="import_labels",
        inputs="check_import",
        joint="ForeignImage ForeignLabels LabelFileError Traits",
    )

__all__ = [
    "ExportReport",
    "ForeignImage",
    "ForeignLabels",
    "LabelFileError",
    "Traits",
    "check_import",
    "export_labels",
    "import_labels",
]
