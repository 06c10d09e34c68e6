"""The rows of table "losses": one store, one student, and what it is asked, in sentences.

A recipe of a paper that adds cross-entropy to the class is here as the paper has it, `+ truth`; today's
row has no such term, so most losses stand here without it, too. Weights are those of the papers or 1;
what else was tried is said in docs/results.
"""

from typing import Any

Terms = tuple[dict[str, Any], ...]

TRUTH = {"to": "truth", "by": "ce"}
TODAY = "CE, topk5"

SENTENCES: dict[str, Terms] = {
    "CE": ({"by": "ce"},),
    "CE + truth": ({"by": "ce"}, TRUTH),
    "KL, T = 4": ({"by": "kl", "temperature": 4.0},),
    "KL, T = 4, + truth": (
        {"by": "kl", "temperature": 4.0, "weight": 0.9},
        {**TRUTH, "weight": 0.1},
    ),
    "KL, T = 4 to 1": ({"by": "kl", "temperature": [4.0, 1.0]},),
    "WTTM": ({"by": "wttm", "temperature": 2.0},),
    "WTTM + truth": ({"by": "wttm", "temperature": 2.0}, TRUTH),
    "DIST": ({"by": "dist", "weight": 2.0},),
    "DIST + truth": ({"by": "dist", "weight": 2.0}, TRUTH),
    "NKD": ({"by": "nkd"},),
    "NKD + truth": ({"by": "nkd"}, TRUTH),
    "mse": ({"by": "mse"},),
    "KL of standardised logits, T = 2, + truth": (
        {"by": "kl", "temperature": 2.0, "standardize": True, "weight": 9.0},
        {**TRUTH, "weight": 0.1},
    ),
    "CE, annealed to truth": ({"by": "ce", "weight": [1.0, 0.0]}, {**TRUTH, "weight": [0.0, 1.0]}),
}
"""What is asked, by name; a term without `to` is to the store."""

FULL, TOP5, SMOOTH = "full", "topk5", "topk5-smooth"

# A loss with each reading of the labels that it is tried with.
READ = (
    ("CE", TOP5), ("CE", FULL), ("CE + truth", TOP5),
    ("KL, T = 4", FULL), ("KL, T = 4", SMOOTH), ("KL, T = 4", TOP5), ("KL, T = 4, + truth", FULL),
    ("WTTM", FULL), ("WTTM", SMOOTH), ("WTTM + truth", FULL), ("WTTM + truth", TOP5),
    ("DIST", FULL), ("DIST", TOP5), ("DIST + truth", FULL), ("DIST + truth", TOP5),
    ("NKD", TOP5), ("NKD + truth", FULL), ("NKD + truth", TOP5),
    ("mse", FULL), ("mse", SMOOTH),
    ("KL of standardised logits, T = 2, + truth", FULL),
    ("KL of standardised logits, T = 2, + truth", SMOOTH),
    ("CE, annealed to truth", TOP5), ("KL, T = 4 to 1", FULL),
)  # fmt: skip

READ_WIDE = (
    ("CE", TOP5), ("CE", FULL), ("KL, T = 4", FULL), ("KL, T = 4", SMOOTH), ("WTTM", FULL),
    ("WTTM", SMOOTH), ("DIST + truth", TOP5), ("NKD + truth", TOP5), ("mse", FULL),
)  # fmt: skip


def store_of(loss: str, reading: str) -> str:
    """Return the store that a loss is read from.

    Standardised logits of top-K labels want one that keeps their deviation.
    """
    if reading == FULL:
        return FULL
    return f"{TOP5}-coarse-std" if any(t.get("standardize") for t in SENTENCES[loss]) else TOP5


# Two students that learn from each other (Zhang et al., CVPR 2018), with the store and without.
PEERS = {"to": "peers", "by": "kl"}
PAIRS: dict[str, Terms] = {
    "two peers and truth, no store": (TRUTH, PEERS),
    "two peers and the store, CE, topk5": ({"by": "ce"}, PEERS),
}
