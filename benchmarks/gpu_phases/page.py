"""The page of a run: `docs/results/gpu.md` from `gpu.json`."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

Row = Mapping[str, Any]  # what, figures, ok


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
    lines = ["# On a GPU", ""]
    if not about["cuda"]:
        lines += ["**A rehearsal on a CPU. Nothing here was measured on a GPU.**", ""]
    lines += [f"    {about['command']}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {value} |" for name, value in about.items() if name != "command"]
    lines += ["", *_short(checks)]
    phase = ""
    phases = list(dict.fromkeys(name.split(":")[0] for name in checks))
    for name, check in sorted(checks.items(), key=lambda item: phases.index(item[0].split(":")[0])):
        if name.split(":")[0] != phase:
            phase = name.split(":")[0]
            lines += ["", f"## {phase.capitalize()}"]
        lines += ["", f"### {name.split(': ', 1)[1]}", "", check["question"], ""]
        lines += [*_table(check["rows"]), "", f"{check['seconds']:.0f} s."]
        if check["trouble"]:
            lines += ["", f"**Cut off:** {check['trouble']}"]
    return "\n".join(lines) + "\n"


def _short(checks: Mapping[str, Any]) -> list[str]:
    """Name what is not as it should be."""
    wrong = [
        f"- {name}: {row['what']}: {_figures(row)}"
        for name, check in checks.items()
        for row in check["rows"]
        if row["ok"] is False
    ]
    wrong += [f"- {name}: {check['trouble']}" for name, check in checks.items() if check["trouble"]]
    counted = sum(row["ok"] is True for check in checks.values() for row in check["rows"])
    if not wrong:
        return [f"All {counted} figures for which something is expected are as they should be."]
    return [f"{counted} figures are as they should be, these are not:", "", *wrong]


def _figures(row: Row) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in row["figures"].items() if value is not None
    )


def _table(rows: Sequence[Row]) -> list[str]:
    """Return a table with a column for each figure that any row has."""
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
