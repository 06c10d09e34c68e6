"""Is a store whole, and is what it says true? `fkd check`.

`check_store` looks at every block, at the images and, if asked, at what the teacher says today. It
returns a `CheckReport` with a verdict for each part.
"""

from fkd.checking.check import check_store
from fkd.checking.report import CheckReport, summary

__all__ = [
    "CheckReport",
    "check_store",
    "summary",
]
