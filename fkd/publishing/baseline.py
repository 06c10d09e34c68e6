"""A student that was trained on a label set, in rows of a name and a text."""

from pathlib import Path

from fkd.config import models_of, read_config
from fkd.errors import ConfigError
from fkd.runs import JUDGES, judged_by, read_metrics

# Settings of a run that say how its student was trained, in the words of the card.
_SETTINGS = {
    "student": "student",
    "crops_per_image": "crops an image in a batch, m",
    "scheme": "labels read as",
    "epochs": "epochs, of as many views as images",
    "batch_size": "views a batch",
    "lr": "learning rate at 1024 views",
    "optimizer": "optimizer",
}

# What else an evaluation says, in the words of the card.
_BESIDE = {
    "top5": "top-5",
    "pixel_accuracy": "pixel accuracy",
    "character_error_rate": "character error rate",
}


def baseline_rows(run: Path) -> list[tuple[str, str]]:
    """Say what a run trained and how right its student is; raises `ConfigError` where there is no run."""
    evaluated = [line for line in read_metrics(run) if line["kind"] == "eval" and judged_by(line)]
    if not evaluated:
        raise ConfigError(
            f"--run {run} has no evaluation yet; name a run that has, or leave it out"
        )
    settings = read_config(run)
    if "student" in settings:
        settings["student"] = models_of(settings["student"])[0]
    rows = [(words, f"{settings[name]}") for name, words in _SETTINGS.items() if name in settings]
    judge = judged_by(evaluated[0]) or "top1"
    best = max(evaluated, key=lambda line: float(line[judge]))
    beside = "".join(
        f", {words} {best[name]:.2%}" for name, words in _BESIDE.items() if name in best
    )
    what = f"{JUDGES[judge]} on its images for evaluation"
    return [*rows, (what, f"{best[judge]:.2%}{beside}, its best")]
