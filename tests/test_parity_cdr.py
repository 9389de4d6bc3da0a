"""CDR against its authors' own numbers (tests/oracle/README.md)."""

from fractions import Fraction
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from trainables.methods.cdr import CDR, threshold
from trainables.schedule import Step

ORACLE = dict(np.load(Path(__file__).parent / "oracle" / "cdr.npz"))
SCENARIOS = sorted(key.removesuffix("_theta0") for key in ORACLE if key.endswith("_theta0"))
RANKED = np.repeat(ORACLE["param_in_mask"], ORACLE["param_sizes"]).astype(bool)
LR, MOMENTUM, DECAY = (float(ORACLE[key]) for key in ("lr", "momentum", "weight_decay"))
CLOSE = {
    torch.float64: partial(np.testing.assert_allclose, rtol=1e-9, atol=1e-12),
    torch.float32: partial(np.testing.assert_allclose, rtol=1e-4, atol=1e-6),
}
NO_BATCH: Any = None  # the method does not look at it


def network(theta: Tensor) -> nn.Module:
    """Theirs, with the parameters given."""
    norm = nn.BatchNorm2d(3)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), norm, nn.ReLU(), nn.Flatten(), nn.Linear(27, 4))
    shapes = ["x".join(map(str, parameter.shape)) for parameter in model.parameters()]
    assert shapes == list(ORACLE["param_shapes"])
    nn.utils.vector_to_parameters(theta.clone(), model.parameters())  # which keeps views
    return model.to(theta.dtype)


def flat(tensors: Any) -> Tensor:
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


def gradients(model: nn.Module) -> Tensor:
    return flat(parameter.grad for parameter in model.parameters())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("forwards", [1, 2], ids=["ours", "theirs"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_steps_of_a_small_network(scenario: str, forwards: int, dtype: torch.dtype) -> None:
    """Their second forward of a step serves their log; only batch norm's averages notice it."""
    theirs = {
        key.removeprefix(f"{scenario}_"): value
        for key, value in ORACLE.items()
        if key.startswith(f"{scenario}_")
    }
    rate, close = float(theirs["tau"]), CLOSE[dtype]
    model = network(torch.from_numpy(theirs["theta0"]).to(dtype))
    norm: Any = model[1]  # type: ignore[index]
    optimizer = torch.optim.SGD(model.parameters(), LR, MOMENTUM, weight_decay=DECAY)
    method, run = CDR(rate), SimpleNamespace(model=model, step=0, steps=5, decay=DECAY)
    method.start(run)  # type: ignore[arg-type]
    for step, loss in enumerate(theirs["loss"]):
        run.step = step
        x, label = (torch.from_numpy(ORACLE[key][step]) for key in "XY")
        if forwards == 2:
            model(x.to(dtype))
        nats = cross_entropy(model(x.to(dtype)), label)
        optimizer.zero_grad()
        nats.backward()
        before = gradients(model)
        scores = (before * flat(model.parameters())).abs()[RANKED]
        least = threshold(scores, 1 - rate)
        method.grads(NO_BATCH, run)  # type: ignore[arg-type]
        after = gradients(model)
        optimizer.step()

        close(nats.detach(), loss)
        close(before, theirs["grad_before"][step])
        close(least, theirs["thresh"][step])
        mask = theirs["mask"][step].astype(bool)
        assert ((scores >= least).numpy() == mask).all()
        close(after, theirs["grad_after"][step])
        assert not after[RANKED][~mask].any()
        assert torch.equal(after[~RANKED], before[~RANKED])
        close(flat(model.parameters()), theirs["theta_after"][step])
        buffers = flat(optimizer.state[p]["momentum_buffer"] for p in model.parameters())
        close(buffers, theirs["momentum_after"][step])
        assert norm.num_batches_tracked == forwards * (step + 1)
        if forwards == 2:
            assert norm.num_batches_tracked == theirs["bn_count_after"][step]
            close(norm.running_mean, theirs["bn_mean_after"][step])
            close(norm.running_var, theirs["bn_var_after"][step])


def test_scenarios_hold_what_they_are_for() -> None:
    masks = {scenario: ORACLE[f"{scenario}_mask"] for scenario in SCENARIOS}
    asked = {scenario: ORACLE[f"{scenario}_nz"][:, None] for scenario in SCENARIOS}
    assert len(masks) == 7
    for scenario, mask in masks.items():
        exact = scenario.startswith("main")
        assert (mask.sum(1, keepdims=True) == asked[scenario]).all() == exact, scenario
        assert exact or mask.all(), scenario  # fewer scores than asked for are above zero


# Theirs take int((1 - tau) m) of a floating 1 - tau, which is below 0.2 and 0.1 at these rates, so
# that one weight fewer is kept wherever (1 - tau) m is whole; where none is left their code fails.
SHORT = {0.8: {10, 20, 50, 100, 135, 1000, 61470}, 0.9: {10, 20, 50, 100, 1000, 61470}}


def test_number_of_critical_weights() -> None:
    assert str(ORACLE["kept_zero_error"]) == "IndexError"
    for rate, row in zip(ORACLE["kept_taus"], ORACLE["kept_nz"], strict=True):
        for total, theirs in zip(ORACLE["kept_m"], row, strict=True):
            scores = torch.arange(int(total), dtype=torch.float64)
            ours = int(total - threshold(scores, 1 - float(rate)))
            whole = int((1 - Fraction(str(rate))) * int(total))
            assert ours == max(1, whole)
            fewer = int(total) in SHORT.get(float(rate), set())
            assert theirs == whole - fewer, (rate, total)


@pytest.mark.parametrize(
    ("data", "milestones"), [("mnist", (0.09, 0.19)), ("cifar10", (39 / 200, 79 / 200))]
)
def test_learning_rates(data: str, milestones: tuple[float, float]) -> None:
    """Their scheduler steps before the epoch, so that every drop comes one epoch early."""
    theirs = ORACLE[f"lr_{data}_per_epoch"]
    schedule = Step(milestones)
    ours = [LR * schedule(epoch / len(theirs)) for epoch in range(len(theirs))]
    np.testing.assert_allclose(ours, theirs, rtol=1e-12)
