"""What is proved of the methods, on problems small enough to be followed by hand."""

import math
from itertools import pairwise

import pytest
import torch
from torch.nn.functional import softplus

from benchmarks import recursions, ridge, separation
from benchmarks.alignment import alignment, trace
from benchmarks.recursions import Course, blobs, regress, sensitivity
from trainables.config import Config
from trainables.data.dataset import Dataset
from trainables.loop import Loop
from trainables.methods.auxiliary import Aux
from trainables.methods.mr import capped, weights
from trainables.methods.rdi import RDI

SIGMA = 0.4


def furthest(one: Course, other: Course) -> float:
    pairs = [*zip(one.theta, other.theta, strict=True), *zip(one.noisy, other.noisy, strict=True)]
    return max(abs(a - b) for a, b in pairs)


# Multiplicative Reweighting, one parameter


@pytest.mark.parametrize(
    ("sigma", "alpha", "eta"), [(0.4, 1.0, 0.1), (0.1, 0.5, 0.01), (0.45, 1.0, 1.0), (0.2, 2.0, 0)]
)
def test_logistic_reweighting_follows_the_recursion(sigma: float, alpha: float, eta: float):
    found = recursions.logistic_run(sigma, alpha, eta, 1000)
    assert furthest(found, recursions.logistic_exact(sigma, alpha, eta, 1000)) < 1e-12


@pytest.mark.parametrize(("steps", "theta"), [(100, 4.30), (1000, 6.88), (20_000, 9.90)])
def test_logistic_reweighting_grows_as_on_clean_labels(steps: int, theta: float):
    course = recursions.logistic_exact(SIGMA, alpha=1.0, eta=0.1, steps=steps)
    assert course.theta[-1] == pytest.approx(theta, abs=0.005)
    clean = recursions.logistic_exact(1e-300, alpha=1.0, eta=0.0, steps=steps)
    assert course.theta[-1] == pytest.approx(clean.theta[-1], abs=0.4)


@pytest.mark.parametrize("sigma", [0.1, 0.4])
def test_plain_gradient_descent_stays_at_the_log_odds(sigma: float):
    course = recursions.logistic_run(sigma, alpha=1.0, eta=0.0, steps=2000)
    assert course.theta[-1] == pytest.approx(math.log((1 - sigma) / sigma), abs=1e-12)
    assert course.noisy[-1] == pytest.approx(sigma, abs=1e-12)


def test_a_cap_leaves_noisy_examples_the_mass_that_clean_ones_may_not_take():
    cap = 1 / (0.8 * 200)  # at most 0.6 x 200 caps of clean mass
    course = recursions.logistic_run(SIGMA, alpha=1.0, eta=0.1, steps=500, cap=cap)
    assert course.noisy[-1] == pytest.approx(1 - 120 * cap, abs=1e-12)


def ends(alpha: float, eta: float, steps: int) -> list[float]:
    seeds = (torch.Generator().manual_seed(seed) for seed in range(10))
    runs = (recursions.logistic_run(SIGMA, alpha, eta, steps, drawn=seed) for seed in seeds)
    return [run.theta[-1] for run in runs]


def test_one_drawn_example_a_step_does_as_well_while_weights_move_slowly():
    assert min(ends(alpha=0.1, eta=0.01, steps=1000)) > 2
    plain = ends(alpha=0.1, eta=0.0, steps=300)
    assert sum(plain) / len(plain) == pytest.approx(math.log(1.5), abs=0.25)


def test_one_drawn_example_a_step_can_lock_in_the_wrong_side():
    found = ends(alpha=1.0, eta=0.1, steps=200)
    assert 0 < sum(theta < -3 for theta in found) < sum(theta > 3 for theta in found)


@pytest.mark.parametrize(("sigma", "shift", "eta"), [(0.4, 2.0, 0.1), (0.3, 0.5, 1.0)])
def test_linear_reweighting_follows_the_recursion(sigma: float, shift: float, eta: float):
    found = recursions.linear_run(sigma, shift, eta, 500)
    assert furthest(found, recursions.linear_exact(sigma, shift, eta, 500)) < 1e-12


@pytest.mark.parametrize(("steps", "loss"), [(0, 0.32), (9, 0.16), (99, 6e-16)])
def test_linear_reweighting_forgets_the_corruption(steps: int, loss: float):
    course = recursions.linear_exact(SIGMA, shift=2.0, eta=0.1, steps=steps)
    assert 2 * course.noisy[-1] ** 2 == pytest.approx(loss, rel=0.06)  # shift^2 q^2 / 2


