"""What selection by confidence does to a student, at the same number of crops seen.

    scripts/quickstart
    python benchmarks/selection.py quickstart/run

A run is repeated with all its settings (the quickstart's student, or any run folder of `fkd train`),
only with other selections, from several seeds: the same initial weights for all selections of a seed.
Writes a table and JSON, and goes on where it was stopped: what is in the JSON is not trained again.
"""

import json
import statistics
import tempfile
from pathlib import Path
from typing import Any

import click

from fkd import FkdError, Scheme, TrainConfig, train_student
from fkd.config import Selection
from fkd.progress import note

SELECTIONS: dict[str, dict[str, Any]] = {
    "all crops": {},
    "--min-confidence 0.3": {"min_confidence": 0.3},
    "--min-confidence 0.6": {"min_confidence": 0.6},
    "--max-entropy 1": {"max_entropy": 1.0},
    "--calibrate": {"calibrate": True},
    "--calibrate --unsure-below 0": {"calibrate": True, "unsure_below": 0.0},
}
PATHS = ("store", "images", "val")

Results = dict[str, dict[str, float]]  # selection → seed → top-1


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--seed", "seeds", multiple=True, default=(1, 2, 3), show_default=True)
@click.option("--epochs", type=float, help="Instead of the run's own.")
@click.option("--workers", default=2, show_default=True)
@click.option(
    "--out", default="benchmarks/results", type=click.Path(path_type=Path), show_default=True
)
def main(run: Path, seeds: tuple[int, ...], epochs: float | None, workers: int, out: Path) -> None:
    """Train the student of RUN with each selection; print top-1 by selection."""
    try:
        again = settings(run, epochs) | {"workers": workers}
        results = compare(again, seeds, out / "selection.json")
    except FkdError as error:
        raise click.ClickException(str(error)) from error
    text = table(results, again)
    (out / "selection.md").write_text(text, "utf-8")
    print(text, end="")


def settings(run: Path, epochs: float | None) -> dict[str, Any]:
    """Return the settings that a run was started with, without its selection and seed."""
    try:
        said = json.loads((run / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise FkdError(f"{run} is no run folder of `fkd train` ({error})") from error
    left_out = {"out", "resume", "seed", *vars(Selection())}
    chosen = {name: said[name] for name in TrainConfig().settings() if name not in left_out}
    chosen |= {name: Path(chosen[name]) for name in PATHS if chosen[name] is not None}
    chosen |= {name: tuple(chosen[name]) for name in ("mean", "std")}
    chosen["epochs"] = epochs or chosen["epochs"]
    chosen |= {"eval_every": chosen["epochs"], "eval_last": 0}
    return chosen | {"scheme": Scheme.parse(chosen["scheme"])}


def compare(again: dict[str, Any], seeds: tuple[int, ...], file: Path) -> Results:
    """Train seed by seed and note each result at once; a JSON of other settings is begun anew."""
    about = json.loads(json.dumps(again, default=str))
    known = json.loads(file.read_text("utf-8")) if file.exists() else {}
    results: Results = known["top1"] if known.get("settings") == about else {}
    file.parent.mkdir(parents=True, exist_ok=True)
    for seed in seeds:
        for name, selection in SELECTIONS.items():
            if str(seed) in results.setdefault(name, {}):
                continue
            results[name][str(seed)] = top1(again | selection, seed)
            note(f"seed {seed}, {name}: top-1 {results[name][str(seed)]:.1%}")
            content = {"settings": about, "top1": results}
            file.write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    return results


def top1(chosen: dict[str, Any], seed: int) -> float:
    """Train one student; return its top-1 after the last step."""
    with tempfile.TemporaryDirectory() as folder:
        settings = {name: value for name, value in chosen.items() if name != "recipe"}
        config = TrainConfig.of(**settings, seed=seed, out=Path(folder) / "run")
        run = train_student(config)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float([line for line in lines if line["kind"] == "eval"][-1]["top1"])


def table(results: Results, again: dict[str, Any]) -> str:
    """Return a Markdown table: top-1 by selection, and the gain over all crops and its error."""
    seeds = list(results["all crops"])
    crops = f"{again['student']}, {again['scheme']}, {again['epochs']:g} epochs, m = "
    lines = [
        f"{crops}{again['crops_per_image']}, {len(seeds)} seeds; every student saw as many crops\n",
        "| selection | top-1, % | by seed | against all crops, points |",
        "|---|--:|---|--:|",
    ]
    for name, by_seed in results.items():
        values = [100 * by_seed[seed] for seed in seeds]
        gains = [100 * (by_seed[seed] - results["all crops"][seed]) for seed in seeds]
        each = " ".join(f"{value:.1f}" for value in values)
        against = "–" if name == "all crops" else f"{statistics.mean(gains):+.1f}"
        if len(gains) > 1 and name != "all crops":
            against += f" ± {statistics.stdev(gains) / len(gains) ** 0.5:.1f}"
        lines.append(f"| {name} | {statistics.mean(values):.1f} | {each} | {against} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
