"""Stochastic resetting against the authors' own loop, iteration by iteration.

The authors validate at t = 0, L, 2L, ...; ours does when `done = run.step + 1` is a multiple of
`every`. So the run below shows the method step t - 1 in their iteration t, and `done` is their t.
`keep`, `back` and `target` are the training loop's own. The numbers: tests/oracle/README.md.
"""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from trainables import snapshot
from trainables.loop import Loop
from trainables.methods.base import Run, Score
from trainables.methods.chain import Chain
from trainables.methods.reset import Reset
from trainables.schedule import Cosine

ORACLE = dict(np.load(Path(__file__).parent / "oracle" / "reset.npz"))
T = int(ORACLE["tot_iter"])
MOMENTUM = float(ORACLE["momentum"])
H, G = torch.from_numpy(ORACLE["h"]), torch.from_numpy(ORACLE["G"])
# in run 20 the saved momentum is the live one, which is theirs under recent torch only
RUNS = [i for i in range(int(ORACLE["n_runs"])) if not ORACLE[f"run{i:02d}_momentum_aliased"]]
NO_BATCH: Any = None  # the method does not look at it

close = partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12)


class Walk(nn.Module):
    """Their stand-in for a network: a vector and a buffer."""

    buf: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.theta = nn.Parameter(torch.from_numpy(ORACLE["theta0"].copy()))
        self.register_buffer("buf", torch.from_numpy(ORACLE["buffer0"].copy()))


class Given(Reset):
    """Resetting with the draws given; notes in which iterations one was asked for."""

    def fed(self, draws: Any) -> "Given":
        self.draws, self.asked = draws, np.zeros(len(draws), dtype=bool)
        return self

    def draw(self, run: Run) -> float:
        self.asked[run.step + 1] = True
        return float(self.draws[run.step + 1])


