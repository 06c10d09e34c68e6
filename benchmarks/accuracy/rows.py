"""The students of a study, a file each below one folder, by the row of its table and their seed."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev

from fkd import LabelStore, Scheme
from fkd.copying import copy_store
from fkd.info import bytes_per_crop
from fkd.orders import CopyConfig
from fkd.runs import read_metrics

Seeds = list[dict[str, float]]  # what each of them has reached
Reached = dict[str, Seeds]


def missing(out: Path, rows: Sequence[str], seeds: int) -> Iterator[tuple[str, int]]:
    """Yield the students that have no file yet, each row once before any has its next seed."""
    for seed in range(seeds):
        for row in rows:
            if not _file(out, row, seed).exists():
                yield row, seed


def keep(out: Path, row: str, seed: int, reached: dict[str, float]) -> None:
    """Write what a student has reached."""
    _file(out, row, seed).write_text(json.dumps(reached | {"row": row, "seed": seed}))


def run_folder(out: Path, row: str, seed: int) -> Path:
    """Return where a student of a row is trained."""
    return out / f"{row}-seed{seed}".replace(" ", "_").replace(",", "")


def last_evaluation(run: Path) -> dict[str, float]:
    """Return the numbers of the last evaluation of a run."""
    last = [line for line in read_metrics(run) if line["kind"] == "eval"][-1]
    return {name: value for name, value in last.items() if isinstance(value, float)}


def reached_below(out: Path) -> Reached:
    """Return what the seeds of each row have reached."""
    rows: Reached = {}
    for path in sorted(out.glob("*-[0-9]*.json")):
        said = json.loads(path.read_text())
        rows.setdefault(said["row"], []).append(said)
    return rows


def table_of(
    out: Path,
    size: str,
    measures: Mapping[str, str],
    named: Callable[[str, Seeds], tuple[str, str]],
) -> list[str]:
    """Return a table of what the students of all rows below a folder have reached, in Markdown.

    `measures` are keys of what was reached, shares of 1, by the heads of their columns; `named` returns
    how a row is called and what is in the column of its `size`.
    """
    heads = ["student", size, *measures, "seeds"]
    table = [f"| {' | '.join(heads)} |", "|---|" + "--:|" * (len(heads) - 1)]
    for row, seeds in reached_below(out).items():
        found = ([100 * seed[key] for seed in seeds if key in seed] for key in measures.values())
        cells = [*named(row, seeds), *map(mean_and_deviation, found), str(len(seeds))]
        table.append(f"| {' | '.join(cells)} |")
    return table


def mean_and_deviation(values: list[float]) -> str:
    """Return numbers of some seeds as a table shows them, nothing of none."""
    if not values:
        return ""
    more = f" ± {stdev(values):.1f}" if len(values) > 1 else ""
    return f"{mean(values):.1f}{more}"


def copies(store: LabelStore, schemes: Sequence[str], out: Path) -> None:
    """Copy a full store by each scheme; write what a crop takes, without what lies beside its label."""
    for scheme in schemes:
        path = _size_file(out, scheme)
        if path.exists():
            continue
        parts = bytes_per_crop(store)
        if scheme != "full":
            config = CopyConfig(store.path, _copy(out, scheme), scheme=Scheme.parse(scheme))
            parts = bytes_per_crop(copy_store(config))
        taken = sum(parts.get(part, 0.0) for part in ("box", "flip", "ids", "values"))
        path.write_text(json.dumps({"bytes": taken}))


def copy_of(store: LabelStore, scheme: str, out: Path) -> LabelStore:
    """Return the copy of a store by a scheme, or the store itself where there is none."""
    path = _copy(out, scheme)
    return LabelStore.open(path) if path.exists() else store


def size_of(scheme: str, out: Path) -> str:
    """Return the bytes of a crop as a table shows them, nothing where none were weighed."""
    path = _size_file(out, scheme)
    return f"{json.loads(path.read_text())['bytes']:,.0f}" if path.exists() else ""


def _file(out: Path, row: str, seed: int) -> Path:
    return out / f"{row}-{seed}.json"


def _copy(out: Path, scheme: str) -> Path:
    return out / f"{scheme}.zarr"


def _size_file(out: Path, scheme: str) -> Path:
    return out / f"{scheme}.bytes.json"
