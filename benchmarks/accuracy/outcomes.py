"""What the students of a study reached, read from its folder or from what a report published of it."""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from about import LABELLING
from mix_trials import MIX_TABLES
from stores import derive_as
from tables import LOSS_TABLES, planned_trials
from trials import Plan, Trial

from fkd import FkdError, LabelStore, Scheme
from fkd.info import bytes_per_crop

STUDENTS = {"thin_resnet:thin_resnet": "ResNet-10 of width 24 (0.7 M parameters), from scratch"}


@dataclass(frozen=True)
class Row:
    """One row of a table: top-1 in percent of each seed that has been trained."""

    trial: Trial
    top1: tuple[float, ...]

    @property
    def name(self) -> str:
        """As the table says."""
        return self.trial.name

    @property
    def spread(self) -> float:
        """Standard deviation over the seeds, 0 for one."""
        return stdev(self.top1) if len(self.top1) > 1 else 0.0

    @property
    def shown(self) -> str:
        """Mean ± spread, and the number of seeds."""
        spread = f" ± {self.spread:.1f}" if len(self.top1) > 1 else ""
        return f"{mean(self.top1):.1f}{spread} ({len(self.top1)})"

    def against(self, other: "Row") -> str:
        """Return the difference of the means, ± its standard error where both have several seeds."""
        difference = mean(self.top1) - mean(other.top1)
        if min(len(self.top1), len(other.top1)) < 2:
            return f"{difference:+.1f}"
        error = math.hypot(*(row.spread / math.sqrt(len(row.top1)) for row in (self, other)))
        return f"{difference:+.1f} ± {error:.1f}"


@dataclass(frozen=True)
class Outcome:
    """A study: what is known of it, and what its students reached.

    `top1` is a share in [0, 1] by `Trial.key` and seed, `bytes_per_crop` is by the name of a reading.
    """

    name: str
    about: dict[str, Any]
    top1: dict[str, dict[str, float]]
    bytes_per_crop: dict[str, float]

    @property
    def title(self) -> str:
        """Return what tells a study from others: two may share all but the name."""
        each = self.about["images"] // self.about["classes"]
        return f"{self.name}: {each} images a class, {self.plan.epochs} epochs"

    @property
    def command(self) -> str:
        """Return what was run."""
        return str(self.about["command"])

    @property
    def plan(self) -> Plan:
        """Return the plan of its trials."""
        return Plan(**self.about["plan"])

    def rows(self, table: str) -> list[Row]:
        """Return the rows of a table, none where one has not been trained or there is but one.

        Of tables of losses, those are returned that have been trained.
        """
        trials = [trial for trial in planned_trials(self.plan) if trial.table == table]
        rows = [Row(t, tuple(100 * x for x in self.top1.get(t.key, {}).values())) for t in trials]
        trained = [row for row in rows if row.top1]
        is_whole = len(trained) == len(rows) or table in (*LOSS_TABLES, *MIX_TABLES)
        return trained if len(trained) > 1 and is_whole else []

    def training(self, row: Row) -> float:
        """Return the seconds of one training: all crops, at the speed of a machine without other work."""
        crops = self.plan.epochs * self.about["images"]
        return float(crops / self.about["views_per_s"][row.name])

    def labelling(self, row: Row) -> float:
        """Return the teacher's seconds before the training, 0 where it has none to do."""
        trial, speed = row.trial, self.about["views_per_s"][LABELLING]
        if trial.online or trial.hard:
            return 0.0
        if trial.store in ("image", "map"):
            return float(self.about["seconds"][trial.store])
        return float(self.plan.stored * self.about["images"] / speed)

    def pays_after(self, row: Row, online: Row) -> str:
        """Return after how many trainings labelling has been less work than to ask online."""
        saved = self.training(online) - self.training(row)
        labelling = self.labelling(row)
        if not labelling or saved <= 0:
            return "–"
        return f"{labelling / saved:.1f}"

    def nearness(self, row: Row) -> str:
        """Say how near labels of whole images are to the crops' own: top-1 that agrees, KL in nats."""
        store = row.trial.store
        if store not in self.about["agreement"]:
            return "–"
        kl = self.about.get("kl", {}).get(store)
        nats = "" if kl is None else f", KL {kl:.2f}"
        return f"{self.about['agreement'][store]:.1%}{nats}"

    def settings(self) -> dict[str, str]:
        """Return what its figures were made with, by name."""
        said, plan = self.about, self.plan
        crops, speed = plan.epochs * said["images"], said["views_per_s"].get(LABELLING)
        others = said.get("tuned_on", said["images"])
        which = "these" if others == said["images"] else f"{others:,}"
        tuned = f", tuned on {which} images, {said['tuned']:g} epochs" if said["tuned"] else ""
        share = (
            ""
            if plan.scale == Plan.scale
            else f", of {plan.scale[0]:.0%} to {plan.scale[1]:.0%} of an image"
        )
        amp = "" if plan.amp == "off" else f", {plan.amp}"
        lr = "" if plan.lr is None else f", lr {plan.lr:g} at 1024"
        labelled = "" if speed is None else f", labelled at {speed:,.0f} views/s"
        maps = f"of whole images in {said['map_size']} px" if "map_size" in said else "–"
        student, size = STUDENTS.get(plan.student, plan.student), plan.student_size or said["size"]
        return {
            "images": f"{said['data']}, {said['images']:,} of {said['classes']} classes; "
            f"val {said['val']:,}",
            "teacher": f"{said['teacher']}{tuned}: {said['teacher_top1']:.1%} on val",
            "label maps": maps,
            "student": f"{student}, {size} px{amp}",
            "crops seen": f"{crops:,} ({plan.epochs} epochs){share}",
            "training": f"recipe {plan.recipe}, batch {plan.batch_size}{lr}; batch norm of "
            f"{said['micro_batch']} views",
            "stored": f"M = {plan.stored}{labelled}",
            "machine": f"{said['hardware']}, torch {said['torch']}, {said['date']}",
        }


