"""AUX: its rows' steps against autograd, their schedule, and the loop it runs in."""

import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from standins import K, batch_of, logits_of, run_of, stepped
from torch import Tensor, nn
from toys import tiny

from trainables.config import Config
from trainables.data.batch import Batch, cross_entropy
from trainables.data.dataset import Dataset
from trainables.data.views import STILL
from trainables.errors import ConfigError
from trainables.loop import Loop
from trainables.methods.auxiliary import Aux, squared
from trainables.methods.mixup import mixed
from trainables.methods.mr import MR
from trainables.models import MODELS

LAMBDA, RATIO = 1.5, 4.0


def started(run: Any, **settings: Any) -> Aux:
    """With rows that are not 0."""
    method = Aux(**{"lambda_": LAMBDA, "ratio": RATIO, **settings})
    method.start(run)
    method.b += torch.randn(run.size, K, generator=torch.Generator().manual_seed(1))
    return method


def dense(method: Aux, logits: Tensor, batch: Batch, lr: float) -> tuple[Tensor, Tensor, Tensor]:
    """All of b after one step of plain SGD on the unweighted mean, the loss, its slope by f."""
    b = method.b.clone().requires_grad_()
    outputs = logits.clone().requires_grad_()
    shift = sum(part.share * b[part.index] for part in batch.parts)
    corrected = outputs + method.lambda_ * shift
    y = batch.y / batch.y.sum(-1, keepdim=True)
    fitted = squared(corrected, y).mean() if method.fit == "mse" else cross_entropy(corrected, y)
    fitted.backward()  # type: ignore[no-untyped-call]
    assert b.grad is not None
    assert outputs.grad is not None
    return b.detach() - lr * b.grad, fitted.detach(), outputs.grad


BATCHES = {
    "whole": batch_of([0, 1, 2, 3, 4]),
    "some": batch_of([3, 1]),
    "one": batch_of([2]),
    "repeated": batch_of([4, 1, 4, 4]),
    "mixed": mixed(batch_of([0, 3, 2]), 0.7, torch.tensor([2, 0, 1])),
    "mixed with itself": mixed(batch_of([0, 3, 2]), 0.7, torch.tensor([0, 2, 1])),
    "mixed twice": mixed(
        mixed(batch_of([0, 3, 2]), 0.7, torch.tensor([2, 0, 1])), 0.4, torch.tensor([1, 2, 0])
    ),
}


@pytest.mark.parametrize("fit", ["ce", "mse"])
@pytest.mark.parametrize("name", BATCHES)
def test_rows_move_as_dense_sgd_would_move_them(name: str, fit: Any) -> None:
    batch, run = BATCHES[name], run_of()
    method = started(run, fit=fit)
    logits = logits_of(len(batch.index))
    expected, loss, slope = dense(method, logits, batch, run.lr * RATIO)
    before = method.b.clone()
    found = stepped(method, logits, batch, run)
    torch.testing.assert_close(method.b, expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found, (loss, slope), rtol=1e-5, atol=1e-6)
    present = torch.unique(torch.cat([part.index for part in batch.parts]))
    absent = torch.ones(run.size, dtype=torch.bool).index_fill(0, present, False)
    assert torch.equal(method.b[absent], before[absent])
    assert (method.b != before).any(1)[present].all()


def test_one_step_by_hand() -> None:
    """b = 0, f = 0, label 0 of 3: the slope by f is (-2, 1, 1) / 3 of a mean over 2."""
    run = run_of(lr=0.6)
    method = Aux(lambda_=2.0, ratio=0.5)
    method.start(run)
    stepped(method, torch.zeros(2, K), batch_of([3, 1]), run)
    # 0.6 x 0.5 x 2 x 1 / 2 x 1 / 3 = 0.1
    torch.testing.assert_close(method.b[3], torch.tensor([0.2, -0.1, -0.1]))
    torch.testing.assert_close(method.b[1], torch.tensor([-0.1, 0.2, -0.1]))
    assert method.suspicion().tolist() == pytest.approx([0, 0.06**0.5, 0, 0.06**0.5, 0])
    assert method.rows()["shift"].tolist() == pytest.approx([0, 0.24**0.5, 0, 0.24**0.5, 0])
    # all equal: class 0 is predicted, the label of one of the two; three rows were never seen
    assert method.fitted.tolist() == [False, False, False, True, False]
    assert method.metrics() == {"acc": pytest.approx(0.2)}


