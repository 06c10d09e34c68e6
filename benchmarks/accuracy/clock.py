"""How fast each way of learning is: one after the other in turn, with the machine to itself.

Students of the tables are trained several at a time; what that takes says little.
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from learners import config_of, learn
from study import About, Study
from trials import Trial

from fkd.progress import note

_ROUNDS = 3


def clock(study: Study, trials: Sequence[Trial], steps: int) -> None:
    """Note the views a second of each trial in table "methods": the median of short trainings."""
    about = About(study.out)
    timed = {trial.name: trial for trial in trials if trial.table == "methods"}
    if all(name in about.said["views_per_s"] for name in timed):
        return
    speeds: dict[str, list[float]] = {name: [] for name in timed}
    for number in range(_ROUNDS):
        for name, trial in timed.items():
            speeds[name].append(speed(study, trial, study.out / "clock", steps))
            note(f"round {number + 1}, {name}: {speeds[name][-1]:,.0f} views/s")
    about.note(views_per_s={name: median(found) for name, found in speeds.items()})


def speed(study: Study, trial: Trial, run: Path, steps: int) -> float:
    """Train for some steps; return the views a second of all but the first third."""
    shutil.rmtree(run, ignore_errors=True)
    epochs = steps * study.plan.batch_size / About(study.out).said["images"]
    config = config_of(
        study, trial, run, epochs=epochs, eval_every=epochs, warmup_epochs=0.0, save_every=0.0
    )
    learn(study, trial, config)
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    shutil.rmtree(run)
    spans = [line for line in lines if line["kind"] == "train"]
    return median(float(line["views_per_s"]) for line in spans[len(spans) // 3 :])