def read(study: Path) -> Outcome:
    """Read a study's folder, or its published file; raises `FkdError` where it is neither."""
    try:
        if study.is_file():
            outcome = Outcome(study.stem, **json.loads(study.read_text("utf-8")))
        else:
            about = json.loads((study / "about.json").read_text("utf-8"))
            outcome = Outcome(
                study.name, about, *_found(study, planned_trials(Plan(**about["plan"])))
            )
        _ = outcome.title, outcome.command, outcome.settings(), outcome.rows("methods")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise FkdError(
            f"{study} holds no study of run.py that has come to its students ({error!r})"
        ) from error
    return outcome


def _found(
    study: Path, trials: list[Trial]
) -> tuple[dict[str, dict[str, float]], dict[str, float]]:
    top1 = {trial.key: reached(study, trial) for trial in trials}
    sizes = {trial.compress: trial for trial in trials if trial.table == "schemes"}
    measured = {name: stored_bytes(study, name) for name, trial in sizes.items() if top1[trial.key]}
    return {key: of for key, of in top1.items() if of}, measured


def reached(study: Path, trial: Trial) -> dict[str, float]:
    """Return the top-1 of each seed that has been trained."""
    files = (study / "runs").glob(f"{trial.key}_seed*/trial.json")
    trained = [json.loads(file.read_text("utf-8")) for file in files]
    return {str(one["seed"]): one["top1"] for one in sorted(trained, key=lambda one: one["seed"])}


def stored_bytes(study: Path, compress: str) -> float:
    """Return the bytes a crop of a store that keeps just what this reading asks for; it is made once."""
    scheme = Scheme.parse(compress)
    stored = Scheme("topk", scheme.k) if scheme.kind == "topk" else scheme
    source = LabelStore.open(study / "full.zarr")
    kept = source if scheme.kind == "full" else derive_as(source, study, stored)
    return bytes_per_crop(kept)["total"]


def publish(outcome: Outcome, path: Path) -> None:
    """Write all that a report says of a study into one small file, for later reports."""
    said = asdict(outcome)
    del said["name"]
    path.write_text(json.dumps(said, indent=1, sort_keys=True) + "\n", "utf-8")