# Beside methods that weigh and mix


@pytest.mark.parametrize("fit", ["ce", "mse"])
def test_weights_reach_the_network_but_not_the_rows(fit: Any) -> None:
    weights = [2.0, 1e-3, 0.7, 1.0]
    moved, slopes = [], []
    for weight in ([1.0] * 4, weights, [1e6 * w for w in weights]):
        run = run_of()
        method = started(run, fit=fit)
        slopes.append(stepped(method, logits_of(4), batch_of([0, 1, 2, 3], weight), run)[1])
        moved.append(method.b)
    torch.testing.assert_close(moved[0], moved[1], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(moved[0], moved[2], rtol=1e-4, atol=1e-6)
    share = torch.tensor(weights)[:, None] / sum(weights) * 4
    torch.testing.assert_close(slopes[1], slopes[0] * share, rtol=1e-4, atol=1e-6)


def test_reweighted_examples_still_correct_their_labels() -> None:
    run, mr = run_of(), MR(eta=1.0)
    mr.start(run)
    weight = torch.tensor([0.0, -9.0, 0.0, -2.0, 0.0]).log_softmax(0)
    mr.load_state_dict({"total": torch.zeros(5), "weight": weight})
    moved = []
    for batch in (batch_of([0, 1, 3]), mr.batch(batch_of([0, 1, 3]), run)):
        method = started(run)
        stepped(method, logits_of(3), batch, run)
        moved.append(method.b)
    assert mr.batch(batch_of([0, 1, 3]), run).y.sum(-1)[1] < 1e-3
    torch.testing.assert_close(*moved, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weight", [[1.0, 0.0, 2.0], [0.0, 0.0, 0.0]])
@pytest.mark.parametrize("fit", ["ce", "mse"])
def test_rows_without_weight_stay(fit: Any, weight: list[float]) -> None:
    run = run_of()
    method = started(run, fit=fit)
    before = method.b.clone()
    loss, slope = stepped(method, logits_of(3), batch_of([0, 1, 2], weight), run)
    still = (method.b == before).all(1).tolist()
    assert still == [not w for w in weight] + [True, True]
    assert loss.isfinite()
    assert slope.isfinite().all()
    if not any(weight):
        assert not slope.any()


# Lambda, learning rate, loss


@pytest.mark.parametrize(
    ("schedule", "share"), [("constant", (1.0, 1.0)), ("rise", (0.0, 0.25)), ("fall", (1.0, 0.75))]
)
def test_schedules_of_lambda(schedule: Any, share: tuple[float, float]) -> None:
    method = started(run_of(), schedule=schedule)
    for step, expected in zip((0, 5), share, strict=True):
        run = run_of(step=step)
        fixed = started(run, lambda_=LAMBDA * expected)
        fixed.b.copy_(method.b)
        outputs = [one.logits(torch.zeros(2, K), batch_of([0, 1]), run) for one in (method, fixed)]
        torch.testing.assert_close(*outputs)
        for one in (method, fixed):
            stepped(one, logits_of(2), batch_of([0, 1]), run)
        torch.testing.assert_close(method.b, fixed.b)


def shifts(data: Dataset, scale: float, **settings: Any) -> Tensor:
    """All of b after a first step whose learning rate is scaled, as a reset would."""
    loop = Loop(tiny({"aux": settings}), data)
    loop.lr_scale = scale
    method = loop.chain.methods["aux"]
    assert isinstance(method, Aux)
    loop.advance()
    return method.b


def test_rows_follow_the_learning_rate_of_the_network(data: Dataset) -> None:
    whole = shifts(data, 1.0)
    assert int(whole.any(1).sum()) == 32
    torch.testing.assert_close(shifts(data, 0.25), whole / 4)
    torch.testing.assert_close(shifts(data, 1.0, ratio=0.25), whole / 4)


def test_the_squared_loss_is_its_own() -> None:
    assert not Aux().owns_loss()
    assert Aux(fit="mse").owns_loss()
    Config.parse({"methods": {"aux": {}, "gce": {}}})
    with pytest.raises(ConfigError, match=r"gce and aux would both set the loss \(take one"):
        Config.parse({"methods": {"aux": {"fit": "mse"}, "gce": {}}})


def test_another_owner_of_the_loss_sees_the_shifted_logits(data: Dataset) -> None:
    sums = []
    for shift in (0.0, 5.0):
        loop = Loop(tiny({"aux": {}, "mae": {}}), data)
        aux = loop.chain.methods["aux"]
        assert isinstance(aux, Aux)
        aux.b += shift * torch.nn.functional.one_hot(loop.labels, 10)  # towards the label
        loop.advance()
        sums.append(float(loop.sums[0]))
    assert sums[1] < 0.5 * sums[0]


def test_evaluation_sees_the_network_alone(data: Dataset) -> None:
    loop = Loop(tiny({"aux": {}}), data)
    before, losses = loop.validate(), loop.losses()
    aux = loop.chain.methods["aux"]
    assert isinstance(aux, Aux)
    aux.b += 100 * torch.randn(aux.b.shape)
    loop._scores = None
    assert loop.validate() == before
    assert torch.equal(loop.losses(), losses)


def test_training_accuracy_is_told_with_and_without_the_shift(data: Dataset) -> None:
    loop = Loop(tiny({"aux": {"lambda": 1.0}}), data)
    aux = loop.chain.methods["aux"]
    assert isinstance(aux, Aux)
    aux.b += 1000 * torch.nn.functional.one_hot(loop.labels, 10)
    report = loop.train()
    assert report["aux/acc"] == 1.0
    assert report["train/acc"] < 0.5


# Ridge regression, through the loop


@dataclass(frozen=True)
class Linear:
    """A network that is one matrix."""

    def build(self, shape: tuple[int, int, int], classes: int) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), classes, bias=False))


