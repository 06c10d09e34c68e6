"""Right: what students are judged by, on a device and on the CPU."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from fkd import LabelStore, Term, TrainConfig, evaluate_checkpoint, evaluate_features, train_student

from .findings import Finding, Setting
from .small_models import LINE_STUDENT, MAP_STUDENT, SMALL_STUDENT
from .stores import labelled, of_lines, of_maps

KINDS: Mapping[str, tuple[Callable[[Setting], LabelStore], str, str, Mapping[str, Any]]] = {
    "classes": (labelled, "small", SMALL_STUDENT, {"loss": Term("truth"), "lr": 1.0}),
    "maps": (of_maps, "maps", MAP_STUDENT, {}),
    "lines": (of_lines, "lines", LINE_STUDENT, {"loss": "ctc", "lr": 1.0}),
}
# The number that decides which checkpoint is the best, by what is judged.
JUDGED_BY = {"classes": "top1", "maps": "miou", "lines": "exact_match"}


def evaluation(setting: Setting) -> Iterator[Finding]:
    """Evaluate one student of classes, of maps and of lines on the device, and the same on the CPU.

    Of classes its features are judged by kNN, too. Scores are in percent, of the `val` folder.
    """
    for kind, (store_of, recipe, student, more) in KINDS.items():
        store, run = store_of(setting), setting.folder / f"judged-{kind}"
        settings = {
            "store": store.path, "out": run, "student": student, "device": setting.device_name,
            "epochs": 2 if setting.tiny else 12, "batch_size": 16, "crops_per_image": 2, "log": "none",
            "eval_every": 1e6, "warmup_epochs": 0,
        }  # fmt: skip
        train_student(TrainConfig.from_recipe(recipe, **settings, **more))
        folder = Path(store.spec.images_root).parent
        here, there = (
            evaluate_checkpoint(run, folder, device=device).numbers
            for device in ("cpu", setting.device_name)
        )
        yield _apart(f"{kind}, {JUDGED_BY[kind]}", here, there, JUDGED_BY[kind])
        if kind == "classes":
            near, far = (
                _neighbours(run, folder, device) for device in ("cpu", setting.device_name)
            )
            yield _apart("features, kNN", near, far, "knn")


def _neighbours(run: Path, folder: Path, device: str) -> Mapping[str, float]:
    found = evaluate_features(run, folder, device=device)
    assert found.knn is not None
    return {"knn": found.knn, "num_images": found.num_images}


def _apart(what: str, here: Mapping[str, float], there: Mapping[str, float], name: str) -> Finding:
    """Compare a score; of few images that are all but undecided, one or two may be judged otherwise."""
    figures: dict[str, object] = {
        "images": int(here["num_images"]), "CPU": round(100 * here[name], 3),
        "device": round(100 * there[name], 3),
    }  # fmt: skip
    right = abs(there[name] - here[name]) <= 2 / here["num_images"]
    if "loss" in here:
        apart = abs(there["loss"] - here["loss"]) / max(here["loss"], 1e-9)
        figures |= {"loss, CPU": round(here["loss"], 4), "apart": f"{apart:.1e}"}
        right = right and apart < 0.01
    return Finding(what, figures, right)
