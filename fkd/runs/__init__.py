"""The folder of a run: what it holds, who writes it, and its curves.

`open_run` makes the folder or finds it again, and gives a `Run` that writes to it. `read_metrics` reads
what was written, and `plot_runs` draws it.
"""

from typing import TYPE_CHECKING

from fkd.faces import names_of

if TYPE_CHECKING:
    from fkd.runs.curves import plot_runs
    from fkd.runs.folder import open_run
    from fkd.runs.metrics import JUDGES, METRICS, judged_by, read_metrics
    from fkd.runs.place import folder_of, holds_run, refuse_other_store
    from fkd.runs.run import Run
    from fkd.runs.tracking import require_trackers
else:
    __getattr__, __dir__ = names_of(
        __name__,
        curves="plot_runs",
        folder="open_run",
        metrics="JUDGES METRICS judged_by read_metrics",
        place="folder_of holds_run refuse_other_store",
        run="Run",
        tracking="require_trackers",
    )

__all__ = [
    "JUDGES",
    "METRICS",
    "Run",
    "folder_of",
    "holds_run",
    "judged_by",
    "open_run",
    "plot_runs",
    "read_metrics",
    "refuse_other_store",
    "require_trackers",
]
