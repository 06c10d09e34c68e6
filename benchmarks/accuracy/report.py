"""Make docs/results.md and its plots from what run.py left in one or several studies.

    python benchmarks/accuracy/report.py accuracy/few
    python benchmarks/accuracy/report.py docs/results/few.json

The first also writes docs/results/few.json, the top-1 of every student, which is all that the second
needs. What people say of the study, and of its tables by name, is in docs/results/few.toml.
"""

import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import click
from loss_table import loss_lines, rate_lines
from mix_trials import MIX_TABLES
from outcomes import Outcome, Row, publish, read
from plots import plot
from tables import LOSS_TABLES

from fkd import FkdError

DOCS = Path(__file__).parents[2] / "docs"
PATH = click.Path(path_type=Path)
FOLDER = click.Path(path_type=Path, file_okay=False)

PAPER = {
    "methods": "The paper (Shen and Xing, ECCV 2022): as accurate as with the teacher in the loop, and "
    "faster than plain training; a label without crop coordinates is not that of the crop.",
    "schemes": "The paper's ablation finds marginal smoothing and re-norm with K = 5 about equal to "
    "full labels, and hard labels behind.",
    "crops an image": "The paper finds m = 4 best for ImageNet, and worse above 8; it puts the m "
    "crops of an image into one batch.",
    "one batch": "The paper finds m above 8 worse. Two things that may be to blame can be tried: the "
    "rate, which suits m = 1, and batch norm, which sees few images.",
    "stored crops": "The paper stores 200 crops for 300 epochs.",
    "replacement": "The official code draws the crops of a visit anew: over 300 epochs 48 % of its "
    "draws at M = 200 are repeats, where 33 % have to be.",
    "losses": "Each loss is a sum of sentences: to the store, to the class of the folder (truth) or to "
    "peers, by a distance. Papers: KL at a temperature (Hinton et al. 2015), WTTM (Zheng and Yang, ICLR "
    "2024), DIST (Huang et al., NeurIPS 2022), NKD (Yang et al., ICCV 2023), standardised logits (Sun et "
    "al., CVPR 2024), annealing (Clark et al., ACL 2019), born-again networks (Furlanello et al., ICML "
    "2018), mutual learning (Zhang et al., CVPR 2018).",
    "losses, wide student": "Some of the losses, for a student of twice the width.",
    "mixed views": "A teacher asked about mixed pixels says something else than the mix of what it says "
    "of each. Papers that label the mix: function matching (Beyer et al., CVPR 2022), TinyViT (Wu et "
    "al., ECCV 2022).",
    "function matching": "Beyer et al. (CVPR 2022): teacher and student must see the same pixels, mixup "
    "makes enough of them, and patience pays. A fixed teacher, or noise of its own for each, is behind.",
    "mixing": "The paper trains without mixup and cutmix, since labels of mixed images are not stored; "
    "mixing labels in the same shares is ours.",
}

TITLES = {
    "methods": "The same crops, learned in seven ways",
    "schemes": "What is kept of a label",
    "crops an image": "Crops an image a visit, m",
    "one batch": "Why crops of an image should not share a batch",
    "stored crops": "Stored crops an image, M",
    "replacement": "Stored crops in turn, or drawn at random",
    "losses": "What a student is asked",
    "losses, wide student": "What a wider student is asked",
    "mixing": "With mixup, cutmix and hard labels",
    "mixed views": "Mixed before or after labelling",
    "function matching": "Function matching from a store",
}


@click.command()
@click.argument("studies", nargs=-1, required=True, type=PATH)
@click.option(
    "--docs", default=DOCS, type=FOLDER, help="Folder to write to  [default: docs/ of fkd]"
)
def main(studies: tuple[Path, ...], docs: Path) -> None:
    """Write results.md and a plot of each table from STUDIES: folders of run.py, or files of reports.

    What is to be said of a study and of its tables is taken from results/NAME.toml in the same folder.
    """
    try:
        outcomes = [read(study) for study in studies]
        names = [outcome.name for outcome in outcomes]
        if len(set(names)) < len(names):
            raise FkdError(
                f"two of these studies have one name ({', '.join(names)}); rename one's folder or file"
            )
        (docs / "results").mkdir(parents=True, exist_ok=True)
        sections = [section(table, outcomes, docs) for table in TITLES]
        if not any(sections):
            raise FkdError(
                f"no table of {', '.join(names)} has all its rows; let run.py train more"
            )
        parts = [heading(outcomes, docs), *sections]
        for outcome in outcomes:
            publish(outcome, docs / "results" / f"{outcome.name}.json")
    except FkdError as error:
        print(f"report.py: error: {error}", file=sys.stderr)
        sys.exit(2)
    (docs / "results.md").write_text("\n".join(part for part in parts if part), "utf-8")
    print(docs / "results.md")


