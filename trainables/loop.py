"""The training loop: one report's worth of training at a time, resumable after any step.

A report ends with an epoch, or right after a step in which a method asked to keep the state. All
draws are functions of (seed, step, name), so that a saved state needs no generator and methods
never shift each other's draws.
"""

import math
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as hard_cross_entropy

from trainables import diagnostics, snapshot
from trainables.compiled import compiled
from trainables.config import Config
from trainables.data.batch import Batch, Part
from trainables.data.dataset import Dataset, prepare
from trainables.data.resident import Resident, scaled
from trainables.data.strong import strong as strengthened
from trainables.data.views import STILL, augmented
from trainables.methods.base import Score
from trainables.methods.chain import Chain
from trainables.optim import make_optimizer
from trainables.passes import Passes
from trainables.rng import Streams, default_generator, seed_of
from trainables.select import Selection

WORST_NATS = 10.0  # times log K: the loss that stands for a diverged one


class Loop:
    """One trial's training. Satisfies `trainables.methods.base.Run`.

    Args:
        config: the trial.
        data: its data; prepared from the config's task when left out.
        probe: (P, C, H, W) uint8 images whose logits are recorded after each epoch.
        device: where to train; a GPU when there is one.

    Attributes:
        selected: weights of the epoch that counts so far; None before the first epoch.
        kept: the state `back` returns to; None before the first `keep`.
        probed: (P, K) float16 logits of the probe, one tensor an epoch.
        fetch: gives `back` the kept state; a Trial puts Tune's restore here.
    """

    def __init__(
        self,
        config: Config,
        data: Dataset | None = None,
        *,
        probe: Tensor | None = None,
        device: torch.device | str | None = None,
    ) -> None:
        self.config = config
        task = config.task
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        data = data or prepare(task)
        self.classes = len(data.classes)
        self.moves, self.strong_moves = data.view, data.strong
        self.half = task.precision == "bf16"
        self.data = Resident(data, self.device, probe)
        self.size, self.epochs, self.batch = len(data.train), task.epochs, task.optim.batch
        # one row left over joins the batch before it: batch norm has no deviation of one row
        alone = self.size % self.batch == 1 < min(self.size, self.batch)
        self.steps_per_epoch = -(-self.size // self.batch) - alone
        self.steps = self.epochs * self.steps_per_epoch
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed_of(config.seed, "model"))
            self.model = config.make_model().build(self.data.shape, self.classes).to(self.device)
        self.model = self.model.to(memory_format=torch.channels_last)
        self._network = compiled(self.model) if task.compile else self.model
        self.parameters = list(self.model.parameters())
        self.chain = Chain(config.make_methods())
        self.optimizer = make_optimizer(task.optim, self.model, decays=not self.chain.owns_decay)
        self.decay = task.optim.decay
        self.schedule = config.make_schedule()
        self.lr_scale = 1.0  # on the schedule; a reset may set it
        self.lr = 0.0  # of the running step
        self.labels = self.data.labels
        clean = data.clean[torch.from_numpy(data.train)].to(self.device)
        self.wrong = clean != self.labels  # no method sees it
        self._telling = 0 < int(self.wrong.sum()) < self.size
        # by row: what is predicted right, what would be memorised, what would be corrected
        none = torch.full_like(clean, -1)
        self._marks = torch.stack(
            [
                self.labels,
                torch.where(self.wrong, self.labels, none),
                torch.where(self.wrong, clean, none),
            ]
        )

        self.step = 0
        self.seconds = 0.0
        self.diverged = False
        # of the running epoch: nats; rows predicted as given, of wrong ones as given, as the truth
        self.sums = torch.zeros(4, device=self.device)
        self._nats, self._hits = self.sums[0], self.sums[1:]  # views
        self.selection = Selection(config.select, config.mode)
        self.latest = self.worst  # the metric at the last epoch's end
        self.selected: dict[str, Tensor] | None = None
        self.kept: dict[str, Any] | None = None
        self.probed: list[Tensor] = []
        self.fetch: Callable[[], dict[str, Any]] = self._from_memory
        self._keeping = False
        self._scores: tuple[int, Score] | None = None  # of the model after this step
        self._trusted: Score | None = None  # at the last epoch's end, where there is such a set
        self._order: tuple[int, Tensor] | None = None  # of this epoch
        self._streams = Streams(config.seed)
        self._passes = Passes(self.data.shape, self.device)
        self._defaults = default_generator(self.device)
        self.chain.start(self)

    # What methods may see

    @property
    def epoch(self) -> int:
        return self.step // self.steps_per_epoch

    def stream(self, name: str, device: str = "cpu") -> torch.Generator:
        return self._streams.at(self.step, name, device)

    def forward(self, x: Tensor) -> Tensor:
        views = x.shape[:-4]
        x = self.data.normalised(x.flatten(0, -4)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            # evaluation sees many shapes, each of which would be compiled anew
            logits: Tensor = (self._network if self.model.training else self.model)(x)
        logits = logits.float()
        return logits.view(*views, -1, logits.shape[-1]) if views else logits

    def view(self, index: Tensor, strong: bool = False) -> Tensor:
        images = self.data.training(index)
        if strong:
            stream = self.stream("strong", self.device.type)
            images = strengthened(images, self.strong_moves, stream)
        elif self.moves != STILL:
            images = augmented(images, self.moves, self.stream("view", self.device.type))
        return scaled(images)

    def losses(self, mode: str = "eval") -> Tensor:
        rows = torch.arange(self.size, device=self.device)
        with torch.no_grad():
            if mode == "eval":
                logits = self._evaluated(lambda part: self.data.training(rows[part]), self.size)
            else:
                held = [buffer.clone() for buffer in self.model.buffers()]
                parts = [self._part(rows, at) for at in range(self.steps_per_epoch)]
                logits = torch.cat([self.forward(self.view(part)) for part in parts])
                for buffer, before in zip(self.model.buffers(), held, strict=True):
                    buffer.copy_(before)
            return hard_cross_entropy(logits, self.data.labels, reduction="none")

    def validate(self) -> Score:
        if self._scores is None or self._scores[0] != self.step:
            score = self._scored(self.data.validation, self.data.validation_labels)
            self._scores = (self.step, score)
        return self._scores[1]

    def keep(self) -> None:
        self._keeping = True

    def back(self, *, optimizer: bool = True, memories: bool = True, lr: bool = False) -> None:
        kept = self.fetch()
        self.model.load_state_dict(kept["model"])
        if optimizer:
            snapshot.load_buffers(self.optimizer, kept["optimizer"])
        if memories:
            self.chain.load_memories(snapshot.copied(kept["memories"]))
        if lr:
            self.lr_scale = kept["lr"] / self.schedule(self.step / self.steps)
        self._scores = None

    # What a trial does with it

    @property
    def ended(self) -> bool:
        """Whether nothing is left to train."""
        return self.diverged or self.step == self.steps

    @property
    def worst(self) -> float:
        """The finite value that counts as worst, in the metric's unit."""
        if self.config.metric == "val/acc":
            return 0.0
        return WORST_NATS * math.log(self.classes)

    def train(self) -> dict[str, Any]:
        """Train up to the next report.

        Returns:
            The report: numbers by name, all finite. `epoch` counts finished steps in epochs,
            `score` is the selected epoch's value so far, `scored` tells whether this report ends an
            epoch, `kept` whether it ends with a kept state, `done` whether the trial is over.
        """
        began = time.perf_counter()
        self.model.train()
        ended: Score | None = None
        kept = False
        while ended is None and not kept:
            lr, ended, kept = self.advance()
        metrics = self._metrics(ended)
        self.seconds += time.perf_counter() - began
        score = self.selection.score
        return {
            "epoch": self.step / self.steps_per_epoch,
            "step": self.step,
            "scored": int(ended is not None),
            "score": self.worst if score is None else score,
            "last": self.latest,
            "kept": int(kept),
            "diverged": int(self.diverged),
            "done": self.ended,
            "lr": lr,
            **metrics,
            "seconds": self.seconds,
            "seconds/epoch": self.seconds * self.steps_per_epoch / self.step,
        }

    def advance(self) -> tuple[float, Score | None, bool]:
        """Train one step.

        Returns:
            The learning rate it used, the score if it ended an epoch, and whether it was kept.
        """
        if self.step % self.steps_per_epoch == 0:
            self.sums.zero_()
        lr = self._train_step()
        last = (self.step + 1) % self.steps_per_epoch == 0
        ended = self._end_epoch() if last else None
        kept, self._keeping = self._keeping and not self.diverged, False
        self.step += 1
        if kept:
            self.kept = self.target(self.state_dict())
        return lr, ended, kept

    def target(self, state: dict[str, Any]) -> dict[str, Any]:
        """What a reset takes out of a state that was saved right after the step it is kept at."""
        follow = self.chain.followers()
        return {
            "model": state["model"],
            "optimizer": state["optimizer"],
            "memories": {name: state["methods"][name] for name in follow},
            "lr": self.schedule((state["step"] - 1) / self.steps) * state["lr_scale"],
        }

    def close(self) -> None:
        """End what works for this loop in the background."""
        self.data.close()

    def state_dict(self) -> dict[str, Any]:
        """A copy of everything the config cannot rebuild, but `kept`: tensors and plain values."""
        return {
            "step": self.step,
            "seconds": self.seconds,
            "diverged": self.diverged,
            "lr_scale": self.lr_scale,
            "sums": self.sums.clone(),
            "latest": self.latest,
            "selection": self.selection.state_dict(),
            "model": snapshot.weights(self.model),
            "optimizer": snapshot.buffers(self.optimizer),
            "methods": snapshot.copied(self.chain.state_dict()),
            "selected": snapshot.copied(self.selected),
            "probed": list(self.probed),
        }

    def load_state_dict(self, state: dict[str, Any], kept: dict[str, Any] | None = None) -> None:
        """Go on from a saved state; `kept` is the state that `back` returns to, if there is one."""
        self.step, self.seconds = state["step"], state["seconds"]
        self.diverged, self.lr_scale = state["diverged"], state["lr_scale"]
        self.sums.copy_(state["sums"])
        self.latest = state["latest"]
        self.selection.load_state_dict(state["selection"])
        self.model.load_state_dict(state["model"])
        snapshot.load_buffers(self.optimizer, state["optimizer"])
        self.chain.load_state_dict(snapshot.copied(state["methods"]))
        self.selected = snapshot.copied(state["selected"])
        self.probed = list(state["probed"])
        self.kept = kept
        self._keeping, self._scores, self._order = False, None, None
        self._streams.clear()

    # One step, one epoch

    def _train_step(self) -> float:
        """Train one step and run the methods' `step` hooks; give the learning rate it used."""
        index = self._next_index()
        label = self.data.labels.index_select(0, index)
        y = self.data.targets.index_select(0, label)
        factor = self.schedule(self.step / self.steps) * self.lr_scale
        self.lr = self.config.task.optim.lr * factor
        batch = Batch(self.view(index), y, label, index, (Part(index, label, 1.0),))
        batch = self.chain.batch(batch, self)
        self._gradient(batch)
        self.chain.grads(batch, self)
        for group in self.optimizer.param_groups:
            group["lr"] = self.lr
        self.optimizer.step()
        self._scores = None
        self.chain.step(batch, self)
        return self.lr

    def _gradient(self, batch: Batch) -> None:
        # dropout takes no generator: it draws from the device's default one
        self._defaults.manual_seed(seed_of(self.config.seed, self.step, "layers"))
        logits = self.forward(batch.x)
        loss = self.chain.loss(self.chain.logits(logits, batch, self), batch, self)
        for parameter in self.parameters:
            parameter.grad = None  # all that zero_grad does, in a tenth of its time
        sum(self.chain.penalties(self), loss).backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            self._nats.add_(loss, alpha=len(batch.label))
            predicted = (logits if logits.dim() == 2 else logits[0]).argmax(-1)
            marks = self._marks.index_select(1, batch.index)
            self._hits.add_((predicted == marks).sum(1))

    def _next_index(self) -> Tensor:
        epoch, position = divmod(self.step, self.steps_per_epoch)
        if self._order is None or self._order[0] != epoch:
            generator = torch.Generator().manual_seed(seed_of(self.config.seed, epoch, "order"))
            order = torch.randperm(self.size, generator=generator).to(self.device)
            self._order = (epoch, order)
            self.data.plan([self._part(order, at) for at in range(position, self.steps_per_epoch)])
        return self._part(self._order[1], position)

    def _part(self, order: Tensor, position: int) -> Tensor:
        last = position == self.steps_per_epoch - 1
        return order[position * self.batch : self.size if last else (position + 1) * self.batch]

    def _end_epoch(self) -> Score:
        score = self.validate()
        if len(self.data.trusted_labels):
            self._trusted = self._scored(self.data.trusted, self.data.trusted_labels)
        value = score.acc if self.config.metric == "val/acc" else score.loss
        self.diverged = not (self.sums.isfinite().all() and math.isfinite(score.loss))
        if self.diverged:
            return score
        self.latest = value
        if self.selection.offer(value):
            self.selected = snapshot.weights(self.model)
        probe = self.data.probe
        if probe is not None:
            with torch.no_grad():
                self.probed.append(self._evaluated(probe.__getitem__, len(probe)).half().cpu())
        self.chain.epoch(self)
        return score

    def _metrics(self, ended: Score | None) -> dict[str, float]:
        nats, hits, memorised, corrected = self.sums.tolist()
        steps = (self.step - 1) % self.steps_per_epoch + 1
        whole = steps == self.steps_per_epoch
        rows = self.size if whole else steps * self.batch  # seen in this epoch
        metrics = {"train/loss": nats / rows, "train/acc": hits / rows, **self.chain.metrics()}
        assert self._order is not None
        wrong = int(self.wrong[self._order[1][:rows]].sum())
        if wrong:
            metrics |= {"train/memorised": memorised / wrong, "train/corrected": corrected / wrong}
        if ended:
            metrics |= {"val/loss": ended.loss, "val/acc": ended.acc}
            if self._trusted is not None:
                metrics |= {"trusted/loss": self._trusted.loss, "trusted/acc": self._trusted.acc}
            if self._telling:
                suspicions, values = self.chain.suspicions(), self.chain.rows()
                metrics |= diagnostics.told(suspicions, values, self.wrong)
        limit = WORST_NATS * math.log(self.classes)
        losses = {key: limit for key in metrics if key.endswith("/loss")}
        finite = {key: value for key, value in metrics.items() if math.isfinite(value)}
        return losses | finite

    def _scored(self, images: Callable[[slice], Tensor], labels: Tensor) -> Score:
        """How the model does on images, given range by range, of these labels."""
        with torch.no_grad():
            logits = self._evaluated(images, len(labels))
            loss = hard_cross_entropy(logits, labels)
            hits = (logits.argmax(1) == labels).float().mean()
        return Score(float(loss), float(hits))

    def _evaluated(self, images: Callable[[slice], Tensor], count: int) -> Tensor:
        """Logits in evaluation mode of `count` uint8 images, given range by range."""
        self.model.eval()
        logits = self._passes.over(lambda part: self.forward(scaled(images(part))), count)
        self.model.train()
        return logits

    def _from_memory(self) -> dict[str, Any]:
        assert self.kept is not None, "back() before the first keep()"
        return self.kept
