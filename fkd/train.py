"""`fkd train`: train a student on stored crops and their soft labels; no teacher is ever loaded."""

import math
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from fkd.config import Preprocessing, TrainConfig
from fkd.crops import normalize
from fkd.errors import ConfigError, FkdError, ImagesError, StoreError
from fkd.evaluate import Accuracy, evaluate, match_classes
from fkd.images import ImageList, dataset_root, first_difference, list_images, val_folder
from fkd.losses import distillation_loss
from fkd.probe import drift
from fkd.progress import note, progress
from fkd.renderer import Renderer
from fkd.runs import Run
from fkd.schedule import Schedule, learning_rate
from fkd.softlabels import check_reading, restore
from fkd.store import LabelStore
from fkd.students import StudentCard, build_student
from fkd.views import StudentBatch, student_batches
from fkd.zoo import check_fit, place, resolve_device

# Views that go through the student at a time where the user does not say: what fits comfortably.
_MICRO_BATCH = {"cpu": 64, "mps": 64}
_MICRO_BATCH_GPU = 256


def train_student(config: TrainConfig) -> Path:
    """Train a student from a label store; return the run folder with its checkpoints and metrics.

    Raises `FkdError` for bad input before the first step.
    """
    device = resolve_device(config.device)
    store = _open_store(config)
    images = _find_images(config, store)
    val = _find_val(config, images, store)
    schedule = Schedule(
        num_images=len(store.labelled_images()),
        num_crops=store.spec.num_crops,
        crops_per_image=config.crops_per_image,
        batch_size=config.batch_size,
        epochs=config.epochs,
        seed=config.seed,
    )
    card = StudentCard(
        config.student,
        store.class_names(),
        Preprocessing(store.spec.size, config.mean, config.std, store.spec.interpolation),
    )
    torch.manual_seed(config.seed)
    student = place(build_student(card), device)
    _check_fit(config, card, student)
    about = {"total_steps": schedule.total_steps, "store_spec": store.spec.to_json()}
    run = Run(config, schedule, about)
    _fit(config, store, images, val, schedule, card, student, run)
    return run.folder


