"""The table of losses: what each reached, against today's, and against the same of full labels."""

from collections.abc import Iterator, Sequence

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
