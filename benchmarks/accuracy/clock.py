"""How fast labelling and each way of learning is: in turn, with the machine to itself.

Students of the tables are trained several at a time; what that takes says little.
"""

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from learners import config_of, learn
from study import About, Study, part
from trials import Trial

from fkd import label_images
from fkd.progress import note
from fkd.tracking import read_metrics

LABELLING = "labelling"
_ROUNDS = 3


def take_times(study: Study, trials: Sequence[Trial], steps: int) -> None:
    """Note the views a second of labelling and of table "methods": medians of short runs."""
    about = About(study.out)
    timed = {trial.name: trial for trial in trials if trial.table == "methods"}
    if not timed or "views_per_s" in about.said:
        return
    views, folder = steps * study.plan.batch_size, study.out / "clock"
    speeds: dict[str, list[float]] = {name: [] for name in (LABELLING, *timed)}
    for number in range(_ROUNDS):
        for name in speeds:
            shutil.rmtree(folder, ignore_errors=True)
            if name == LABELLING:
                found = labelling_speed(study, views, folder)
            else:
                found = training_speed(study, timed[name], views, folder)
            speeds[name].append(found)
            note(f"round {number + 1}, {name}: {found:,.0f} views/s")
    shutil.rmtree(folder, ignore_errors=True)
    about.note(views_per_s={name: median(found) for name, found in speeds.items()})


def labelling_speed(study: Study, views: int, folder: Path) -> float:
    """Label about so many views; return the views a second, with all that comes before and after."""
    each = study.plan.stored * About(study.out).said["classes"]
    images = part(study.images, max(1, views // each), folder / "images")
    began = time.perf_counter()
    store = label_images(study.labelling(images, folder / "labels.zarr"))
    return store.spec.num_images * store.spec.num_crops / (time.perf_counter() - began)


def training_speed(study: Study, trial: Trial, views: int, run: Path) -> float:
    """Train on so many views; return the views a second, the median of all but the first third."""
    epochs = views / About(study.out).said["images"]
    config = config_of(
        study, trial, run, epochs=epochs, eval_every=epochs, warmup_epochs=0.0, save_every=0.0
    )
    learn(study, trial, config)
    spans = [line["views_per_s"] for line in read_metrics(run) if line["kind"] == "train"]
    return float(median(spans[len(spans) // 3 :]))
