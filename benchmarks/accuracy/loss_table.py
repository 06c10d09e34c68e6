"""The table of losses: what each reached, against today's, and against the same of full labels."""

from collections.abc import Iterator, Mapping, Sequence

from loss_trials import FULL, TODAY
from outcomes import Row


def loss_lines(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the lines of the table in Markdown."""
    named = {row.name: row for row in rows}
    today = named.get(TODAY)
    yield "| loss, labels read as | top-1, % | to CE, topk5 | to the same of full labels |"
    yield "|---|--:|--:|--:|"
    for row in rows:
        loss, _, reading = row.name.rpartition(", ")
        same = None if reading == FULL else named.get(f"{loss}, {FULL}")
        cells = [
            row.name,
            row.shown,
            "–" if today in (None, row) else row.against(today),
            "–" if same is None else row.against(same),
        ]
        yield "| " + " | ".join(cells) + " |"


def rate_lines(held: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """Yield a table of what losses reached at several rates on images held out, a share in [0, 1]."""
    rates = sorted({lr for found in held.values() for lr in found}, key=float)
    yield "| top-1 on images held out, %, at a rate of | " + " | ".join(rates) + " |"
    yield "|---|" + "--:|" * len(rates)
    for name, found in held.items():
        shown = [f"{100 * found[lr]:.1f}" if lr in found else "–" for lr in rates]
        yield f"| {name} | " + " | ".join(shown) + " |"
