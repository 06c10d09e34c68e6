"""The outline of a study in rows: label once, copy by scheme, train each row with every seed.

A study says who teaches and how views are drawn, which losses its rows have, and what is read off the
evaluations. One store keeps all that the teacher says of each crop, so that all students see the same
crops. What is there already is not made again.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from pathlib import Path
from typing import Any

import click
import torch
from rows import copies, copy_of, keep, last_evaluation, missing, run_folder

from fkd import (
    LabelConfig,
    LabelStore,
    Scheme,
    TeacherChoice,
    TrainConfig,
    ViewPolicy,
    label_images,
    train_student,
)
from fkd.config import Target
from fkd.teachers import Teacher, load_teachers
from fkd.training import Learner

PATH = click.Path(path_type=Path)

Command = Callable[..., Any]
Asking = Callable[["RowStudy", Teacher], Callable[..., Learner]]


def shared_options(
    *, out: str, student: str, kept: Sequence[str], epochs: int, stored: int, lr: float
) -> Callable[[Command], Command]:
    """Return what gives a command the options of all such studies, with these defaults."""
    parts = (
        click.argument("images", type=PATH),
        click.option("--out", default=Path(out), type=PATH, help="All is written below it."),
        click.option("--teacher", required=True, help="As of fkd label."),
        click.option("--teacher-classes", type=PATH, help="As of fkd label."),
        click.option("--student", default=student, show_default=True),
        click.option("--kept", multiple=True, default=kept, help="As --compress."),
        click.option("--epochs", default=epochs, show_default=True, help="Of each student."),
        click.option("--stored", default=stored, show_default=True, help="Crops an image, M."),
        click.option("--lr", default=lr, show_default=True, help="At 1024 views a step."),
        click.option("--row", "wanted", multiple=True, help="A row of the table; all without it."),
        click.option("--seeds", default=3, show_default=True, help="Students of each row."),
        click.option("--table", is_flag=True, help="Print the table of what is there, and stop."),
    )
    return lambda command: reduce(lambda given, part: part(given), reversed(parts), command)


@dataclass(frozen=True)
class Row:
    """A row of the table: its loss, and the scheme of the copy that it reads, "" for the full store.

    With `in_loop` the teacher says of each batch what the store would. `more` are settings of
    `TrainConfig` that other rows do not have.
    """

    name: str
    loss: Sequence[Mapping[str, Any]]
    kept: str = ""
    in_loop: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)


def asked_for(rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Return the rows of these names, all of them without any; refuse a name that no row has."""
    of = {row.name: row for row in rows}
    for name in names:
        if name not in of:
            raise click.BadParameter(f"no row is named {name!r}; there are {'; '.join(of)}")
    return [of[name] for name in names or of]


@dataclass(frozen=True)
class RowStudy:
    """What the students of all rows share; `store` keeps all that the teacher says."""

    images: Path
    out: Path
    choice: TeacherChoice
    store: LabelStore

    @classmethod
    def of(
        cls,
        options: Mapping[str, Any],
        choice: TeacherChoice,
        views: ViewPolicy,
        targets: Sequence[Target] = (),
    ) -> "RowStudy":
        """Label, and copy the store by each scheme that is asked for."""
        images, out = options["images"], options["out"]
        out.mkdir(parents=True, exist_ok=True)
        config = LabelConfig(
            images,
            choice,
            out / "full.zarr",
            num_crops=options["stored"],
            scheme=Scheme("full"),
            views=views,
            targets=tuple(targets),
        )
        store = label_images(config)
        copies(store, options["kept"], out)
        return cls(images, out, choice, store)

    def train(
        self,
        rows: Sequence[Row],
        seeds: int,
        settings: Mapping[str, Any],
        asking: Asking,
    ) -> None:
        """Train the students that have not been trained, and keep what each reaches.

        `settings` are those of `TrainConfig`; `asking` makes the learner of rows in the loop.
        """
        of = {row.name: row for row in rows}
        for name, seed in missing(self.out, list(of), seeds):
            keep(self.out, name, seed, self._learn(of[name], seed, settings, asking))

    def _learn(
        self,
        row: Row,
        seed: int,
        settings: Mapping[str, Any],
        asking: Asking,
    ) -> dict[str, float]:
        """Train a student; return what it reaches on val at its last step."""
        folder = run_folder(self.out, row.name, seed)
        learned = copy_of(self.store, row.kept, self.out)
        own: dict[str, Any] = {"loss": list(row.loss), "seed": seed, "out": folder, **row.more}
        config = TrainConfig.from_recipe(
            "fkd",
            store=learned.path,
            scheme=learned.spec.scheme.reading,
            images=self.images,
            workers=1,
            resume=True,
            **{**settings, **own},
        )
        learner: Callable[..., Learner] = Learner
        if row.in_loop:
            classes, device = self.store.class_names(), torch.device("cpu")
            teachers = load_teachers([self.choice], None, device, truth_classes=classes)
            learner = asking(self, teachers.teachers[0])
        train_student(config, learner=learner)
        return last_evaluation(folder)
