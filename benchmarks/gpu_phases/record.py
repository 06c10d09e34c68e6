"""What runs found, one after another: a GPU's minutes come piecemeal, so each run adds to what is known.

A report is `about` of its last run and `checks` by name: question, rows, seconds, trouble, the `version`
of the check, whether it is `stale`, of an earlier version than today's, and `about` of the run that found
them.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from .findings import Check

NOT_RUN = "not run yet"
NO_TIME = "no time was left"
TOO_LONG = "the process took too long"

Entry = Mapping[str, Any]
Report = dict[str, Any]


def blank(about: Mapping[str, Any], checks: Sequence[Check]) -> Report:
    """Return a report in which no check has run yet."""
    not_run = {check.name: found(check, trouble=NOT_RUN) for check in checks}
    return {"about": dict(about), "checks": not_run}


def known(path: Path, checks: Sequence[Check]) -> Report | None:
    """Return what a gpu.json holds of these checks, None where there is none; each knows its own run.

    Raises `ValueError` for one that is damaged: what it has cost is not to be written over.
    """
    if not path.exists():
        return None
    try:
        return _parsed(json.loads(path.read_text("utf-8")), checks)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}); restore it, or move it away"
        ) from error


def _parsed(stored: Any, checks: Sequence[Check]) -> Report:
    about = stored["about"] | {"command": plain(stored["about"]["command"].split(" "))}
    report = blank(about, checks)
    for check in checks:
        entry = stored["checks"].get(check.name)
        if entry is not None and entry["trouble"] not in (NO_TIME, NOT_RUN):
            of_run = entry.get("about", _of_run(about))
            whole = {name: entry[name] for name in ("question", "rows", "seconds", "trouble")}
            version = entry.get("version", 1)
            of_code = {"version": version, "stale": version < check.version}
            report["checks"][check.name] = {**whole, **of_code, "about": of_run}
    return report


def add(report: Report, about: Mapping[str, Any], found: Mapping[str, Entry]) -> Report:
    """Return a report with what another run found; `about` is of that run, and becomes the head's.

    A check is replaced where the run ended it, or broke in it. One that only had too little time is no
    reason to forget another that had enough, or more, unless that one is stale.
    """
    checks = dict(report["checks"])
    for name, entry in found.items():
        if _tells_more(entry, checks[name]):
            checks[name] = {"about": _of_run(about), **entry}
    return {"about": dict(about), "checks": checks}


def missing(report: Report) -> list[str]:
    """Name the checks that no run has ended, of today's code."""
    checks = report["checks"].items()
    return [name for name, entry in checks if entry["trouble"] or entry["stale"]]


def found(
    check: Check, rows: Sequence[Any] = (), seconds: float = 0.0, trouble: str = ""
) -> dict[str, Any]:
    """Return what a run of today's code found of a check."""
    return {
        "question": check.explained, "rows": list(rows), "seconds": seconds, "trouble": trouble,
        "version": check.version, "stale": False,
    }  # fmt: skip


def plain(words: Iterable[str]) -> str:
    """Return a command without the folders of the machine that it ran on."""
    return " ".join(
        word if word == "benchmarks/gpu.py" or "/" not in word else Path(word).name
        for word in words
    )


def _tells_more(new: Entry, old: Entry) -> bool:
    trouble = new["trouble"]
    if trouble in (NO_TIME, NOT_RUN) or new["version"] < old["version"]:
        return False
    if trouble != TOO_LONG:
        return True
    if old["stale"]:
        return bool(new["rows"])
    return bool(old["trouble"]) and len(new["rows"]) >= len(old["rows"])


def _of_run(about: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a check's figures depend on, of what is said about a run."""
    names = ("device", "driver", "processor", "versions", "date")
    return {name: about[name] for name in names if name in about}
