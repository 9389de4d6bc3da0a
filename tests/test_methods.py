"""The methods' formulas, with numbers worked out by hand and with invariants."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy as hard_cross_entropy
from torch.nn.functional import one_hot

from trainables.data.batch import Batch, Part, cross_entropy
from trainables.methods.base import Score
from trainables.methods.mixup import Mixup, mixed
from trainables.methods.mr import MR, PROJECTIONS, capped, capped_one_sweep, weights
from trainables.methods.random_weights import RandomWeights
from trainables.methods.reset import Reset, activates
from trainables.methods.smooth import Smooth, smoothed
from trainables.rng import seed_of

NO_BATCH: Any = None


@dataclass
class Fake:
    """A run of `epochs` epochs of four steps over `size` examples, with the losses given."""

    size: int = 8
    epochs: int = 10
    step: int = 0
    nats: Any = None
    val: list[float] = field(default_factory=list)  # loss at each validation
    log: list[Any] = field(default_factory=list)
    steps_per_epoch: int = 4

    @property
    def device(self) -> torch.device:
        return torch.device("cpu")

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def stream(self, name: str) -> torch.Generator:
        return torch.Generator().manual_seed(seed_of(0, self.step, name))

    def losses(self, mode: str) -> Tensor:
        self.log.append(mode)
        return torch.as_tensor(self.nats, dtype=torch.float32)

    def validate(self) -> Score:
        loss = self.val.pop(0)
        return Score(loss, 1 - loss / 10)

    def keep(self) -> None:
        self.log.append(("keep", self.step + 1))

    def back(self, **what: bool) -> None:
        self.log.append(("back", self.step + 1, what))


def run_of(**settings: Any) -> Any:
    return Fake(**settings)


def batch_of(label: list[int], classes: int = 3) -> Batch:
    labels, index = torch.tensor(label), torch.arange(len(label))
    x = torch.randn(len(label), 1, 2, 2, generator=torch.Generator().manual_seed(1))
    return Batch(x, one_hot(labels, classes).float(), labels, index, (Part(index, labels, 1.0),))


def logits_of(rows: int, classes: int = 3) -> Tensor:
    return torch.randn(rows, classes, generator=torch.Generator().manual_seed(2))


def random_weights(seed: int) -> Tensor:
    """Logarithms of 2 to 40 weights that sum to 1, from nearly uniform to nearly one-hot."""
    draws = np.random.default_rng(seed)
    logits = draws.normal(size=int(draws.integers(2, 41))) * draws.choice([0.1, 1, 5, 30])
    return torch.from_numpy(logits).log_softmax(0)


def searched(weight: Tensor, cap: float) -> Tensor:
    """min(c w, cap) with the c at which it sums to 1, by bisection."""
    low, high = 0.0, 1.0
    while (high * weight).clamp(max=cap).sum() < 1 and high < 1e300:
        high *= 2
    for _ in range(2000):
        middle = (low + high) / 2
        if (middle * weight).clamp(max=cap).sum() < 1:
            low = middle
        else:
            high = middle
    return (high * weight).clamp(max=cap)


# The loss


def test_the_loss_is_weighted_and_free_of_scale() -> None:
    logits, batch = logits_of(3), batch_of([0, 2, 1])
    weight = torch.tensor([1.0, 3.0, 0.0])
    each = hard_cross_entropy(logits, batch.label, reduction="none")
    expected = (each * weight).sum() / 4
    for scale in (1.0, 1e-6, 1e6):
        loss = cross_entropy(logits, batch.y * weight[:, None] * scale)
        assert loss == pytest.approx(float(expected), rel=1e-5)


def test_the_loss_averages_over_leading_dimensions() -> None:
    logits, batch = torch.stack((logits_of(3), 2 * logits_of(3))), batch_of([0, 2, 1])
    both = (cross_entropy(logits[0], batch.y) + cross_entropy(logits[1], batch.y)) / 2
    assert cross_entropy(logits, batch.y) == pytest.approx(float(both))


# Multiplicative Reweighting


def test_weights_by_hand() -> None:
    given = weights(torch.tensor([2.0, 0.0, 1.0]), eta=np.log(3)).exp()
    np.testing.assert_allclose(given, [1 / 13, 9 / 13, 3 / 13], rtol=1e-6)


def test_huge_totals_give_finite_weights() -> None:
    total = torch.tensor([1e6, 1e6, 1e6 + 1, 2e6], dtype=torch.float64)
    given = weights(total, 1.0).exp()
    assert given.isfinite().all()
    np.testing.assert_allclose(given[:3], torch.tensor([1, 1, np.exp(-1)]) / (2 + np.exp(-1)))
    run, method = run_of(size=4), MR(eta=1.0)
    method.start(run)
    method.load_state_dict({"total": total, "weight": weights(total, 1.0)})
    lightest = batch_of([0, 1])
    lightest = Batch(lightest.x, lightest.y, lightest.label, torch.tensor([3, 3]), lightest.parts)
    assert method.batch(lightest, run).y.sum(-1).tolist() == [1.0, 1.0]  # it trains all the same


@pytest.mark.parametrize("max_weight", [0.999, 0.9, 0.5, 0.2, 0.05])
def test_the_exact_cap_on_random_weights(max_weight: float) -> None:
    for seed in range(40):
        log_weight = random_weights(seed)
        weight = log_weight.exp()
        cap = max(1 / (max_weight * len(weight)), 1 / len(weight))
        given = capped(log_weight, cap).exp()
        assert given.max() <= cap * (1 + 1e-12)
        assert float(given.sum()) == pytest.approx(1, abs=1e-9)
        np.testing.assert_allclose(given, searched(weight, cap), rtol=1e-6, atol=1e-12)
        np.testing.assert_allclose(capped(given.log(), cap).exp(), given, rtol=1e-9)
        order = weight.argsort()
        assert (given[order].diff() >= -1e-15).all()
        if cap >= weight.max():
            np.testing.assert_allclose(given, weight, rtol=1e-9)


def test_caps_by_hand() -> None:
    weight = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)
    # cutting .5 to .32 alone lifts .3 to .3 * .68 / .5 = .408: both are cut, .36 is left for .2
    exact = capped(weight.log(), 0.32).exp()
    np.testing.assert_allclose(exact, [0.32, 0.32, 0.27, 0.09], rtol=1e-12)
    # one sweep: the others are lifted by 1 + .18 / .5, then cut; .088 is lost
    sweep = capped_one_sweep(weight.log(), 0.32).exp()
    np.testing.assert_allclose(sweep, [0.32, 0.32, 0.204, 0.068], rtol=1e-12)
    for project in PROJECTIONS.values():
        np.testing.assert_allclose(project(weight.log(), 0.5).exp(), weight, rtol=1e-12)
        uniform = project(torch.full((4,), 0.25, dtype=torch.float64).log(), 0.25).exp()
        np.testing.assert_allclose(uniform, 0.25, rtol=1e-12)


@pytest.mark.parametrize("max_weight", [1.0, 0.6])
def test_each_update_lowers_the_weighted_loss(max_weight: float) -> None:
    run, method = run_of(size=50, epochs=30), MR(eta=0.3, max_weight=max_weight)
    method.start(run)
    draws = np.random.default_rng(0)
    for epoch in range(run.epochs):
        run.step = 4 * epoch + 3
        run.nats = draws.exponential(size=50)
        before = method.weight.exp()
        method.epoch(run)
        after, losses = method.weight.exp(), torch.from_numpy(run.nats)
        assert after @ losses <= before @ losses + 1e-12
        assert float(after.sum()) == pytest.approx(1)


def test_eta_zero_is_plain_training() -> None:
    run, method = run_of(size=4, nats=[1.0, 2.0, 3.0, 4.0], step=3), MR(eta=0.0)
    method.start(run)
    method.epoch(run)
    batch = batch_of([0, 1, 2, 0])
    assert torch.equal(method.batch(batch, run).y, batch.y)
    assert method.metrics() == {"ess": pytest.approx(1)}


@pytest.mark.parametrize(
    ("period", "measured"), [(0.25, 8), (0.5, 4), (1.0, 2), (2.0, 1), (3.0, 0)]
)
def test_weights_change_once_per_period(period: float, measured: int) -> None:
    run, method = run_of(size=2, epochs=2, nats=[0.0, 1.0]), MR(eta=0.1, period=period)
    method.start(run)
    for step in range(run.steps):
        run.step = step
        method.step(NO_BATCH, run)
        if step % 4 == 3:
            method.epoch(run)
    assert run.log == ["eval"] * measured
    assert method.total.tolist() == [0.0, measured]


def test_a_milestone_reweighs_the_whole_history() -> None:
    run, method = run_of(size=2, epochs=2, nats=[0.0, 1.0]), MR(eta=1.0, gamma=0.5, milestones=(1,))
    method.start(run)
    ratios = []
    for step in (3, 7):
        run.step = step
        method.epoch(run)
        ratios.append(float(method.weight[0] - method.weight[1]))
    assert ratios == pytest.approx([1.0, 0.5 * 2])


def test_effective_sample_size_by_hand() -> None:
    run, method = run_of(size=2), MR()
    method.start(run)
    method.weight.copy_(torch.tensor([0.75, 0.25]).log())
    assert method.metrics()["ess"] == pytest.approx(1 / (2 * (9 + 1) / 16))


# Smoothing and mixing


@pytest.mark.parametrize(
    ("spread", "expected"),
    [
        # the second row: (1 - .2) .5 + .2 (1 - .5) / 2, ...
        ("others", [[1.6, 0.2, 0.2], [0.45, 0.3625, 0.1875]]),
        # the second row: (1 - .2) .5 + .2 / 3, ...
        ("all", [[1.6 + 0.4 / 3, 0.4 / 3, 0.4 / 3], [0.4 + 0.2 / 3, 0.3 + 0.2 / 3, 0.1 + 0.2 / 3]]),
    ],
)
def test_smoothing_keeps_each_rows_weight(spread: str, expected: list[list[float]]) -> None:
    y = torch.tensor([[2.0, 0.0, 0.0], [0.5, 0.375, 0.125]], dtype=torch.float64)
    given = smoothed(y, 0.2, spread)
    np.testing.assert_allclose(given.sum(-1), y.sum(-1), rtol=1e-12)
    np.testing.assert_allclose(given, expected, rtol=1e-12)


def test_smoothing_by_nothing_changes_nothing() -> None:
    batch = batch_of([0, 1, 2])
    for spread in ("others", "all"):
        assert torch.equal(Smooth(0.0, spread).batch(batch, run_of()).y, batch.y)  # type: ignore[arg-type]


def test_mixing_twice_keeps_track_of_all_parts() -> None:
    batch = batch_of([0, 1, 2])
    once = mixed(batch, 0.75, torch.tensor([1, 2, 0]))
    twice = mixed(once, 0.5, torch.tensor([2, 1, 0]))
    assert [part.share for part in twice.parts] == [0.375, 0.125, 0.375, 0.125]
    assert [part.index.tolist() for part in twice.parts] == [
        [0, 1, 2],
        [1, 2, 0],
        [2, 1, 0],
        [0, 2, 1],
    ]
    x = sum(part.share * batch.x[part.index] for part in twice.parts)
    y = sum(part.share * batch.y[part.index] for part in twice.parts)
    np.testing.assert_allclose(twice.x, x, atol=1e-6)
    np.testing.assert_allclose(twice.y, y, atol=1e-6)
    assert torch.equal(twice.label, batch.label)


@pytest.mark.parametrize("alpha", [0.0, 1e-9])
def test_mixup_of_no_strength_changes_at_most_who_is_who(alpha: float) -> None:
    batch = batch_of([0, 1, 2, 0])
    given = Mixup(alpha).batch(batch, run_of(step=5))
    part = max(given.parts, key=lambda part: part.share)
    first = part.index
    assert part.share == pytest.approx(1)
    np.testing.assert_allclose(given.x, batch.x[first], atol=1e-6)
    np.testing.assert_allclose(given.y, batch.y[first], atol=1e-6)
    if alpha == 0:
        assert given is batch


@pytest.mark.parametrize("alpha", [0.2, 1.0, 8.0])
def test_mixup_draws_beta_coefficients_and_permutations(alpha: float) -> None:
    batch = batch_of([0, 1, 2, 0])
    shares, partners = [], []
    for step in range(2000):
        given = Mixup(alpha).batch(batch, run_of(step=step))
        shares.append(given.parts[0].share)
        partners.append(given.parts[1].index.tolist())
    deviation = np.sqrt(1 / (4 * (2 * alpha + 1)))  # of Beta(alpha, alpha)
    assert np.mean(shares) == pytest.approx(0.5, abs=4 * deviation / np.sqrt(2000))
    assert np.std(shares) == pytest.approx(deviation, rel=0.1)
    assert all(sorted(partner) == [0, 1, 2, 3] for partner in partners)
    assert len({tuple(partner) for partner in partners}) == 24


def test_uniform_weights_leave_mixup_as_it_is() -> None:
    run, mr, batch = run_of(size=3), MR(), batch_of([0, 1, 2])
    mr.start(run)
    plain, both = Mixup().batch(batch, run), Mixup().batch(mr.batch(batch, run), run)
    assert torch.equal(plain.y, both.y)
    assert torch.equal(plain.x, both.x)


# Random weights


def test_a_batch_without_a_positive_draw_trains_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plain = batch_of([0, 1, 2])
    monkeypatch.setattr(torch, "randn", lambda count, generator: -torch.ones(count))
    batch = RandomWeights().batch(plain, run_of())
    monkeypatch.undo()
    logits = logits_of(3).requires_grad_()
    loss = cross_entropy(logits, batch.y)
    loss.backward()
    assert loss.item() == 0
    assert torch.equal(logits.grad, torch.zeros(3, 3))  # type: ignore[arg-type]


def test_random_weights_are_fair() -> None:
    batch, shares = batch_of([0, 1, 2, 0, 1, 2]), []
    for step in range(2000):
        mass = RandomWeights().batch(batch, run_of(step=step)).y.sum(-1)
        shares.append(mass / mass.sum().clamp(min=1e-30))
    means = torch.stack(shares).mean(0)
    np.testing.assert_allclose(means, 1 / 6, atol=0.02)
    assert len({tuple(share.tolist()) for share in shares}) > 1500  # anew in each step


# Resetting


@pytest.mark.parametrize(
    ("improved", "warmup", "patience", "every", "first"),
    [
        (20, 0, 30, 10, 40),  # waits (3 - 1) 10
        (20, 0, 25, 10, 40),  # ceil(25 / 10) = 3
        (20, 0, 10, 10, 20),  # a wait of one validation ends at once
        (0, 0, 10, 10, 10),  # but never before the first step
        (0, 25, 30, 10, 50),  # counted from 30, the first validation of the warm-up's end
        (0, 30, 10, 10, 40),  # strictly after the warm-up
        (20, 0, 0, 10, None),  # no patience asked for: never
    ],
)
def test_when_resetting_starts(
    improved: int, warmup: int, patience: int, every: int, first: int | None
) -> None:
    validations = range(improved, 1000, every)
    times = [t for t in validations if activates(t, improved, warmup, patience, every)]
    assert times == [t for t in validations if first is not None and t >= first]


def resets(run: Any, **settings: Any) -> tuple[Reset, list[Any]]:
    method = Reset(every=0.5, patience=0.1, **settings)  # 2 steps; 4 of 40 steps
    method.start(run)
    for step in range(len(run.val) * 2):
        run.step = step
        method.step(NO_BATCH, run)
    return method, run.log


# strict improvements at 2, 4, 12; the wait of 4 steps, two validations, ends at 6
VAL = [3.0, 2.0, 2.0, 2.5, 2.0, 1.0]
EVERYTHING = {"optimizer": True, "memories": True, "lr": False}


def test_resets_by_hand() -> None:
    method, log = resets(run_of(val=list(VAL)), r=1.0)
    backs = [("back", done, EVERYTHING) for done in range(7, 13)]
    assert log == [("keep", 2), ("keep", 4), *backs, ("keep", 12)]
    assert method.metrics() == {"count": 6.0, "active": 1.0}


def test_a_target_that_does_not_adapt_is_kept_no_more() -> None:
    _, log = resets(run_of(val=list(VAL)), r=1.0, adaptive=False)
    assert [entry for entry in log if entry[0] == "keep"] == [("keep", 2), ("keep", 4)]


def test_improvements_are_those_of_the_chosen_quantity() -> None:
    class Opposed(Fake):
        def validate(self) -> Score:
            loss = self.val.pop(0)
            return Score(loss, loss / 10)

    kept = {best: resets(Opposed(val=list(VAL)), r=0.0, best=best)[1] for best in ("loss", "acc")}
    assert kept == {"loss": [("keep", 2), ("keep", 4), ("keep", 12)], "acc": [("keep", 2)]}


def test_what_goes_back_is_asked_for() -> None:
    settings = {"opt_reset": False, "restore_rows": False, "lr_on_reset": "checkpoint"}
    _, log = resets(run_of(val=list(VAL)), r=1.0, **settings)
    what = {"optimizer": False, "memories": False, "lr": True}
    assert ("back", 7, what) in log


@pytest.mark.parametrize("r", [0.0, 0.2, 1.0])
def test_resets_are_as_frequent_as_asked(r: float) -> None:
    run = run_of(epochs=1000, val=[1.0] + [2.0] * 1999)
    method = Reset(every=0.5, patience=0.001, r=r)
    method.start(run)
    for step in range(run.steps):
        run.step = step
        method.step(NO_BATCH, run)
    count = 4000 - 4  # active after two idle validations
    assert method.count == pytest.approx(r * count, abs=4 * np.sqrt(r * (1 - r) * count))


def test_the_draws_of_a_reset_are_its_own() -> None:
    run: Any = SimpleNamespace(stream=run_of(step=3).stream)
    draw = Reset().draw(run)
    generator = torch.Generator().manual_seed(seed_of(0, 3, "reset"))
    assert draw == float(torch.rand((), generator=generator))
