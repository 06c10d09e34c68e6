"""The page of a run: `docs/results/gpu.md` from `gpu.json`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .record import NOT_RUN

Row = Mapping[str, Any]  # what, figures, ok

HEAD = """
`scripts/gpu` writes this page, and `gpu.json` beside it, after every check. It takes at most eight
minutes and downloads nothing. A run adds to what earlier ones found: the table is of the last run,
and a check says where its own differed. `--missing` begins with what no run has finished yet, or whose
code has changed since, `--only WORD` runs some checks, and `--take gpu.json` adds what was found
elsewhere. `PYTHON=python3 scripts/gpu` uses a Python that has fkd's packages already. With `--images`
(a folder with train and val), `--teacher`, `--teacher-weights` and `--teacher-classes` it trains
students of real images too. `scripts/gpu --tiny --device cpu --out rehearsal` rehearses every check in
one to two minutes on two cores; the tests do that.

A figure is as expected where nothing differs, nothing is waited for or lost, losses fall, and speed is
0.95 or more of the network alone: "of the forward" is a share of the teacher's speed on views that lie
on the device, "ratio" of the student's.

The last run:
"""
STALE = (
    "**Of earlier code:** what this looks at has changed since, so it says nothing of the code of today. "
    "`--missing` runs it again."
)
FOOT = """
## What a CPU could tell

The order of work and its arithmetic were read and are tested without a GPU
(`tests/test_device_order.py`, `tests/test_device_steps.py`, `tests/test_device_kinds.py`): a step of
training of every loss but CTC, labels of every kind and a table of crops ask the device for
everything and read nothing back, and each copy to it is one that waits for nothing.
`tests/test_pretended_gpu.py` runs whole commands on a GPU that is none: its tensors lie in the CPU's
memory, one that was left behind there is refused, and each wait is counted. The renderer uses no
operation that a GPU rounds otherwise, and asks for a bounded number of them. Its kernels were run by
Triton's interpreter, to the same pixels, and compiled for GPUs that were not there
(`tests/views/test_kernels.py`). No test sees whether copies run beside the work, NCCL, which kernels
are not deterministic, memory, or a figure of speed: of these only what stands above is known.
"""


def write(report: Mapping[str, Any], folder: Path) -> None:
    """Write gpu.json and gpu.md into a folder, each whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = {"gpu.json": json.dumps(report, indent=1) + "\n", "gpu.md": page(report)}
    for name, text in texts.items():
        aside = folder / f"{name}.partial"
        aside.write_text(text, "utf-8")
        aside.replace(folder / name)


def page(report: Mapping[str, Any]) -> str:
    """Return the page in Markdown."""
    about, checks = report["about"], report["checks"]
    lines = ["# On a GPU", *HEAD.split("\n")]
    if not about["cuda"]:
        lines += ["**A rehearsal on a CPU. Nothing here was measured on a GPU.**", ""]
    lines += [f"    {about['command']}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in about.items() if name != "command"]
    lines += ["", *_short(checks)]
    phase = ""
    phases = list(dict.fromkeys(name.split(":")[0] for name in checks))
    run = [(name, check) for name, check in checks.items() if check["trouble"] != NOT_RUN]
    for name, check in sorted(run, key=lambda item: phases.index(item[0].split(":")[0])):
        if name.split(":")[0] != phase:
            phase = name.split(":")[0]
            lines += ["", f"## {phase.capitalize()}"]
        lines += ["", f"### {name.split(': ', 1)[1]}", "", check["question"], ""]
        lines += [*_table(check["rows"]), *([""] if check["rows"] else [])]
        lines += [", ".join([f"{check['seconds']:.0f} s", *_elsewhere(check, about)]) + "."]
        if check["trouble"]:
            lines += ["", f"**Cut off:** {check['trouble']}"]
        if check["stale"]:
            lines += ["", STALE]
    waiting = {name: check for name, check in checks.items() if check["trouble"] == NOT_RUN}
    if waiting:
        lines += ["", "## Not run yet", ""]
        lines += [f"- **{name}.** {check['question']}" for name, check in waiting.items()]
    return "\n".join(lines) + "\n" + FOOT


def _elsewhere(check: Mapping[str, Any], about: Mapping[str, Any]) -> list[str]:
    """Say what the run that found this had that the last run, at the head of the page, had not."""
    return [str(value) for name, value in check["about"].items() if about.get(name) != value]


def _short(checks: Mapping[str, Any]) -> list[str]:
    """Name what is not as it should be."""
    wrong = [
        f"- {name}: {row['what']}: {_figures(row)}{_of_earlier(check)}"
        for name, check in checks.items()
        for row in check["rows"]
        if row["ok"] is False
    ]
    cut = {name: c["trouble"] for name, c in checks.items() if c["trouble"] not in ("", NOT_RUN)}
    wrong += [f"- {name}: {trouble}{_of_earlier(checks[name])}" for name, trouble in cut.items()]
    counted = sum(row["ok"] is True for check in checks.values() for row in check["rows"])
    if not wrong:
        return [f"All {counted} figures for which something is expected are as expected."]
    return [f"{counted} figures are as expected, these are not:", "", *wrong]


def _of_earlier(check: Mapping[str, Any]) -> str:
    return " (of earlier code)" if check["stale"] else ""


def _figures(row: Row) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in row["figures"].items() if value is not None
    )


def _table(rows: Sequence[Row]) -> list[str]:
    """Return a table with a column for each figure that any row has, nothing without rows."""
    if not rows:
        return []
    names = list(dict.fromkeys(name for row in rows for name in row["figures"]))
    judged = any(row["ok"] is not None for row in rows)
    head = ["", *names, *(["as expected"] if judged else [])]
    lines = ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
    for row in rows:
        cells = [row["what"], *(_cell(row["figures"].get(name)) for name in names)]
        if judged:
            cells.append({True: "yes", False: "**no**", None: ""}[row["ok"]])
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return lines


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:,}" if isinstance(value, (int, float)) else str(value)
