"""What the tables compare: which store a student is trained on, and what it is asked.

A trial is one student with one seed. All see the same number of crops with the same optimizer, schedule
and size; what a table varies is in the trial's name.
"""

from dataclasses import dataclass, field
from typing import Any

EPOCHS = 20
STORED = 32  # M of the store that is labelled
KEPT = (1, 2, 5)
PER_IMAGE = (1, 2, 4, 8, 16)
FEW_CROPS = (2, 4, 8, 16)

COMMON: dict[str, Any] = {
    "student": "students:thin_resnet",
    "epochs": EPOCHS,
    "batch_size": 128,
    "lr": 1.0,
    "warmup_epochs": 1.0,
    "weight_decay": 1e-4,
    "eval_every": EPOCHS,
    "device": "cpu",
    "render": "cpu",
}


@dataclass(frozen=True)
class Trial:
    """One row of a table: `settings` are those of `TrainConfig`, `compress` is how labels are read."""

    table: str
    name: str
    store: str = "full"
    compress: str = "full"
    settings: dict[str, Any] = field(default_factory=dict)
    online: bool = False

    def key(self, seed: int) -> str:
        """Return the name of the run folder; the same run may stand in several tables."""
        said = [self.store, self.compress, *(f"{k}={v}" for k, v in sorted(self.settings.items()))]
        return "_".join([*said, *(["online"] if self.online else []), f"seed{seed}"])


def _one(**more: Any) -> dict[str, Any]:
    return {"crops_per_image": 1, **more}


HARD = {"hard_weight": 1.0}

TRIALS = (
    Trial("methods", "plain supervised", settings=_one(**HARD)),
    Trial("methods", "online distillation", settings=_one(), online=True),
    Trial("methods", "one label an image", "image", settings=_one()),
    Trial("methods", "label map, RoI-align", "map", settings=_one()),
    Trial("methods", "FKD, full", settings=_one()),
    Trial("methods", "FKD, topk5", compress="topk5", settings=_one()),
    Trial("methods", "FKD, topk5, m = 4", compress="topk5", settings={"crops_per_image": 4}),
    *(
        Trial("schemes", name, compress=scheme, settings=_one())
        for name, scheme in (
            ("full", "full"),
            ("hard", "hard"),
            ("smoothing", "smooth"),
            *((f"MS, K = {k}", f"topk{k}-smooth") for k in KEPT),
            *((f"MR, K = {k}", f"topk{k}") for k in KEPT),
        )
    ),
    *(
        Trial("crops an image", f"m = {m}", compress="topk5", settings={"crops_per_image": m})
        for m in PER_IMAGE
    ),
    *(Trial("stored crops", f"M = {m}", f"first{m}", "topk5", _one()) for m in FEW_CROPS),
    Trial("stored crops", f"M = {STORED}", compress="topk5", settings=_one()),
    Trial("replacement", "each once before any twice, M = 20", "first20", "topk5", _one()),
    Trial("replacement", "drawn with replacement, M = 20", "drawn20", "topk5", _one()),
    Trial("mixing", "none", compress="topk5", settings=_one()),
    Trial("mixing", "mixup 0.2", compress="topk5", settings=_one(mixup=0.2)),
    Trial("mixing", "cutmix 1", compress="topk5", settings=_one(cutmix=1.0)),
    Trial("mixing", "hard weight 0.5", compress="topk5", settings=_one(hard_weight=0.5)),
    Trial("mixing", "plain supervised", settings=_one(**HARD)),
    Trial("mixing", "plain, mixup 0.2", settings=_one(**HARD, mixup=0.2)),
    Trial("mixing", "plain, cutmix 1", settings=_one(**HARD, cutmix=1.0)),
)
