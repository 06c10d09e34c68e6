"""Right: every term of a loss and every recipe of terms, at each precision."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn

from fkd import LabelStore, Term, TrainConfig
from fkd.config import AMPS, Amp
from fkd.loader import StudentBatch
from fkd.training import Group, Learner
from fkd.training.building import build_learner
from fkd.training.course import Course, course_batches, prepare
from fkd.views import RenderPool

from .findings import Finding, Setting
from .small_models import MAP_STUDENT, SMALL_STUDENT
from .stores import of_lines, of_maps, with_vectors
from .waiting import Places, in_words, noted_waits

PAIR = tuple({"name": name, "model": SMALL_STUDENT} for name in ("Student", "Teacher"))
READERS = tuple({"name": name, "model": "fkd.models:crnn"} for name in ("Student", "Teacher"))
MAPPERS = tuple({"name": name, "model": MAP_STUDENT} for name in ("Student", "Teacher"))
SGD, ADAM = ({"optimizer": name, "lr": lr} for name, lr in (("sgd", 3.0), ("adamw", 0.3)))


@dataclass(frozen=True)
class Case:
    """A recipe, with settings of its own."""

    recipe: str
    settings: Mapping[str, Any]


def _of(recipe: str, **settings: Any) -> Case:
    return Case(recipe, settings)


def _to_vectors(by: str, target: str = "features", layer: str = "features", **more: Any) -> Case:
    return _of("fkd", loss=(Term(f"store:{target}", by, layer=layer, **more),), **ADAM)  # type: ignore[arg-type]


CASES: tuple[tuple[Callable[[Setting], LabelStore], Mapping[str, Case]], ...] = (
    (
        with_vectors,
        {
            **{name: _of(name) for name in (
                "hinton", "l2-outputs", "annealed", "falling-temperature", "wttm", "dist", "nkd",
                "logit-std", "paddleseg",
            )},
            **{name: _of(name, student=PAIR) for name in (
                "dml", "paddleocr", "paddleocr-features", "paddleocr-teacher",
            )},
            "top-5, a tail": _of("fkd", scheme="topk5"),
            "views that are mixed": _of("hinton", mixup=0.2, cutmix=1.0, color_jitter=0.4),
            **{f"features by {by}": _to_vectors(by) for by in ("l1", "l2", "smooth_l1", "cosine")},
            "features by relation, an MLP": _to_vectors("relation", adapt="mlp"),
            "features by channel_kl": _to_vectors("channel_kl", temperature=2.0),
            "components by cosine": _to_vectors("cosine", "few"),
            "a layer by channel_kl": _to_vectors("channel_kl", "layer3", "3"),
            "a layer by l2": _to_vectors("l2", "layer3", "3"),
        },
    ),
    (
        of_maps,
        {
            "maps": _of("maps", student=MAP_STUDENT, **ADAM),
            "maps, dist": _of("maps", student=MAP_STUDENT, loss="dist", **ADAM),
            "maps, two students": _of(
                "maps", student=MAPPERS,
                loss=(Term("truth"), Term("peers", "symmetric_kl"), Term("peers", "channel_kl")), **ADAM,
            ),
        },
    ),
    (
        of_lines,
        {
            "lines, LSTM": _of("lines", student="fkd.models:crnn", **ADAM),
            "lines, attention": _of("lines", student="fkd.models:svtr", **ADAM),
            "paddleocr-rec": _of("paddleocr-rec", student=READERS, **ADAM),
        },
    ),
)  # fmt: skip


def every_term(setting: Setting) -> Iterator[Finding]:
    """Take steps on one batch by every term and recipe, at each precision: the loss is finite and falls.

    "apart" is how far the first loss in float32 is from the CPU's, relative to it; dropout is left out.
    "waits" are places where the CPU waits for the device in each step but the first; CTC alone may, for
    torch wants the lengths of texts as numbers.
    """
    for store_of, cases in CASES:
        store = store_of(setting)
        for name, case in cases.items():
            config = _config(setting, store, case)
            course = prepare(config, Group())
            with RenderPool(2) as pool:
                batch = next(course_batches(course, pool, 0))
            (first,), _ = _losses(setting, course, batch, torch.device("cpu"), "off", 1)
            apart, right, waits = 0.0, True, Places()
            figures: dict[str, object] = {}
            for amp in AMPS if setting.on_cuda or not setting.tiny else AMPS[:1]:
                steps = 3 if setting.tiny else 12
                losses, places = _losses(setting, course, batch, setting.device, amp, steps)
                waits |= places
                figures[f"last of the first, {amp}"] = round(losses[-1] / losses[0], 3)
                right &= all(map(math.isfinite, losses)) and (
                    setting.tiny or losses[-1] < losses[0]
                )
                if amp == "off":
                    apart = abs(losses[0] - first) / abs(first)
            figures |= {"first, CPU": round(first, 4), "apart": f"{apart:.1e}"}
            figures["waits"] = in_words(waits)
            yield Finding(name, figures, right and apart < 0.02 and all(map(_known, waits)))


def _known(place: str) -> bool:
    return place.startswith("losses/lines.py:")


def _config(setting: Setting, store: LabelStore, case: Case) -> TrainConfig:
    settings: dict[str, Any] = {
        "store": store.path, "student": SMALL_STUDENT, "batch_size": 16, "crops_per_image": 2,
        **SGD, "epochs": 4, "warmup_epochs": 0, "val": "none", "log": "none",
        "device": setting.device_name, "workers": 2,
    }  # fmt: skip
    return TrainConfig.from_recipe(case.recipe, **{**settings, **case.settings})


def _losses(
    setting: Setting,
    course: Course,
    batch: StudentBatch,
    device: torch.device,
    amp: Amp,
    steps: int,
) -> tuple[Sequence[float], Places]:
    """Return losses of steps on one batch, half-way through a run, and where all but the first wait."""
    config = replace(course.config, engine=replace(course.config.engine, amp=amp))
    torch.manual_seed(0)
    learner = build_learner(replace(course, config=config), device, Learner)
    for network in learner.networks().values():
        for part in network.modules():
            if isinstance(part, nn.Dropout):
                part.p = 0.0
    rate, terms = config.optim.lr * config.batch_size / 1024, config.terms_at(0.5)
    losses = [learner.step(batch, 0, lr=rate, terms=terms)]
    with noted_waits(setting) as places:
        losses += [learner.step(batch, step, lr=rate, terms=terms) for step in range(1, steps)]
    often = Places({place: n for place, n in places.items() if n >= 0.5 * (steps - 1)})
    said: list[float] = torch.stack(losses).tolist()
    return said, often
