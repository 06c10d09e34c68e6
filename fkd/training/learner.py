"""Students in training: their networks, one optimizer, and one step on a batch."""

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from fkd.config import TrainConfig, Weighed, terms_of
from fkd.errors import ConfigError, FkdError
from fkd.labels import KeptLabels, Labels
from fkd.loader import StudentBatch, training_labels
from fkd.losses import TermLosses, term_losses
from fkd.machine import seeded
from fkd.students import Checkpoint, MovingAverage, StudentCard, Weights
from fkd.training.augment import jitter, mix
from fkd.training.comparing import Comparisons, pairs_of
from fkd.training.micro_batches import dealt_out, views_at_a_time
from fkd.training.network import Network, Parts
from fkd.training.optimizer import build_optimizer
from fkd.training.processes import Group
from fkd.views import normalize


class Learner:
    """What changes while students learn: `students` by name, of which the first decides what is best.

    `running` has batch norm's running statistics by network and name, while others stand in their place.
    `parts` has what students and terms have of the last step's loss, by their names in metrics: where
    there are several students, or the loss is given in terms. `compared` is what terms on vectors have.
    """

    def __init__(
        self,
        config: TrainConfig,
        card: StudentCard,
        stored: KeptLabels,
        student: nn.Module,
        device: torch.device,
        group: Group,
        peers: Sequence[tuple[StudentCard, nn.Module]] = (),
        compared: Comparisons | None = None,
    ) -> None:
        """Put a student to work on `device`, on labels that are kept as `stored`, and its `peers`."""
        self._config, self._card, self._stored, self._group = config, card, stored, group
        self._compared = compared or Comparisons()
        self.device = device
        if config.sync_bn and device.type != "cuda":
            raise ConfigError(f"--sync-bn needs CUDA; this run is on {device.type}")
        self.students: dict[str, Network] = {}
        for choice, (own, model) in zip(config.students, [(card, student), *peers], strict=True):
            prefix = f"{choice.name}/" if self.students else ""
            beside = self._compared.of.get(choice.name)
            self.students[choice.name] = Network(config, own, model, device, group, prefix, beside)
        self._first = next(iter(self.students.values()))
        self.running: dict[str, Mapping[str, Tensor]] = {}
        self.parts: Mapping[str, Tensor] = {}
        networks = [network.student for network in self.students.values()]
        self.optimizer = build_optimizer(config.optim, *networks, *self._adaptors().values())
        self._scaler = torch.amp.GradScaler(device.type, enabled=config.engine.amp == "fp16")

    @property
    def student(self) -> nn.Module:
        """The first student, or the only one."""
        return self._first.student

    @property
    def ema(self) -> MovingAverage | None:
        """The moving average of its weights."""
        return self._first.ema

    def step(
        self, batch: StudentBatch, step: int, *, lr: float, terms: Sequence[Weighed]
    ) -> Tensor:
        """Take one optimizer step on this process's share of a batch; return its loss, on the device.

        Of several students that is the first's: all see the same views, and each learns from what the
        others say of them before the step. The views go through the students in micro-batches whose
        gradients add up. All that is random is a function of (seed, step, rank), so it does not matter
        where a run was interrupted; that holds for a student that draws from torch, `random` or
        `numpy.random`. A GPU is asked for all of the step, and nothing here waits until it is done.
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
        """Send a batch through the students and back, part by part; return the first one's loss."""
        total, noted = torch.zeros((), device=self.device), Parts(self._config)
        own = {name: terms_of(terms, name) for name in self.students}
        parts = list(dealt_out(len(batch.views), views_at_a_time(self._config, self.device)))
        for number, rows in enumerate(parts, start=1):
            with ExitStack() as kept:
                for network in self.students.values():
                    kept.enter_context(network.gradients_sent(number == len(parts)))
                for name, losses in self._losses(batch, rows, own, rng).items():
                    loss = losses.total.sum() / len(batch.views)
                    self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
                    if self.students[name] is self._first:
                        total += loss.detach()
                    if self._config.tells_parts:
                        prefix = self.students[name].prefix
                        each = losses.each.sum(dim=1) / len(batch.views)
                        noted.add(name, prefix, own[name], loss, each)
        self.parts = noted.by_name()
        return total

    def _losses(
        self,
        batch: StudentBatch,
        rows: slice,
        terms: Mapping[str, Sequence[Weighed]],
        rng: np.random.Generator,
    ) -> dict[str, TermLosses]:
        """Return each student's losses of some of a batch's views, which all see alike."""
        config, preprocessing = self._config, self._card.preprocessing
        views, truth = batch.views[rows], batch.truth(rows)
        if config.augment.color_jitter:
            views = jitter(views.float() / 255, config.augment.color_jitter, rng) * 255
        pixels, mixed = mix(
            normalize(views, preprocessing.mean, preprocessing.std), config.augment, rng
        )
        pixels = pixels.contiguous(memory_format=torch.channels_last)
        said = {name: network.said(pixels) for name, network in self.students.items()}
        logits = {name: each.logits for name, each in said.items()}

        @cache  # students that read labels alike read them once
        def labels(temperature: float) -> Labels:
            return self.labels(batch, rows, batch.targets[rows], temperature)

        @cache
        def vectors(target: str) -> Tensor:
            return self.vectors(batch, rows, target)

        def losses_of(name: str, own: Tensor) -> TermLosses:
            if not terms[name]:  # at this moment none weighs anything
                return TermLosses(torch.zeros(len(own), device=own.device) + said[name].nothing, ())
            peers = {other: each.detach() for other, each in logits.items() if other != name}
            pairs = pairs_of(name, said, vectors)
            losses = term_losses(own, terms[name], labels, truth, mixed, peers, pairs)
            return losses.plus(said[name].nothing) if said[name].layers else losses

        return {name: losses_of(name, own) for name, own in logits.items()}

    def labels(
        self, batch: StudentBatch, rows: slice, targets: Tensor, temperature: float
    ) -> Labels:
        """Return what the store says of some of a batch's views, on the device, as all of `batch` is.

        `targets` int64 [b] are the class ids of these views, `temperature` the one to read labels at.
        """
        kept = {name: values[rows] for name, values in batch.kept.items()}
        return training_labels(kept, targets, self._stored, self._config, temperature)

    def vectors(self, batch: StudentBatch, rows: slice, target: str) -> Tensor:
        """Return the stored vectors `target` of some of a batch's views, f32 [b, …], on the device."""
        kept = {name: values[rows] for name, values in batch.kept.items()}
        return self._compared.stored[target].restore(kept)

    def _update(self) -> None:
        clip = self._config.optim.clip_grad
        if clip:
            self._scaler.unscale_(self.optimizer)
            for network in self.students.values():
                nn.utils.clip_grad_norm_(network.parameters(), clip)
        self._scaler.step(self.optimizer)
        self._scaler.update()
        for network in self.students.values():
            if network.ema is not None:
                network.ema.update(network.student)

    def is_finite(self) -> bool:
        """Say whether all weights are numbers; a loss tells of the weights before its step."""
        every = [p for network in self.students.values() for p in network.parameters()]
        return bool(torch.stack([p.isfinite().all() for p in every]).all())

    def networks(self) -> dict[str, nn.Module]:
        """Return the students and, where there are, their moving averages, by name."""
        return {
            name: module
            for network in self.students.values()
            for name, module in network.modules().items()
        }

    def averages(self) -> dict[str, MovingAverage]:
        """Return the moving averages by the names that `networks` has for them."""
        every = self.students.values()
        return {f"{one.prefix}ema": one.ema for one in every if one.ema is not None}

    def checkpoint(self, step: int) -> Checkpoint:
        """Return the students after `step` steps, with all that the next step depends on."""
        trainer: dict[str, Any] = {
            "optimizer": self.optimizer.state_dict(),
            "scaler": self._scaler.state_dict(),
        }
        if self.running:
            trainer["running"] = {name: dict(own) for name, own in self.running.items()}
        if self.ema is not None:
            trainer["ema_updates"] = self.ema.updates
        if beside := self._adaptors():
            trainer["adaptors"] = {name: one.state_dict() for name, one in beside.items()}
        (name, first), *peers = (
            (name, network.weights()) for name, network in self.students.items()
        )
        return Checkpoint(
            first.card, first.student, step, first.ema, trainer=trainer,
            name="" if isinstance(self._config.student, str) else name, peers=dict(peers),
        )  # fmt: skip

    def load(self, checkpoint: Checkpoint) -> None:
        """Take up what `checkpoint` returned; raises `FkdError` where it is of another run."""
        trainer = checkpoint.trainer
        first = Weights(checkpoint.card, checkpoint.student, checkpoint.ema)
        try:
            for name, network in self.students.items():
                kept = first if network is self._first else checkpoint.peers[name]
                network.load(kept, trainer.get("running", {}))
                if network.ema is not None:
                    network.ema.updates = int(trainer["ema_updates"])
            for name, adaptors in self._adaptors().items():
                adaptors.load_state_dict(trainer["adaptors"][name])
            self._load_optimizer(trainer["optimizer"])
            self._scaler.load_state_dict(trainer["scaler"])
        except (AttributeError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise FkdError(
                f"the checkpoint is of another student or optimizer ({error})"
            ) from error

    def _adaptors(self) -> dict[str, nn.Module]:
        """Return what is trained beside students and left behind, by the student's name."""
        return {n: one.adaptors for n, one in self.students.items() if one.adaptors is not None}

    def _load_optimizer(self, state: Mapping[str, Any]) -> None:
        """Load an optimizer's state, which may come from a device where other kernels did its work."""
        pairs = zip(state["param_groups"], self.optimizer.param_groups, strict=True)
        groups = [{**saved, "fused": own["fused"]} for saved, own in pairs]
        self.optimizer.load_state_dict({**state, "param_groups": groups})