@pytest.mark.parametrize(("method", "ratio"), [("aux", 1.0), ("aux", 3.0), ("rdi", None)])
def test_a_linear_network_ends_at_ridge_regression(
    method: str, ratio: float | None, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """W minimises |X W - Y|^2 / 2 + lambda^2 ratio |W - W_0|^2 / 2, as closely as float32 can."""
    monkeypatch.setitem(MODELS, "linear", Linear)  # type: ignore[arg-type]
    few = replace(data, train=data.train[:40], view=STILL)
    options: dict[str, Any] = {"lambda": 20.0}
    others: dict[str, Any] = {}
    if ratio is not None:
        options |= {"ratio": ratio, "fit": "mse"}
    else:
        others["aux"] = {"lambda": 0.0, "fit": "mse"}  # for its loss
    steepest = 40 / (4000 + 1200)
    flat = {"batch": 40, "momentum": 0.0, "decay": 0.0, "schedule": "constant", "lr": steepest}
    config = tiny({method: options, **others}, model="linear", optim=flat, epochs=300)
    loop = Loop(config, few)
    x = loop.data.normalised(loop.view(torch.arange(40))).flatten(1).double()
    y = torch.nn.functional.one_hot(loop.labels, 10).double()
    (weight,) = loop.parameters
    start = weight.detach().double()
    largest = float(torch.linalg.matrix_norm(x, 2)) ** 2
    assert largest < 4000  # the step is stable
    strength = 400.0 * (ratio or 1.0)
    system = x.T @ x + strength * torch.eye(64)
    solution = torch.linalg.solve(system, x.T @ y + strength * start.T).T
    while not loop.ended:
        loop.advance()
    far = (solution - start).abs().max()
    assert (weight.detach() - solution).abs().max() < 1e-4 * far