def test_linear_reweighting_needs_a_clean_majority():
    assert recursions.linear_run(0.55, 2.0, 0.1, 200).noisy[-1] > 0.999
    assert recursions.linear_run(0.5, 2.0, 0.1, 200).noisy[-1] == pytest.approx(0.5)
    assert recursions.linear_run(SIGMA, 2.0, 0.0, 200).noisy[-1] == pytest.approx(SIGMA)


# Multiplicative Reweighting, any data


def drawn(seed: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Generator]:
    """(N, d) points, (N,) labels, (d,) parameters."""
    draws = torch.Generator().manual_seed(seed)
    count, wide = (int(torch.randint(2, top, (), generator=draws)) for top in (60, 6))
    x = torch.randn(count, wide, generator=draws, dtype=torch.float64)
    theta = 3 * torch.randn(wide, generator=draws, dtype=torch.float64)
    y = torch.randn(count, generator=draws, dtype=torch.float64).sign()
    return x, y, theta, draws


def test_sensitivity_is_the_slope_by_the_input():
    x, y, theta, _ = drawn(0)
    x.requires_grad_()
    loss = softplus(-y * (x @ theta))
    (slope,) = torch.autograd.grad(loss.sum(), x)
    assert torch.allclose(sensitivity(theta, loss.detach()), slope.norm(dim=1), atol=1e-12)


def test_reweighting_lowers_the_mean_sensitivity():
    """Lemma 4.8, on 2,000 random data sets, without a cap and with one."""
    for seed in range(2000):
        x, y, theta, draws = drawn(seed)
        loss = softplus(-y * (x @ theta))
        slope = sensitivity(theta, loss)
        eta = 10 ** float(4 * torch.rand((), generator=draws) - 3)
        free = weights(loss, eta)
        bound = capped(free, 1 / (0.6 * len(x))) if len(x) > 2 else free
        for weight in (free.exp(), bound.exp()):
            assert (weight * slope).sum() <= slope.mean() * (1 + 1e-12)


@pytest.mark.parametrize("cap", [None, 1 / 120])
def test_new_weights_suit_the_loss_they_saw_better(cap: float | None):
    """Consequence (a) of follow-the-regularised-leader, and (b): the objective never rises."""
    for seed in range(10):
        x, y, _ = blobs(200, SIGMA, torch.Generator().manual_seed(seed))
        smooth = float(x.square().sum(1).max()) / 4
        values = []
        for fit in regress(x, y, alpha=1 / smooth, eta=0.3, steps=60, cap=cap):
            assert (fit.after * fit.loss).sum() <= (fit.before * fit.loss).sum() + 1e-12
            values.append(float((fit.after * fit.loss).sum()))
        assert all(new <= old + 1e-12 for old, new in pairwise(values))


@pytest.mark.parametrize("cap", [None, 0.1])
def test_weights_minimise_loss_plus_negative_entropy(cap: float | None):
    draws = torch.Generator().manual_seed(0)
    total, eta = 4 * torch.rand(20, generator=draws, dtype=torch.float64), 0.7

    def objective(p: torch.Tensor) -> torch.Tensor:
        return (eta * p @ total) + torch.xlogy(p, p).sum(-1)

    log_weight = weights(total, eta)
    best = (log_weight if cap is None else capped(log_weight, cap)).exp()
    others = torch.rand(2000, 20, generator=draws, dtype=torch.float64) ** 3
    others = best + 0.1 * (others / others.sum(1, keepdim=True) - best)
    feasible = others if cap is None else others[(others <= cap).all(1)]
    assert len(feasible) > 100
    assert objective(feasible).min() > objective(best)


def test_weights_resemble_those_of_the_last_loss_alone():
    """The assumption behind the paper's Figure 2(b): measured, and far from exact."""
    x, y, flipped = blobs(400, 0.3, torch.Generator().manual_seed(0))
    fits = regress(x, y, alpha=1.0, eta=0.02, steps=1000)
    alone = torch.softmax(-0.02 * 1000 * fits[-1].loss, 0)
    apart = float((alone - fits[-1].after).abs().sum() / 2)
    assert 0.01 < apart < 0.3
    assert fits[-1].after[flipped].sum() < 0.01


# Sparse over-parametrisation


@pytest.fixture(scope="module")
def given() -> separation.Problem:
    return separation.problem(torch.Generator().manual_seed(0))


def test_overparametrisation_separates_what_least_squares_mixes(given: separation.Problem):
    assert given.error(separation.least_squares(given)) > 0.3
    found = separation.descend(given, start=1e-6, step=0.05, ratio=1.0, steps=2000)
    assert found.errors[-1] < 1e-7
    assert torch.allclose(found.sparse, given.sparse, atol=1e-5)
    # theta is what the map can tell of it: of least norm
    assert torch.allclose(found.theta, given.theta, atol=1e-5)


