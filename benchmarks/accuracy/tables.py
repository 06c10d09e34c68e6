"""What the tables compare: the trials that are their rows, each trained with one seed or more."""

from dataclasses import replace
from typing import Any

from loss_trials import PAIRS, READ, READ_WIDE, SENTENCES, TOP5, store_of
from mix_trials import MIX_TABLES, MIXED, ONLINE, matching_rows
from trials import USUAL, Plan, Trial

LOSS_TABLES = ("losses", "losses, wide student")
TABLES = (
    "methods",
    "schemes",
    "crops an image",
    "one batch",
    "stored crops",
    "replacement",
    "mixing",
    *LOSS_TABLES,
    *MIX_TABLES,
)
HARD = {"hard_weight": 1.0}
KEPT = (1, 2, 5)
PER_IMAGE = (1, 2, 4, 8, 16)
SIBLINGS = 8  # crops an image where table "one batch" looks for what they do to each other
FEW_CROPS = (4, 10, 25, 50)


def planned_trials(plan: Plan) -> list[Trial]:
    """Return the rows of all tables of a study."""
    return [
        *_methods(),
        *_schemes(),
        *_per_image(plan),
        *_one_batch(plan),
        *_stored(plan),
        *_redrawn(plan),
        *_mixing(),
        *_losses(plan),
        *_wide(plan),
        *_mixed(plan),
    ]


def _one(**more: Any) -> dict[str, Any]:
    return {"crops_per_image": 1, **more}


def _methods() -> list[Trial]:
    four = {"crops_per_image": USUAL}
    return [
        Trial("methods", "plain supervised", settings=_one(**HARD)),
        Trial("methods", "online distillation", settings=_one(), online=True),
        Trial("methods", "one label an image", "image", settings=_one()),
        Trial("methods", "label map, RoI-align", "map", settings=_one()),
        Trial("methods", "FKD, full", settings=_one()),
        Trial("methods", "FKD, topk5", compress="topk5", settings=_one()),
        Trial("methods", f"FKD, topk5, m = {USUAL}", compress="topk5", settings=four),
    ]


def _schemes() -> list[Trial]:
    named = {"full": "full", "hard": "hard", "smoothing": "smooth"}
    named |= {f"MS, K = {k}": f"topk{k}-smooth" for k in KEPT}
    named |= {f"MR, K = {k}": f"topk{k}" for k in KEPT}
    return [
        Trial("schemes", name, compress=scheme, settings=_one()) for name, scheme in named.items()
    ]


def _per_image(plan: Plan) -> list[Trial]:
    possible = [m for m in PER_IMAGE if m <= plan.used and plan.batch_size % m == 0]
    return [
        *(_visited(f"m = {m}", m) for m in possible),
        *(_visited(f"m = {m}, in one batch", m, stagger=0) for m in possible if m > 1),
    ]


def _visited(name: str, m: int, table: str = "crops an image", **more: Any) -> Trial:
    settings = {"crops_per_image": m, **more}
    return Trial(table, name, compress="topk5", settings=settings)


def _one_batch(plan: Plan) -> list[Trial]:
    """Return the rows that look for what m crops in one batch do harm to, for the default student."""
    m, table = SIBLINGS, "one batch"
    if plan.student != Plan.student or plan.lr is None or m > plan.used or plan.batch_size % m:
        return []
    norm, slow = {"student": f"{Plan.student}_gn"}, plan.lr / 4
    return [
        _visited("m = 1", 1, table),
        _visited("m = 1, a quarter of the rate", 1, table, lr=slow),
        _visited(f"m = {m}, in one batch", m, table, stagger=0),
        _visited(f"m = {m}, in one batch, a quarter of the rate", m, table, stagger=0, lr=slow),
        _visited("m = 1, group norm", 1, table, **norm),
        _visited(f"m = {m}, in one batch, group norm", m, table, stagger=0, **norm),
    ]


