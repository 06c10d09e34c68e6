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
from typing import Any

import torch
from online import train_online
from stores import load_teacher
from study import Study, write_json
from trials import Trial

from fkd import FkdError, Scheme, TrainConfig, train_student
from fkd.progress import note, progress_bar
from fkd.runs import read_metrics
from fkd.sources import dataset_root, list_images


def config_of(study: Study, trial: Trial, run: Path, **more: Any) -> TrainConfig:
    """Build what `fkd train` builds of its options."""
    plan = study.plan
    shared = {
        "student": plan.student,
        "epochs": plan.epochs,
        "eval_every": plan.epochs,
        "batch_size": plan.batch_size,
        "amp": plan.amp,
    }
    if plan.lr is not None:
        shared["lr"] = plan.lr
    if plan.warmup_epochs is not None:
        shared["warmup_epochs"] = plan.warmup_epochs
    return TrainConfig.from_recipe(
        plan.recipe,
        store=study.store(trial.store),
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
        train_online(config, load_teacher(study.teacher, images, study.plan.teacher_amp))
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
    todo = [(run, *what) for run, what in wanted.items() if not (run / "trial.json").exists()]
    had, failed, began = len(wanted) - len(todo), 0, time.monotonic()
    threads = max(1, (os.cpu_count() or 1) // jobs)
    pool = ProcessPoolExecutor(jobs, get_context("spawn"), initializer=end_with_parent)
    with pool, progress_bar("students", unit="student", total=len(wanted), initial=had) as bar:
        running: set[Future[str | None]] = set()
        while todo or running:
            if minutes is not None and time.monotonic() - began > 60 * minutes:
                todo = []
            while todo and len(running) < jobs:
                running.add(pool.submit(train_one, study, *todo.pop(0), threads))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for error in map(outcome_of, done):
                failed += error is not None
                if error:
                    note(error)
                bar.update()
    if failed:
        raise FkdError(f"{failed} students failed, see above; the same command tries them again")


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
            learn(study, trial, config_of(study, trial, run, seed=seed))
        except Exception as error:  # whatever it is, the other students are trained
            traceback.print_exc(file=log)
            return f"{trial.table}, {trial.name}, seed {seed}: {error} (see {log.name})"
    top1 = [line for line in read_metrics(run) if line["kind"] == "eval"][-1]["top1"]
    write_json(run / "trial.json", asdict(trial) | {"seed": seed, "top1": top1})
    return None
