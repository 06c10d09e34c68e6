"""What a run says after its last step: what became of it, and what to do next."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from fkd.amounts import as_count, as_duration, as_rate
from fkd.config import TrainConfig, is_of
from fkd.errors import ImagesError
from fkd.images import ImageList
from fkd.loader import Schedule
from fkd.runs import JUDGES, judged_by, read_metrics
from fkd.sources import count_classes
from fkd.training.course import Course

Lines = list[tuple[str, str]]


def closing_lines(course: Course, run: Path, first: int, seconds: float) -> Lines:
    """Return what became of a run that began at step `first` and took so many seconds since.

    What is said of all its steps is read from metrics.jsonl, so it is right for a run that went on.
    """
    metrics = read_metrics(run)
    steps = course.schedule.total_steps
    lines = [("finished", f"{as_count(steps, 'step')}, {as_count(course.config.epochs, 'epoch')}")]
    if words := best_words(metrics):
        lines += _peers(course.config, _best(metrics)) or [("best", words)]
        lines += [("last", accuracy_words(_evaluations(metrics)[-1]))]
    elif losses := [line["loss"] for line in metrics if line["kind"] == "train"]:
        lines += [("loss", f"{losses[-1]:.4g} at the end; best.pt has the least")]
    since = f" since step {first:,}" if first else ""
    lines += [
        ("time", as_duration(seconds) + since + _speed_words(metrics, first, course.schedule))
    ]
    files = ", ".join(sorted(p.name for p in run.iterdir() if not p.name.startswith(".")))
    name, average = shlex.quote(str(run)), "" if course.config.ema is None else " --ema"
    then = [f"fkd plot {name}"]
    then[:0] = [f"fkd export {name}{average}{which}" for which in _exported(course)]
    val = course.val
    if val is not None and (course.val_truth is not None or _is_whole(val)):
        knn = "" if course.card.learned_classes else " --knn"
        then.insert(0, f"fkd eval {name} {shlex.quote(str(val.root))}{knn}{average}")
    names = ["next", *[""] * (len(then) - 1)]
    return [*lines, ("files", f"{run}: {files}"), *zip(names, then, strict=True)]


def _exported(course: Course) -> Iterator[str]:
    """Yield the options with which each student is exported; a head that learned nothing is left out."""
    for number, choice in enumerate(course.config.students):
        which = f" --student {choice.name}" if number else ""
        terms = course.config.objective.terms
        learned = any(not term.layer for term in terms if is_of(term, choice.name))
        yield which if learned else f"{which} --without-head"


def _is_whole(val: ImageList) -> bool:
    """Say whether a folder has no classes that the run left out, for which `fkd eval` would refuse it."""
    try:
        return len(val.classes) == count_classes(val.root, "val")
    except ImagesError:  # it has gone since
        return False


def best_words(metrics: Sequence[dict[str, Any]]) -> str:
    """Say which evaluation was the best, the later one of equals; nothing where there was none."""
    return accuracy_words(_best(metrics)) if _evaluations(metrics) else ""


def _best(metrics: Sequence[dict[str, Any]]) -> dict[str, Any]:
    return max(reversed(_evaluations(metrics)), key=_judged)


def _peers(config: TrainConfig, line: dict[str, Any]) -> Lines:
    """Say how right the students were at the evaluation by which best.pt was kept, the first's."""
    if len(config.students) == 1:
        return []
    first, *others = (choice.name for choice in config.students)
    lines = [(first, f"{accuracy_words(line)}, by which best.pt was kept")]
    for name in others:
        prefix = f"{name}/"
        own = {n.removeprefix(prefix): v for n, v in line.items() if n.startswith(prefix)}
        lines += [(name, accuracy_words({**own, "epoch": line["epoch"]}))]
    return lines


def accuracy_words(line: dict[str, Any]) -> str:
    """Say an evaluation in words, from its line of metrics."""
    judge = judged_by(line)
    assert judge is not None
    average = line.get(f"ema_{judge}")
    also = "" if average is None else f", moving average {average:.2%}"
    rate = line.get("character_error_rate")
    also += "" if rate is None else f", character error rate {rate:.2%}"
    return f"{JUDGES[judge]} {line[judge]:.2%}{also} at epoch {line['epoch']:.4g}"


def _evaluations(metrics: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in metrics if line["kind"] == "eval" and judged_by(line)]


def _judged(line: dict[str, Any]) -> float:
    """Return the share by which best.pt is chosen."""
    judge = judged_by(line)
    return float(line.get(f"ema_{judge}", line[f"{judge}"]))


def _speed_words(metrics: Sequence[dict[str, Any]], first: int, schedule: Schedule) -> str:
    """Say how fast the steps since `first` were, evaluations left out, and how long they waited."""
    seconds = waited = 0.0
    before = first
    for line in metrics:
        if line["kind"] == "train" and line["step"] > before and line.get("views_per_s"):
            views = (line["step"] - before) * schedule.batch_size
            seconds += views / line["views_per_s"]
            waited += views / line["views_per_s"] * line.get("data_wait", 0)
            before = line["step"]
    if not seconds:
        return ""
    rate = as_rate((before - first) * schedule.batch_size / seconds, "view")
    return f"; {rate} in its steps, {waited / seconds:.0%} of that waiting for data"
