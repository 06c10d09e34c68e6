"""A student in training: its weights, their optimizer and average, and one step on a batch."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fkd.config import TrainConfig, Weighed
from fkd.errors import ConfigError, FkdError
from fkd.labels import KeptLabels, SoftLabels
from fkd.loader import StudentBatch, training_labels
from fkd.losses import term_losses
from fkd.machine import autocast, place, seeded
from fkd.models import find_logits
from fkd.students import Checkpoint, MovingAverage, StudentCard
from fkd.training.augment import jitter, mix
from fkd.training.optimizer import build_optimizer
from fkd.training.processes import Group
from fkd.views import normalize

# Views that go through the student at a time where the user does not say: what fits comfortably.
_MICRO_BATCH = {"cpu": 64, "mps": 64}
_MICRO_BATCH_GPU = 256


class Learner:
    """What changes while a student learns. `student` has the weights, `ema` their moving average.

    `running` has batch norm's running statistics by network and name, while others stand in their place.
    """

    def __init__(
        self,
        config: TrainConfig,
        card: StudentCard,
        stored: KeptLabels,
        student: nn.Module,
        device: torch.device,
        group: Group,
    ) -> None:
        """Put a student to work on `device`, on labels that are kept as `stored`."""
        self._config, self._card, self._stored, self._group = config, card, stored, group
        self.device = device
        if config.sync_bn and device.type != "cuda":
            raise ConfigError(f"--sync-bn needs CUDA; this run is on {device.type}")
        if config.sync_bn:
            student = nn.SyncBatchNorm.convert_sync_batchnorm(student)  # type: ignore[no-untyped-call]
        self.student = place(student, device).train()
        self.ema = None if config.ema is None else MovingAverage(self.student, config.ema)
        self.running: dict[str, Mapping[str, Tensor]] = {}
        self.optimizer = build_optimizer(config.optim, self.student)
        self._scaler = torch.amp.GradScaler(device.type, enabled=config.engine.amp == "fp16")
        self._wrapped: Any = group.wrap(self.student, device)
        # Micro-batches have one size or two; a graph of any size would be slower than one of each.
        compiled = config.engine.compile
        self._model = torch.compile(self._wrapped, dynamic=False) if compiled else self._wrapped

    def step(
        self, batch: StudentBatch, step: int, *, lr: float, terms: Sequence[Weighed]
    ) -> Tensor:
        """Take one optimizer step on this process's share of a batch; return its loss, on the device.

        The views go through the student in micro-batches whose gradients add up. All that is random is
        a function of (seed, step, rank), so it does not matter where a run was interrupted; that holds
        for a student that draws from torch, `random` or `numpy.random`. A GPU is asked for all of the
        step, and nothing here waits until it is done.
        """
        batch = batch.to(self.device)
        key = np.random.SeedSequence((self._config.seed, step, self._group.rank))
        torch.manual_seed(int(key.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        rng = np.random.default_rng(key)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.zero_grad(set_to_none=True)
        with seeded(key):
            total = self._add_gradients(batch, terms, rng)
        self._update()
        return total

    def _add_gradients(
        self, batch: StudentBatch, terms: Sequence[Weighed], rng: np.random.Generator
    ) -> Tensor:
        """Send a batch through the student and back, part by part; return its loss."""
        total = torch.zeros((), device=self.device)
        parts = list(_deal(len(batch.views), views_at_a_time(self._config, self.device)))
        for number, rows in enumerate(parts, start=1):
            with self._gradients_sent(number == len(parts)):
                losses = self._losses(batch, rows, terms, rng)
                loss = losses.sum() / len(batch.views)
                self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    def _losses(
        self, batch: StudentBatch, rows: slice, terms: Sequence[Weighed], rng: np.random.Generator
    ) -> Tensor:
        """Return the loss of some of a batch's views, f32 [b]."""
        config, preprocessing = self._config, self._card.preprocessing
        views, targets = batch.views[rows], batch.targets[rows]
        if config.augment.color_jitter:
            views = jitter(views.float() / 255, config.augment.color_jitter, rng) * 255
        pixels, mixed = mix(
            normalize(views, preprocessing.mean, preprocessing.std), config.augment, rng
        )
        with autocast(self.device, config.engine.amp):
            answer = self._model(pixels.contiguous(memory_format=torch.channels_last))
        logits = find_logits(answer, len(pixels), f"student {self._card.name}")

        def labels(temperature: float) -> SoftLabels:
            return self.labels(batch, rows, targets, temperature)

        return term_losses(logits, terms, labels, targets, mixed).total

    def labels(
        self, batch: StudentBatch, rows: slice, targets: Tensor, temperature: float
    ) -> SoftLabels:
        """Return what the store says of some of a batch's views, on the device, as all of `batch` is.

        `targets` int64 [b] are the class ids of these views, `temperature` the one to read labels at.
        """
        kept = {name: values[rows] for name, values in batch.kept.items()}
        return training_labels(kept, targets, self._stored, self._config, temperature)

    def _gradients_sent(self, last: bool) -> Any:
        """Let processes exchange gradients after the last micro-batch only."""
        return nullcontext() if last or self._group.num_ranks == 1 else self._wrapped.no_sync()

    def _update(self) -> None:
        clip = self._config.optim.clip_grad
        if clip:
            self._scaler.unscale_(self.optimizer)
            nn.utils.clip_grad_norm_(self.student.parameters(), clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        if self.ema is not None:
            self.ema.update(self.student)

    def is_finite(self) -> bool:
        """Say whether all weights are numbers; a loss tells of the weights before its step."""
        with torch.no_grad():
            sums = torch.stack([p.double().sum() for p in self.student.parameters()])
        return bool(torch.isfinite(sums).all())

    def networks(self) -> dict[str, nn.Module]:
        """Return the student and, where there is one, its moving average, by name."""
        average = {} if self.ema is None else {"ema": self.ema.module}
        return {"student": self.student, **average}

    def checkpoint(self, step: int) -> Checkpoint:
        """Return the student after `step` steps, with all that the next step depends on."""
        trainer: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        if self.running:
            trainer["running"] = {name: dict(own) for name, own in self.running.items()}
        average = None
        if self.ema is not None:
            average, trainer["ema_updates"] = self.ema.module.state_dict(), self.ema.updates
        return Checkpoint(self._card, self.student.state_dict(), step, average, trainer=trainer)

    def load(self, checkpoint: Checkpoint) -> None:
        """Take up what `checkpoint` returned; raises `FkdError` where it is of another run."""
        trainer = checkpoint.trainer
        running = trainer.get("running", {})
        try:
            self.student.load_state_dict({**checkpoint.student, **running.get("student", {})})
            self._load_optimizer(trainer["optimizer"])
            self._scaler.load_state_dict(trainer["scaler"])
            if self.ema is not None:
                average = checkpoint.ema or {}
                self.ema.module.load_state_dict({**average, **running.get("ema", {})})
                self.ema.updates = int(trainer["ema_updates"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise FkdError(
                f"the checkpoint is of another student or optimizer ({error})"
            ) from error

    def _load_optimizer(self, state: Mapping[str, Any]) -> None:
        """Load an optimizer's state, which may come from a device where other kernels did its work."""
        pairs = zip(state["param_groups"], self.optimizer.param_groups, strict=True)
        groups = [{**saved, "fused": own["fused"]} for saved, own in pairs]
        self.optimizer.load_state_dict({**state, "param_groups": groups})


def views_at_a_time(config: TrainConfig, device: torch.device) -> int:
    """Return how many views go through the student at a time."""
    return config.micro_batch or _MICRO_BATCH.get(device.type, _MICRO_BATCH_GPU)


def _deal(num_views: int, at_a_time: int) -> Iterator[slice]:
    """Deal a batch out into near-equal parts.

    Dealt like cards, the m views of an image go to different parts, so batch norm sees as many different
    images as it can; and no part is left with one view, which has no batch statistics.
    """
    parts = -(-num_views // at_a_time)
    return (slice(part, None, parts) for part in range(parts))
