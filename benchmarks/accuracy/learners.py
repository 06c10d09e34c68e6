"""The students of a study: trained by `fkd train`'s own code, several at a time where cores are spare."""

import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import redirect_stderr
from dataclasses import asdict
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from online import train_online
from stores import load_teacher
from study import Study
from trials import Trial

from fkd import Scheme, TrainConfig, train_student
from fkd.images import dataset_root, list_images
from fkd.progress import progress


def config_of(study: Study, trial: Trial, run: Path, **more: Any) -> TrainConfig:
    """Build what `fkd train` builds of its options."""
    plan = study.plan
    shared = {
        "student": plan.student,
        "epochs": plan.epochs,
        "eval_every": plan.epochs,
        "batch_size": plan.batch_size,
        "lr": plan.lr,
        "warmup_epochs": plan.warmup_epochs,
        "amp": plan.amp,
    }
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
    """Train what has not been trained, table by table and seed by seed, `jobs` at a time."""
    tables = dict.fromkeys(trial.table for trial in trials)
    wanted = {
        study.out / "runs" / trial.key(seed): (trial, seed)
        for table in tables
        for seed in range(seeds)
        for trial in trials
        if trial.table == table
    }
    todo = [(run, *what) for run, what in wanted.items() if not (run / "trial.json").exists()]
    began, threads = time.monotonic(), max(1, (os.cpu_count() or 1) // jobs)
    with (
        ProcessPoolExecutor(jobs, get_context("spawn")) as pool,
        progress(
            None, "students", unit="student", total=len(wanted), initial=len(wanted) - len(todo)
        ) as bar,
    ):
        running: set[Future[str]] = set()
        while todo or running:
            late = minutes is not None and time.monotonic() - began > 60 * minutes
            todo = [] if late else todo
            while todo and len(running) < jobs:
                running.add(pool.submit(train_one, study, *todo.pop(0), threads))
            done, running = wait(running, return_when=FIRST_COMPLETED)
            for finished in done:
                bar.set_postfix_str(finished.result())
                bar.update()


def train_one(study: Study, run: Path, trial: Trial, seed: int, threads: int) -> str:
    """Train one student in a process of its own, with `threads`; return its name and top-1."""
    torch.set_num_threads(threads)
    logs = study.out / "logs"
    logs.mkdir(exist_ok=True)
    with (logs / f"{run.name}.log").open("a") as log, redirect_stderr(log):
        learn(study, trial, config_of(study, trial, run, seed=seed))
    top1 = evaluations(run)[-1]["top1"]
    (run / "trial.json").write_text(json.dumps(asdict(trial) | {"seed": seed, "top1": top1}))
    return f"{trial.name}: {top1:.1%}"


def evaluations(run: Path) -> list[dict[str, Any]]:
    """Return the evaluations of a run."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "eval"]