def heading(outcomes: list[Outcome], docs: Path) -> str:
    """Say what the figures are, and under which settings each study was made."""
    lines = [
        "# Does it pay?",
        "",
        "Students of [vectors](results/vectors.md), [maps](results/maps.md#students) and [lines of "
        "text](results/lines.md#students) have pages of their own.",
        "",
        "Figures are made by `python benchmarks/accuracy/run.py` and `report.py`; what is said below "
        "them is from people. Accuracy is top-1 "
        "on the `val` folder in percent after the last step, mean ± standard deviation over seeds "
        "(their number); a difference is ± its standard error, over seeds alone. A seed is of the "
        "student's weights and the order of images; images, boxes and labels are the same for all "
        "seeds. All students of a study see the same number of crops with the same optimizer, schedule "
        "and size, if the table does not say otherwise. Seconds of training are crops divided by the "
        "speed of each way, the median of three short runs, made in turn before all others; seconds of "
        "labelling are what it took, once. Labels have paid after so many trainings as make labelling "
        "once, and training from the store, as fast as training with the teacher in the loop. Labels "
        "of whole images are compared with the crops' own: on how many crops the first class is the "
        "same, and KL(own ‖ other) in nats, the mean over crops.",
        "",
        "| | " + " | ".join(outcome.title for outcome in outcomes) + " |",
        "|---|" + "---|" * len(outcomes),
    ]
    settings = [outcome.settings() for outcome in outcomes]
    lines += [
        f"| {name} | " + " | ".join(each[name] for each in settings) + " |" for name in settings[0]
    ]
    lines += ["", *(f"    {outcome.command}" for outcome in outcomes), ""]
    said = [
        (outcome.name, text) for outcome in outcomes for text in remarks(outcome, docs, "study")
    ]
    lines += [f"**{name}:** {text}\n" for name, text in said]
    return "\n".join(lines)


def section(table: str, outcomes: list[Outcome], docs: Path) -> str:
    """Say what the paper says, show what was found, by study, and say what that means."""
    title, parts = TITLES[table], []
    for outcome in outcomes:
        rows = outcome.rows(table)
        if rows:
            image = f"results/{outcome.name}-{table.replace(',', '').replace(' ', '-')}.png"
            plot(table, rows, docs / image)
            parts.append(f"**{outcome.title}**\n")
            parts.append("\n".join(table_lines(table, rows, outcome)) + "\n")
            parts.append(f"![{title}, {outcome.title}]({image})\n")
            if table == LOSS_TABLES[0] and outcome.about.get("held"):
                parts.append("\n".join(rate_lines(outcome.about["held"])) + "\n")
            parts += [f"{said}\n" for said in remarks(outcome, docs, table)]
    if not parts:
        return ""
    return "\n".join([f"## {title}\n\n{PAPER[table]}\n", *parts])


def remarks(outcome: Outcome, docs: Path, table: str) -> list[str]:
    """Return what people say of a table of this study, if they do: as one line, as Markdown has it."""
    path = docs / "results" / f"{outcome.name}.toml"
    try:
        said = tomllib.loads(path.read_text("utf-8")) if path.exists() else {}
    except ValueError as error:
        raise FkdError(f"{path} is no TOML ({error})") from error
    return [" ".join(said[table].split())] if table in said else []


def table_lines(table: str, rows: list[Row], outcome: Outcome) -> Iterator[str]:
    """Yield the lines of one table in Markdown."""
    if table == "methods":
        yield from methods_lines(rows, outcome)
    elif table in LOSS_TABLES:
        yield from loss_lines(rows)
    elif table in MIX_TABLES:
        yield from compared_lines(rows)
    elif table == "schemes":
        yield "| | top-1, % | bytes a crop |"
        yield "|---|--:|--:|"
        for row in rows:
            yield f"| {row.name} | {row.shown} | {outcome.bytes_per_crop[row.trial.compress]:.1f} |"
    else:
        yield "| | top-1, % |"
        yield "|---|--:|"
        for row in rows:
            yield f"| {row.name} | {row.shown} |"


def methods_lines(rows: list[Row], outcome: Outcome) -> Iterator[str]:
    """Yield the first table: it has the times, and how many trainings pay for the labels."""
    online = next((row for row in rows if row.trial.online), None)
    yield (
        "| | top-1, % | to online, points | labels against the crops' own | training, s "
        "| labelling, s | pays after trainings |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        labelling = outcome.labelling(row)
        cells = [
            row.name,
            row.shown,
            "–" if online in (None, row) else row.against(online),
            outcome.nearness(row),
            f"{outcome.training(row):,.0f}",
            f"{labelling:,.0f}" if labelling else "–",
            "–" if online is None else outcome.pays_after(row, online),
        ]
        yield "| " + " | ".join(cells) + " |"


def compared_lines(rows: list[Row]) -> Iterator[str]:
    """Yield a table in which each row is compared with what is mixed for each step, or with the first."""
    first = next((row for row in rows if row.trial.online), rows[0])
    yield f"| | top-1, % | to {first.name}, points |"
    yield "|---|--:|--:|"
    for row in rows:
        yield f"| {row.name} | {row.shown} | {'–' if row is first else row.against(first)} |"


if __name__ == "__main__":
    main()