def test_a_large_start_separates_nothing(given: separation.Problem):
    assert separation.descend(given, 0.1, 0.05, ratio=1.0, steps=2000).errors[-1] > 0.2


def test_small_steps_follow_the_implicit_bias():
    draws = torch.Generator().manual_seed(1)
    given = separation.problem(draws, count=30, wide=40, rank=2)
    start, ratio = 0.1, 1.0
    found = separation.descend(given, start, step=5e-4, ratio=ratio, steps=12_000)
    assert torch.allclose(found.theta, -given.map.T @ found.nu, atol=1e-12)
    wanted = -2 * start**2 * torch.sinh(4 * ratio * found.nu)
    assert torch.allclose(found.sparse, wanted, rtol=0.02, atol=1e-3)
    strength = -math.log(start) / (2 * ratio)
    assert found.nu[given.sparse != 0].abs().min() > strength  # beyond it a value counts as sparse


# AUX and RDI

STRENGTH = 3.0  # lambda


@pytest.fixture(scope="module")
def linear() -> ridge.Problem:
    return ridge.problem(torch.Generator().manual_seed(0), count=12, wide=16)


@pytest.mark.parametrize(
    ("method", "momentum", "strength"),
    [
        (Aux(lambda_=STRENGTH, fit="mse"), 0.0, STRENGTH**2),
        (Aux(lambda_=STRENGTH, fit="mse", ratio=4.0), 0.0, 4 * STRENGTH**2),
        (Aux(lambda_=STRENGTH, fit="mse"), 0.9, 0.1 * STRENGTH**2),
        (Aux(lambda_=STRENGTH, fit="mse", ratio=10.0), 0.9, STRENGTH**2),
        (RDI(lambda_=STRENGTH), 0.0, STRENGTH**2),
        (RDI(lambda_=STRENGTH), 0.9, STRENGTH**2),
    ],
    ids=["aux", "aux-ratio", "aux-momentum", "aux-both", "rdi", "rdi-momentum"],
)
def test_linear_networks_end_at_ridge_regression(
    linear: ridge.Problem, method: Aux | RDI, momentum: float, strength: float
):
    lr = len(linear.x) / (linear.largest() + STRENGTH**2) / 3
    final = ridge.descend(method, linear, lr, steps=700, momentum=momentum)[-1]
    wanted = linear.solution(strength)
    assert torch.allclose(final, wanted, atol=1e-10)
    fit = (linear.x @ wanted.T).argmax(1) == linear.label
    interpolated = (linear.x @ linear.solution(1e-9).T - linear.y).abs().max()
    assert (linear.x @ final.T - linear.y).abs().max() > 100 * interpolated
    assert fit.any()


def test_rdi_scales_with_the_data(linear: ridge.Problem):
    """Twice the same examples at lambda sqrt(2) weigh the pull as before."""
    rows = torch.arange(len(linear.x)).repeat(2)
    twice = ridge.Problem(linear.x[rows], linear.label[rows], linear.start)
    final = [
        ridge.descend(RDI(lambda_=strength), given, lr=0.05, steps=100)[-1]
        for given, strength in ((linear, STRENGTH), (twice, STRENGTH * math.sqrt(2)))
    ]
    assert torch.allclose(*final, atol=1e-12)


# Stochastic resetting


def test_alignment_leaves_no_trace(data: Dataset):
    def trained(measured: bool) -> dict[str, torch.Tensor]:
        loop = Loop(Config.parse({"epochs": 1}), data, device="cpu")
        for step in range(4):
            if measured and step == 2:
                clean = data.clean[torch.from_numpy(data.train)]
                assert abs(alignment(loop, clean, torch.Generator())) <= 1
            loop.model.train()
            loop.advance()
        return loop.model.state_dict()

    plain, watched = trained(False), trained(True)
    assert all(torch.equal(plain[name], watched[name]) for name in plain)


def test_clean_labels_align_better_than_noisy_ones(data: Dataset):
    loop = Loop(Config.parse({"epochs": 1}), data, device="cpu")
    clean = data.clean[torch.from_numpy(data.train)]
    given = alignment(loop, clean, torch.Generator())
    loop.data.labels = clean
    assert alignment(loop, clean, torch.Generator()) > given > 0


def test_trace_tells_when_resetting_began():
    reset = {"r": 1.0, "patience": 0.1, "every": 0.25}
    plain = {"per_class": 20, "epochs": 10, "methods": {"reset": reset}}
    found = trace(plain, every=3)
    assert found.activated is not None
    assert found.epoch[0] < found.activated < found.epoch[-1]
    assert found.resets > 0
