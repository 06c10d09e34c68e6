"""How fast each way of learning is: in turn, with the machine to itself.

Students of the tables are trained several at a time; what that takes says little.
"""

import shutil
from collections.abc import Sequence
from contextlib import redirect_stderr
from io import StringIO
from pathlib import Path
from statistics import median

from about import About
from learners import config_of, learn
from study import Study
from trials import Trial

from fkd.progress import note
from fkd.runs import read_metrics

_ROUNDS = 3


def take_times(study: Study, trials: Sequence[Trial], steps: int) -> None:
    """Note the views a second of the students of table "methods": medians of short runs."""
    about = About(study.out)
    timed = {trial.name: trial for trial in trials if trial.table == "methods"}
    if timed.keys() <= about.said["views_per_s"].keys():
        return
    views, folder = steps * study.plan.batch_size, study.out / "clock"
    speeds: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(_ROUNDS):
        for name in speeds:
            shutil.rmtree(folder, ignore_errors=True)
            found = training_speed(study, timed[name], views, folder)
            speeds[name].append(found)
            note(f"round {number + 1}, {name}: {found:,.0f} views/s")
    shutil.rmtree(folder, ignore_errors=True)
    for name, rounds in speeds.items():
        about.note_in("views_per_s", name, median(rounds))


def training_speed(study: Study, trial: Trial, views: int, run: Path) -> float:
    """Train on so many views; return the views a second, the median of all but the first third."""
    epochs = views / About(study.out).said["images"]
    config = config_of(
        study, trial, run, epochs=epochs, eval_every=epochs, warmup_epochs=0.0, save_every=0.0
    )
    with redirect_stderr(StringIO()):  # of short runs, what is said serves nobody
        learn(study, trial, config)
    spans = [line["views_per_s"] for line in read_metrics(run) if line["kind"] == "train"]
    return float(median(spans[len(spans) // 3 :]))
