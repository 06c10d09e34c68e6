"""Online distillation: the teacher labels every batch while the student trains on it."""

import json
import time

import torch
from torch import Tensor

from fkd.config import Preprocessing
from fkd.evaluate import evaluate
from fkd.group import joined
from fkd.learner import Learner
from fkd.progress import progress
from fkd.recipes import TrainConfig
from fkd.renderer import Renderer
from fkd.softlabels import SoftLabels
from fkd.students import StudentCard, build_student
from fkd.teachers import Teacher
from fkd.train import rate_at
from fkd.training_data import find_images, find_val, open_store, plan
from fkd.views import StudentBatch, student_batches

_LOG_EVERY = 10


class OnlineLearner(Learner):
    """Learns from what the teacher says of a batch now; what the store says of it is not read."""

    teacher: Teacher

    def _labels(self, batch: StudentBatch, rows: slice, targets: Tensor) -> SoftLabels:
        views = batch.views[rows]
        probs = self.teacher.probs(views, len(views), 1.0).clone()  # for autograd
        return SoftLabels(None, probs, probs.new_zeros(len(probs)))


def train_online(config: TrainConfig, teacher: Teacher) -> None:
    """Train as `fkd train` does, on the same views, with the teacher in the loop.

    Writes `metrics.jsonl` with the top-1 at the end into the run folder, and nothing that could go on.
    """
    assert config.out is not None
    config.out.mkdir(parents=True, exist_ok=True)
    store = open_store(config)
    images = find_images(store, config.images)
    val = find_val(config, images, store)
    assert val is not None
    schedule = plan(config, store, 1)
    how = Preprocessing(store.spec.size, config.mean, config.std, store.spec.interpolation)
    card = StudentCard(config.student, store.class_names(), how)
    torch.manual_seed(config.seed)
    device = teacher.device
    with joined("cpu") as group, Renderer(config.workers, device) as renderer:
        learner = OnlineLearner(config, card, store.spec.scheme, build_student(card), device, group)
        learner.teacher = teacher
        lines, since = [], time.perf_counter()
        batches = student_batches(renderer, store, images, schedule)
        steps = progress(range(schedule.total_steps), "train online", unit="step")
        for step, batch in zip(steps, batches, strict=True):
            learner.step(batch, step, lr=rate_at(config, schedule, step), hard_weight=0.0)
            if (step + 1) % _LOG_EVERY == 0 or step + 1 == schedule.total_steps:
                views, now = ((step % _LOG_EVERY) + 1) * schedule.batch_size, time.perf_counter()
                lines.append(
                    {"kind": "train", "step": step + 1, "views_per_s": views / (now - since)}
                )
                since = now
        found = evaluate(learner.student, how, card.classes, val, 128, config.workers)
    lines.append(
        {"kind": "eval", "step": schedule.total_steps, "top1": found.top1, "top5": found.top5}
    )
    (config.out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
