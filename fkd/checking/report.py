"""What a check of a store found: a verdict for each part, and what to do next."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from fkd.config import Url
from fkd.errors import FkdError

State = Literal["ok", "FAILED", "note", "skipped"]

_FEW = 4  # findings that a line names one by one


def counted(count: int, noun: str) -> str:
    """Return a count with its noun, in the plural where it is not 1."""
    plural = "es" if noun.endswith("s") else "s"
    return f"{count:,} {noun}" + ("" if count == 1 else plural)


@dataclass(frozen=True)
class Verdict:
    """What was found in one part. A "note" is worth knowing, and nothing is wrong."""

    part: str
    state: State
    detail: str


@dataclass(frozen=True)
class BlockFault:
    """What is wrong with a block. `lost` says that another try at reading it would not help."""

    number: int
    part: str
    what: str
    lost: bool = True


@dataclass(frozen=True)
class CheckReport:
    """All verdicts, the blocks that are damaged, and those that `repair` sent back."""

    verdicts: tuple[Verdict, ...]
    damaged: tuple[int, ...] = ()
    sent_back: tuple[int, ...] = ()
    pending: int = 0

    @property
    def ok(self) -> bool:
        """Whether the store is whole and nothing was found wrong."""
        return not self.pending and all(verdict.state != "FAILED" for verdict in self.verdicts)

    @property
    def skipped(self) -> tuple[str, ...]:
        """The parts that were not looked at."""
        return tuple(verdict.part for verdict in self.verdicts if verdict.state == "skipped")


def briefly(where: Path | Url, error: FkdError) -> str:
    """Return what an error says of a store, which a report need not name."""
    return str(error).removeprefix(f"{where}: ").removeprefix(f"{where} ")


def judge(part: str, problems: Sequence[str], good: str) -> Verdict:
    """Return a verdict that names the first few problems, or says what is good where there is none."""
    if not problems:
        return Verdict(part, "ok", good)
    more = f" and {len(problems) - _FEW:,} more" if len(problems) > _FEW else ""
    return Verdict(part, "FAILED", "; ".join(problems[:_FEW]) + more)


def summary(report: CheckReport) -> str:
    """Say in a few words how the store is, and what to do."""
    lost = counted(len(report.damaged), "block")
    if report.sent_back:
        return f"{lost} sent back; the same `fkd label` command makes them again, and only them"
    if any(v.part == "lists" and v.state == "FAILED" for v in report.verdicts):
        return "its lists are damaged: restore that file, or label anew; no block is sent back"
    if report.damaged:
        return (
            f"{lost} damaged; `fkd check --repair` sends what can be made again back to `fkd label`"
        )
    if any(verdict.state == "FAILED" for verdict in report.verdicts):
        return "something is wrong"
    if report.pending:
        return f"{counted(report.pending, 'block')} not labelled yet"
    if report.skipped:
        return f"the store is whole; not looked at: {', '.join(report.skipped)}"
    return "all is well"
