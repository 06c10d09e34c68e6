"""What the students of a study have reached, a file each, by the row of its table."""

import json
from pathlib import Path
from statistics import mean, stdev

Reached = dict[str, list[dict[str, float]]]


def reached_below(out: Path) -> Reached:
    """Return what the seeds of each row have reached, of the files `ROW-SEED.json` in a folder."""
    rows: Reached = {}
    for path in sorted(out.glob("*-[0-9]*.json")):
        said = json.loads(path.read_text())
        rows.setdefault(said["row"], []).append(said)
    return rows


def mean_and_deviation(values: list[float]) -> str:
    """Return numbers of some seeds as a table shows them, nothing of none."""
    if not values:
        return ""
    more = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{more}"