class Fake:
    """A run in their iteration `t`, validated by the series given."""

    keep, back, target = Loop.keep, Loop.back, Loop.target
    steps_per_epoch = 1

    def __init__(
        self, steps: int, loss: Any, acc: Any, every: int, schedule: Callable[[int], float]
    ) -> None:
        self.t, self.steps = 0, steps
        self.loss, self.acc, self.every = loss, acc, every
        # Loop asks by progress = run.step / steps, and run.step is t - 1
        self.schedule = lambda progress: schedule(round(progress * steps) + 1)
        self.lr_scale = 1.0
        self.kept: Any = None
        self.fetch = lambda: self.kept
        self._keeping = False

    @property
    def step(self) -> int:
        return self.t - 1

    def validate(self) -> Score:
        assert self.t % self.every == 0
        return Score(float(self.loss[self.t // self.every]), float(self.acc[self.t // self.every]))


class Training(Fake):
    """The same with a model that trains, as Loop does."""

    def __init__(self, method: Reset, lr: float, decay: float, *args: Any) -> None:
        super().__init__(*args)
        self.lr = lr
        self.model = Walk()
        parameters = self.model.parameters()
        self.optimizer = torch.optim.SGD(parameters, lr, momentum=MOMENTUM, weight_decay=decay)
        self.chain = Chain({"reset": method})
        self.chain.start(self)

    def now(self) -> float:
        """The learning rate of a step in this iteration."""
        return self.lr * self.schedule(self.step / self.steps) * self.lr_scale

    def train(self) -> None:
        model = self.model
        model.buf.copy_(0.9 * model.buf + 0.1 * model.theta.detach()[:2])
        model.theta.grad = H * model.theta.detach() + G[self.t]
        for group in self.optimizer.param_groups:
            group["lr"] = self.now()
        self.optimizer.step()

    def hooks(self) -> None:
        self.chain.step(NO_BATCH, self)
        if self._keeping:
            self.kept = self.target(
                {
                    "step": self.step + 1,
                    "lr_scale": self.lr_scale,
                    "model": snapshot.weights(self.model),
                    "optimizer": snapshot.buffers(self.optimizer),
                    "methods": self.chain.state_dict(),
                }
            )
            self._keeping = False

    def momentum(self) -> torch.Tensor:
        buffer: torch.Tensor = snapshot.buffers(self.optimizer)[0]["momentum_buffer"]
        return buffer


def schedule_of(theirs: dict[str, Any]) -> Callable[[int], float]:
    """Their schedule as a factor of the iteration."""
    if theirs["schedule"] == "cosineannealing":
        return lambda t: Cosine()(t / T)
    warm, floor = int(theirs["T_warm"]), float(theirs["eta_min"]) / float(theirs["lr0"])
    return lambda t: Cosine(floor)(min(t, warm) / warm)


@pytest.mark.parametrize("number", RUNS)
def test_a_whole_run(number: int) -> None:
    prefix = f"run{number:02d}_"
    theirs = {key[6:]: v for key, v in ORACLE.items() if key.startswith(prefix)}
    recursive = theirs["schedule"] == "cosineannealing"
    opt_reset, adaptive = bool(theirs["opt_reset"]), bool(theirs["adaptive"])
    # A reset puts their checkpoint's lr back with the optimizer (opt_reset), unless they restore
    # the one from before (scheduler_reset 0). Their cosine goes on from what it finds, that is
    # `checkpoint`; a closed form overwrites it at once, that is `continue`.
    falls_back = recursive and opt_reset and bool(theirs["scheduler_reset"])
    every = int(theirs["log_iter"])
    method = Given(
        r=float(theirs["r"]),
        patience=int(theirs["threshold"]) / T,
        warmup=int(theirs["warmup"]) / T,
        adaptive=adaptive,
        opt_reset=opt_reset,
        lr_on_reset="checkpoint" if falls_back else "continue",
        best=str(theirs["metric"]),  # type: ignore[arg-type]
        every=every,
    ).fed(theirs["U"])
    lr0, decay = float(theirs["lr0"]), float(theirs["weight_decay"])
    series = (theirs["val_loss"], theirs["val_acc"], every, schedule_of(theirs))
    run = Training(method, lr0, decay, T, *series)
    activation, history = -1, [0.0 if method.best == "acc" else math.inf]
    for t in range(T):
        run.t = t
        close(run.now(), theirs["lr_step"][t])
        run.train()
        count = method.count
        was_active = method.active
        run.hooks()
        assert method.count - count == theirs["reset"][t]
        if method.active and not was_active:
            activation = t
        if t % every == 0 and t >= theirs["warmup"]:
            history.append(abs(method.value))
        close(run.model.theta.detach(), theirs["theta"][t])
        close(run.model.buf, theirs["buf"][t])
        close(run.momentum(), theirs["mom"][t])
        kept = run.kept
        if recursive or not method.count:
            close(run.now(), theirs["lr_before_sched"][t])
        if adaptive or not was_active:
            close(kept["model"]["theta"], theirs["theta_best"][t])
        if method.active:
            close(kept["model"]["theta"], theirs["theta_c"][t])
            close(kept["model"]["buf"], theirs["buf_c"][t])
        if method.active and opt_reset:
            close(kept["optimizer"][0]["momentum_buffer"], theirs["mom_c"][t])
            close(lr0 * kept["lr"], theirs["lr_c"][t])
        run.t = t + 1  # their scheduler steps at the end of an iteration
        close(run.now(), theirs["lr"][t])
    np.testing.assert_array_equal(method.asked, ~np.isnan(theirs["U"]))
    assert activation == theirs["activation_iter"]
    assert method.improved == theirs["best_iter"]
    assert method.count == theirs["reset"].sum()
    np.testing.assert_array_equal(history, theirs["best_history"])


def test_every_row_of_the_patience_table() -> None:
    total = int(ORACLE["patience_tot_iter"])
    columns = [str(name) for name in ORACLE["patience_cols"]]
    wrong = []
    for values in ORACLE["patience_table"].tolist():
        row = dict(zip(columns, values, strict=True))
        loss = ORACLE["patience_series"][row["series"]]
        method = Given(
            r=0.0,
            patience=row["threshold_iter"] / total,
            warmup=row["warmup_iter"] / total,
            best="acc" if row["metric_is_acc"] else "loss",
            every=row["log_iter"],
        ).fed(np.zeros(total))
        run: Any = Fake(total, loss, 100 - 20 * loss, row["log_iter"], lambda t: 1.0)
        method.start(run)
        activation = -1
        for t in range(total):
            run.t = t
            method.step(NO_BATCH, run)
            if method.active and activation < 0:
                activation = t
        if (activation, method.improved) != (row["activation_iter"], row["best_iter"]):
            wrong.append((row, activation, method.improved))
    assert not wrong, wrong[:3]