def _check_fit(config: TrainConfig, card: StudentCard, student: nn.Module) -> None:
    """Refuse, before anything is written, a student that cannot take the views as they will come."""
    at_a_time = _views_at_a_time(config, next(student.parameters()).device)
    parts = -(-config.batch_size // at_a_time)
    remedy = "choose another --student or a larger --batch-size, or label at another --size"
    fewest, size = config.batch_size // parts, card.preprocessing.size
    check_fit(student.train(), fewest, size, f"student {card.name}", remedy)


def _open_store(config: TrainConfig) -> LabelStore:
    store = LabelStore.open(config.store)
    store.require_complete()
    check_reading(store.spec.scheme, config.scheme)
    changed = drift(store.spec, config.store)
    if changed:
        note(f"warning: {changed}")
    if config.crops_per_image > store.spec.num_crops:
        raise ConfigError(
            f"--crops-per-image {config.crops_per_image} is more than the {store.spec.num_crops} crops "
            f"per image in {config.store}; choose at most {store.spec.num_crops}"
        )
    if config.batch_size % config.crops_per_image:
        raise ConfigError(
            f"--batch-size {config.batch_size} is not divisible by --crops-per-image "
            f"{config.crops_per_image}; batch size counts views, so choose a multiple such as "
            f"{max(1, config.batch_size // config.crops_per_image) * config.crops_per_image}"
        )
    if not len(store.labelled_images()):
        raise StoreError(f"{config.store} holds no labelled image")
    return store


def _find_images(config: TrainConfig, store: LabelStore) -> ImageList:
    """List the images where the store or `--images` says, and refuse others than those labelled."""
    root = Path(store.spec.images_root) if config.images is None else dataset_root(config.images)
    if not root.is_dir():
        raise ImagesError(
            f"the images of {config.store} are not at {root}; say where they are with --images"
        )
    images = list_images(root)
    difference = first_difference(store.image_paths(), store.num_bytes(), images)
    if difference:
        raise ImagesError(
            f"{root} does not hold the images that {config.store} was made from: {difference}; "
            "give the right folder with --images or label this one anew"
        )
    return images


def _find_val(config: TrainConfig, images: ImageList, store: LabelStore) -> ImageList | None:
    folder = config.val or val_folder(images.root)
    if folder is None:
        return None
    val = list_images(folder)
    match_classes(val, store.class_names())
    return val


def _fit(
    config: TrainConfig,
    store: LabelStore,
    images: ImageList,
    val: ImageList | None,
    schedule: Schedule,
    card: StudentCard,
    student: nn.Module,
    run: Run,
) -> None:
    """The training loop: one batch, one step, one line of the schedule after another."""
    device = next(student.parameters()).device
    # All parameters decay, biases and norms too, as in the ImageNet recipe that FKD follows.
    optimizer = torch.optim.SGD(
        student.parameters(), lr=0.0, momentum=config.momentum, weight_decay=config.weight_decay
    )
    evaluate_at = _evaluation_steps(config, schedule)
    warmup_steps = schedule.step_at(config.warmup_epochs)
    peak = config.lr * config.batch_size / 1024
    student.train()
    with (
        Renderer(config.workers, device, config.render) as renderer,
        progress(None, "train", unit="view", total=schedule.total_steps * config.batch_size) as bar,
    ):
        batches = student_batches(renderer, store, images, schedule)
        for step in range(schedule.total_steps):
            waiting = time.perf_counter()
            batch = next(batches)
            waited = time.perf_counter() - waiting
            lr = learning_rate(
                step, peak=peak, total_steps=schedule.total_steps, warmup_steps=warmup_steps
            )
            loss = _step(config, store, card, student, optimizer, batch, lr)
            _refuse_non_finite(loss, step, lr, batch, images)
            bar.update(config.batch_size)
            bar.set_postfix(loss=f"{loss:.3f}", lr=f"{lr:.2g}", refresh=False)
            run.log_step(step + 1, loss=loss, lr=lr, waited=waited)
            if step + 1 in evaluate_at:
                with run.paused():
                    accuracy = _evaluate(config, card, student, val)
                    state = {"step": step + 1, "optimizer": optimizer.state_dict()}
                    run.finish_evaluation(step + 1, accuracy, card, student, state)


def _evaluation_steps(config: TrainConfig, schedule: Schedule) -> set[int]:
    """Steps after which to evaluate and save: every `eval_every` epochs, and at the very end."""
    one_step = config.batch_size / schedule.num_images
    every = max(config.eval_every or float(config.crops_per_image), one_step)
    last = schedule.total_steps
    count = math.floor(config.epochs / every)
    return {min(last, max(1, schedule.step_at(n * every))) for n in range(1, count + 1)} | {last}


def _step(
    config: TrainConfig,
    store: LabelStore,
    card: StudentCard,
    student: nn.Module,
    optimizer: torch.optim.Optimizer,
    batch: StudentBatch,
    lr: float,
) -> float:
    """Take one optimizer step on a batch, in micro-batches whose gradients add up; return the loss."""
    device = next(student.parameters()).device
    at_a_time = _views_at_a_time(config, device)
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.zero_grad(set_to_none=True)
    total = torch.zeros((), device=device)
    for views, rows in _micro_batches(batch.views, at_a_time):
        kept = {name: values[rows].to(device) for name, values in batch.kept.items()}
        labels = restore(
            kept, store.spec.scheme, config.scheme, len(card.classes), config.label_temperature
        )
        pixels = normalize(
            views.to(device, non_blocking=True), card.preprocessing.mean, card.preprocessing.std
        )
        logits = student(pixels.contiguous(memory_format=torch.channels_last))
        targets = batch.targets[rows].to(device)
        loss = distillation_loss(logits, labels, targets, config.hard_weight)
        share = len(views) / len(batch.views)
        (loss * share).backward()  # type: ignore[no-untyped-call]
        total += loss.detach() * share
    optimizer.step()
    return float(total)


def _views_at_a_time(config: TrainConfig, device: torch.device) -> int:
    return config.micro_batch or _MICRO_BATCH.get(device.type, _MICRO_BATCH_GPU)


def _micro_batches(views: Tensor, at_a_time: int) -> list[tuple[Tensor, slice]]:
    """Deal a batch out into near-equal parts.

    Dealt like cards, the m views of an image go to different parts, so batch norm sees as many different
    images as it can; and no part is left with one view, which has no batch statistics.
    """
    parts = -(-len(views) // at_a_time)
    return [(views[part::parts], slice(part, None, parts)) for part in range(parts)]


def _refuse_non_finite(
    loss: float, step: int, lr: float, batch: StudentBatch, images: ImageList
) -> None:
    if not math.isfinite(loss):
        first = images.paths[int(batch.image_index[0])]
        raise FkdError(
            f"the loss is {loss} at step {step + 1} (lr {lr:g}, batch beginning with {first}); "
            "the checkpoints of earlier steps are kept; try a smaller --lr"
        )


def _evaluate(
    config: TrainConfig, card: StudentCard, student: nn.Module, val: ImageList | None
) -> Accuracy | None:
    if val is None:
        return None
    batch_size = min(128, config.batch_size)
    return evaluate(student, card.preprocessing, card.classes, val, batch_size, config.workers)
