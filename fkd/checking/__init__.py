"""Is a store whole, and is what it says true? `fkd check`.

`check_store` looks at every block, at the images and, if asked, at what the teacher says today. It
returns a `CheckReport` with a verdict for each part.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.checking.check import check_store
    from fkd.checking.report import CheckReport, summary
else:
    __getattr__, __dir__ = names_of(
        __name__,
        check="check_store",
        report="CheckReport summary",
    )

__all__ = [
    "CheckReport",
    "check_store",
    "summary",
]
