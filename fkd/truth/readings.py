"""What is read of lines, counted against their texts: exact match, and character error rate."""

from dataclasses import dataclass

from fkd.truth.texts import edit_distance


@dataclass
class ReadLines:
    """How right `num_lines` lines are read: so many as their text, character by character.

    `num_errors` characters must be put in, left out or changed in all of them, and their texts have
    `num_characters`.
    """

    num_lines: int = 0
    num_right: int = 0
    num_errors: int = 0
    num_characters: int = 0

    def add(self, said: str | None, written: str) -> None:
        """Count a line by what is read and by its text; None is one of which nothing can be read."""
        self.num_lines += 1
        self.num_right += said == written
        self.num_errors += len(written) if said is None else edit_distance(said, written)
        self.num_characters += len(written)

    @property
    def exact_match(self) -> float:
        """Share of lines, in [0, 1], that are read as their text; 0 of none."""
        return self.num_right / max(1, self.num_lines)

    @property
    def character_error_rate(self) -> float:
        """Errors divided by all characters of the texts, which may be above 1; 0 of none."""
        return self.num_errors / max(1, self.num_characters)

    def __str__(self) -> str:
        """Say both in words."""
        return (
            f"exact match {self.exact_match:.1%}, character error rate "
            f"{self.character_error_rate:.1%}"
        )


def aligned(said: str, written: str) -> list[tuple[str, str]]:
    """Return what is read and what is written in pairs of characters, "" where one has none.

    As few pairs as possible differ, so many as `edit_distance` counts.
    """
    costs = [list(range(len(written) + 1))]
    for row, character in enumerate(said, start=1):
        before, costs_here = costs[-1], [row]
        for column, other in enumerate(written, start=1):
            change = before[column - 1] + (character != other)
            costs_here.append(min(change, before[column] + 1, costs_here[-1] + 1))
        costs.append(costs_here)
    pairs, row, column = [], len(said), len(written)
    while row or column:
        here = costs[row][column]
        one, other = said[row - 1 : row], written[column - 1 : column]
        if row and column and here == costs[row - 1][column - 1] + (one != other):
            row, column = row - 1, column - 1
        elif row and here == costs[row - 1][column] + 1:
            row, other = row - 1, ""
        else:
            column, one = column - 1, ""
        pairs.append((one, other))
    return pairs[::-1]