def _stored(plan: Plan) -> list[Trial]:
    few = [
        Trial("stored crops", f"M = {m}", f"last{m}", "topk5", _one())
        for m in FEW_CROPS
        if m < plan.used
    ]
    return [*few, Trial("stored crops", f"M = {plan.used}", compress="topk5", settings=_one())]


def _redrawn(plan: Plan) -> list[Trial]:
    count, four = plan.redrawn, {"crops_per_image": USUAL}
    return [
        Trial("replacement", f"each once in turn, M = {count}", f"last{count}", "topk5", four),
        Trial("replacement", f"drawn anew each visit, M = {count}", "drawn", "topk5", four),
    ]


def _mixing() -> list[Trial]:
    fkd = {
        "FKD": {},
        "FKD, mixup 0.2": {"mixup": 0.2},
        "FKD, cutmix 1": {"cutmix": 1.0},
        "FKD, hard weight 0.5": {"hard_weight": 0.5},
    }
    plain = {
        "plain supervised": {},
        "plain, mixup 0.2": {"mixup": 0.2},
        "plain, cutmix 1": {"cutmix": 1.0},
    }
    return [
        *(Trial("mixing", n, compress="topk5", settings=_one(**more)) for n, more in fkd.items()),
        *(Trial("mixing", n, settings=_one(**HARD, **more)) for n, more in plain.items()),
    ]


def _losses(plan: Plan) -> list[Trial]:
    """Return each loss with each reading of the labels, then what has other teachers, or none."""
    table = LOSS_TABLES[0]
    plain = Trial(table, "plain supervised", settings=_four(**HARD))
    read = [_asked(table, loss, reading) for loss, reading in READ]
    rated = [_rated(row, lr) for name, lr in plan.rates for row in read if row.name == name]
    second = Trial(table, "second generation", "generation2", settings=_four(), taught_by=plain.key)
    third = Trial(table, "third generation", "generation3", settings=_four(), taught_by=second.key)
    three = (plain.key, second.key, third.key)
    together = Trial(table, "the three generations together", "generations", together=three)
    pair = [{"name": name, "model": plan.student} for name in ("first", "second")]
    peers = [
        Trial(table, name, TOP5, TOP5, _four(student=pair, loss=list(terms)))
        for name, terms in PAIRS.items()
    ]
    online = Trial(table, "online distillation", settings=_four(), online=True)
    return [plain, *read, *rated, second, third, together, *peers, online]


def _rated(row: Trial, lr: float) -> Trial:
    """Return a row at a rate of its own."""
    loss, _, reading = row.name.rpartition(", ")
    name = f"{loss}, at a rate of {lr:g}, {reading}"
    return replace(row, name=name, settings=row.settings | {"lr": lr})


def _wide(plan: Plan) -> list[Trial]:
    """Return some of the losses for a student of four times the parameters."""
    if plan.student != Plan.student:
        return []
    wide = {"student": f"{Plan.student}_wide"}
    table = LOSS_TABLES[1]
    plain = Trial(table, "plain supervised", settings=_four(**HARD, **wide))
    return [plain, *(_asked(table, loss, reading, **wide) for loss, reading in READ_WIDE)]


def _mixed(plan: Plan) -> list[Trial]:
    """Return the rows of what is mixed before it is labelled."""
    views, matching = MIX_TABLES
    rows = [(views, *row) for row in MIXED]
    rows += [(matching, *row) for row in matching_rows(plan.stored)]
    return [
        Trial(table, name, store, settings=_four(**more), online=name == ONLINE)
        for table, name, store, more in rows
    ]


def _asked(table: str, loss: str, reading: str, **more: Any) -> Trial:
    """Return a row that is asked what `SENTENCES` has, as `loss = [...]`; plain CE is the default.

    Top-K labels are read from a store of them: a full one knows more where a temperature is asked for.
    """
    terms = {} if loss == "CE" else {"loss": list(SENTENCES[loss])}
    store = store_of(loss, reading)
    return Trial(table, f"{loss}, {reading}", store, reading, _four(**terms, **more))


def _four(**more: Any) -> dict[str, Any]:
    return {"crops_per_image": USUAL, **more}
