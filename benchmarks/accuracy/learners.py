"""The students of a study: trained by `fkd train`'s own code, several at a time where cores are spare."""

import os
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import redirect_stderr
from dataclasses import asdict
from multiprocessing import get_context, parent_process
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from about import write_json
from generations import labelled_by, top1_together
from online import train_online
from stores import load_teacher
from study import Study
from trials import Trial

from fkd import FkdError, Scheme, TrainConfig, train_student
from fkd.progress import note, progress_bar
from fkd.runs import read_metrics
from fkd.sources import dataset_root, list_images


def config_of(study: Study, trial: Trial, run: Path, **more: Any) -> TrainConfig:
    """Build what `fkd train` builds of its options."""
    plan = study.plan
    shared: dict[str, Any] = {
        "store": study.store(trial.store),
        "student": plan.student,
        "epochs": plan.epochs,
        "eval_every": plan.epochs,
        "batch_size": plan.batch_size,
        "amp": plan.amp,
    }
    if plan.lr is not None:
        shared["lr"] = plan.lr
    if plan.student_size is not None:
        shared["size"] = plan.student_size
    if plan.micro_batch is not None:
        shared["micro_batch"] = plan.micro_batch
    if plan.warmup_epochs is not None:
        shared["warmup_epochs"] = plan.warmup_epochs
    return TrainConfig.from_recipe(
        plan.recipe,
        images=study.images,
        scheme=Scheme.parse(trial.compress),
        out=run,
        resume=True,
        workers=study.workers,
        **(shared | trial.settings | more),
    )


def learn(study: Study, trial: Trial, config: TrainConfig) -> None:
    """Train one student into the run folder of its configuration."""
    if trial.online:
        images = list_images(dataset_root(study.images))
        train_online(config, load_teacher(study.teacher, images, study.plan.teacher_amp), images)
    else:
        train_student(config)


def train_all(
    study: Study, trials: Sequence[Trial], seeds: int, jobs: int, minutes: float | None
) -> None:
    """Train what has not been trained, table by table and seed by seed, `jobs` at a time.

    A student that fails does not stop the others; raises `FkdError` at the end, if one did.
    """
    tables = dict.fromkeys(trial.table for trial in trials)
    wanted = {
        study.out / "runs" / trial.run(seed): (trial, seed)
        for table in tables
        for seed in range(seeds)
        for trial in trials
        if trial.table == table
    }
    todo = [(run, *what) for run, what in wanted.items() if not is_trained(run)]
    had, failed, began = len(wanted) - len(todo), 0, time.monotonic()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=end_with_parent)
    with pool, progress_bar("students", unit="student", total=len(wanted), initial=had) as bar:
        running: set[Future[str | None]] = set()
        while todo or running:
            if minutes is not None and time.monotonic() - began > 60 * minutes:
                todo = []
            while len(running) < jobs and (ready := first_ready(todo)) is not None:
                running.add(pool.submit(train_one, study, *todo.pop(ready), threads))
            if not running:
                failed += len(todo)
                break
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for error in map(outcome_of, done):
                failed += error is not None
                if error:
                    note(error)
                bar.update()
    if failed:
        raise FkdError(f"{failed} students failed, see above; the same command tries them again")


def is_trained(run: Path) -> bool:
    """Say whether a student has come to its end."""
    return (run / "trial.json").exists()


def first_ready(todo: Sequence[tuple[Path, Trial, int]]) -> int | None:
    """Return the place of the first student whose teachers have been trained, None where all wait."""
    for place, (run, trial, seed) in enumerate(todo):
        if all(is_trained(run.with_name(f"{key}_seed{seed}")) for key in trial.needs):
            return place
    return None


def outcome_of(finished: Future[str | None]) -> str | None:
    """Return what a student's process says; raises `FkdError` where it was killed."""
    try:
        return finished.result()
    except BrokenProcessPool as error:
        raise FkdError(
            "a student's process was killed, perhaps for want of memory; the same command goes on, "
            "with fewer --jobs if it was"
        ) from error


def end_with_parent() -> None:
    """Let a process of the pool end when its parent is killed, in the middle of whatever it does."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def train_one(study: Study, run: Path, trial: Trial, seed: int, threads: int) -> str | None:
    """Train one student in a process of its own, with `threads`; return what went wrong, if it did."""
    torch.set_num_threads(threads)
    logs = study.out / "logs"
    logs.mkdir(exist_ok=True)
    with (logs / f"{run.name}.log").open("a") as log, redirect_stderr(log):
        try:
            found = train_or_ask(study, run, trial, seed)
        except Exception as error:  # whatever it is, the other students are trained
            traceback.print_exc(file=log)
            return f"{trial.table}, {trial.name}, seed {seed}: {error} (see {log.name})"
    write_json(run / "trial.json", asdict(trial) | {"seed": seed} | found)
    return None


def train_or_ask(study: Study, run: Path, trial: Trial, seed: int) -> dict[str, float]:
    """Do what a row says with one seed; return the top-1, of several students the mean of theirs."""
    if trial.together:
        runs = [run.with_name(f"{key}_seed{seed}") for key in trial.together]
        run.mkdir(parents=True, exist_ok=True)
        return {"top1": top1_together(study, runs)}
    more: dict[str, Any] = {"seed": seed}
    if trial.taught_by:
        more["store"] = labelled_by(
            study, run.with_name(f"{trial.taught_by}_seed{seed}"), f"{trial.store}_seed{seed}"
        )
    learn(study, trial, config_of(study, trial, run, **more))
    last = [line for line in read_metrics(run) if line["kind"] == "eval"][-1]
    top1 = [v for name, v in last.items() if name == "top1" or name.endswith("/top1")]
    return {"top1": mean(top1)}
