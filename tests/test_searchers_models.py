"""The searchers that model scores: what they are told of trials, and that they learn from it."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
from optuna.trial import TrialState
from searching import Seen, live, make

from tuning.holes import Hole, Log, Uniform, Value
from tuning.searchers import CMAES, GP, RANDOM_FIRST, SEARCHERS, TPE, Problem, Searcher

PARAMS: dict[str, Value] = {"optim/lr": 0.1, "mr/eta": 0.5, "mr/lag": 2}
CURVE = [(1.0, 0.4), (2.0, 0.6)]


def ends(**costs: float) -> list[Seen]:
    """Trials that ended in all ways, and two that have not."""
    return [
        Seen(0, PARAMS, "done", 0.8, curve=CURVE, costs=costs),
        Seen(1, PARAMS, "done", 0.7, diverged=True, curve=CURVE, costs=costs),
        Seen(2, PARAMS, "done", None, diverged=True),
        Seen(3, PARAMS, "stopped", 0.6, curve=CURVE, costs=costs),
        Seen(4, PARAMS, "failed", 0.6, curve=CURVE, costs=costs),
        Seen(5, PARAMS, "running", 0.6, curve=CURVE, costs=costs),
        Seen(6, PARAMS, "pending"),
    ]


def line(mode: str) -> list[Seen]:
    """Thirty trials, whose score is their eta."""
    return [Seen(n, PARAMS | {"mr/eta": n / 29}, "done", n / 29) for n in range(30)]


@pytest.mark.parametrize("kind", ["tpe", "cmaes"])
def test_records_that_contradict_the_live_study_are_believed(kind: str) -> None:
    (n, known, _), other = live(make(kind), 15, 2)[-1], make(kind)
    other.suggest(n, known)
    changed = copy.deepcopy(known)
    ended = next(record for record in changed if record.status == "done")
    ended.params["mr/eta"], ended.score = 0.25, 0.9
    assert other.suggest(n, changed) == make(kind).suggest(n, changed)
    assert other.suggest(n, known) == make(kind).suggest(n, known)
    assert other.suggest(n, changed) != other.suggest(n, known)


@pytest.mark.parametrize(("kind", "seeds"), [("tpe", 9), ("gp", 3)])
@pytest.mark.parametrize(("mode", "good"), [("max", lambda x: x > 0.6), ("min", lambda x: x < 0.4)])
def test_a_model_learns_in_the_direction_of_the_mode(
    kind: str, seeds: int, mode: str, good: Callable[[Value], bool]
) -> None:
    found = [
        make(kind, mode=mode, seed=seed).suggest(30, line(mode))["mr/eta"] for seed in range(seeds)
    ]
    assert sum(map(good, found)) >= 0.75 * seeds


# TPE


def test_tpe_is_told_each_end_in_terms_it_learns_from() -> None:
    searcher = make("tpe")
    assert isinstance(searcher, TPE)
    searcher.suggest(7, ends())
    told = [(trial.state, trial.intermediate_values) for trial in searcher.live.study.trials]
    assert told == [
        (TrialState.COMPLETE, {}),
        (TrialState.PRUNED, {1: 0.4, 2: 0.6}),  # good until it diverged
        (TrialState.PRUNED, {}),
        (TrialState.PRUNED, {1: 0.4, 2: 0.6}),
        (TrialState.PRUNED, {}),
        *[(TrialState.RUNNING, {})] * 3,
    ]
    assert searcher.live.study.trials[0].value == 0.8


@pytest.mark.parametrize("second", ["epochs", "seconds"])
def test_with_two_metrics_a_stopped_trial_counts_with_what_it_has(second: str) -> None:
    searcher = make("tpe", second=second)
    assert isinstance(searcher, TPE)
    records = ends(epochs=3.0, seconds=40.0)
    searcher.suggest(7, records)
    told = [(trial.state, trial.values) for trial in searcher.live.study.trials]
    cost = records[0].cost(second)
    assert told == [
        (TrialState.COMPLETE, [0.8, cost]),
        (TrialState.PRUNED, None),
        (TrialState.PRUNED, None),
        (TrialState.COMPLETE, [0.6, cost]),
        (TrialState.PRUNED, None),
        *[(TrialState.RUNNING, None)] * 3,
    ]
    searcher.suggest(RANDOM_FIRST + 4, records + records + records)  # TPE can model these


def test_two_metrics_ask_for_cheap_trials_among_good_ones() -> None:
    """The score is flat in lr, the cost is not: one metric learns nothing there, two do."""

    def rates(second: str) -> list[float]:
        found = []
        for seed in range(6):
            searcher, records = make("tpe", second=second, seed=seed), []
            for n in range(30):
                params = searcher.suggest(n, records)
                rate, eta = params["optim/lr"], params["mr/eta"]
                assert isinstance(rate, float)
                assert isinstance(eta, float)
                records.append(Seen(n, params, "done", eta, costs={"epochs": 100 * rate}))
                found += [rate] * (n >= 20)
        return found

    both, one = rates("epochs"), rates("none")
    assert sum(rate < 0.02 for rate in both) > sum(rate < 0.02 for rate in one) + 10


# GP


def toy(searcher: Searcher, trials: int) -> float:
    """The best score of some trials, one after the other."""
    records: list[Seen] = []
    for n in range(trials):
        params = searcher.suggest(n, records)
        x, y = params["x"], params["y"]
        assert isinstance(x, float)
        assert isinstance(y, float)
        records.append(Seen(n, params, "done", -((x - 0.3) ** 2) - (y - 0.8) ** 2))
    return max(record.score or -9.0 for record in records)


SQUARE = (Hole("x", Uniform(0.0, 1.0)), Hole("y", Uniform(0.0, 1.0)))


def test_gp_finds_the_top_of_a_hill_within_few_trials() -> None:
    def best(kind: str) -> list[float]:
        return [toy(SEARCHERS[kind](Problem(SQUARE, "mr", seed=seed)), 15) for seed in range(2)]

    assert all(model > -0.001 for model in best("gp"))
    assert all(model < -0.001 for model in best("random"))


@pytest.mark.parametrize(("mode", "worst"), [("max", 0.6), ("min", 0.8)])
def test_gp_is_told_the_worst_score_of_trials_without_one(mode: str, worst: float) -> None:
    searcher = make("gp", mode=mode)
    assert isinstance(searcher, GP)
    searcher.suggest(7, ends())
    told = [(trial.state.name, trial.values) for trial in searcher.live.study.trials]
    assert told == [
        ("COMPLETE", [0.8]),
        ("COMPLETE", [worst]),
        ("COMPLETE", [worst]),
        ("COMPLETE", [0.6]),  # it was stopped
        ("COMPLETE", [worst]),
        *[("RUNNING", None)] * 3,
    ]
    searcher.suggest(1, [Seen(0, PARAMS, "failed")])
    assert searcher.live.study.trials[0].state == TrialState.PRUNED  # there is no score at all


@pytest.mark.parametrize("end", [{"status": "failed"}, {"status": "done", "diverged": True}])
def test_gp_keeps_away_from_where_trials_fail(end: dict[str, Any]) -> None:
    """All above eta = 0.5 fail, behind a slope that leads there."""
    records = []
    for n in range(20):
        eta = n / 19
        params = PARAMS | {"mr/eta": eta, "optim/lr": 10.0 ** -(3 * (n * 7 % 20) / 20)}
        fields: dict[str, Any] = end if eta > 0.5 else {"status": "done", "score": eta}
        records.append(Seen(n, params, **fields))
    found = [make("gp", seed=seed).suggest(20, records)["mr/eta"] for seed in range(4)]
    assert all(isinstance(eta, float) and eta < 0.75 for eta in found)


# CMA-ES


def sphere(params: dict[str, Value]) -> float:
    return sum((float(value or 0.0) - 0.8) ** 2 for value in params.values())


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("width", [1, 4])
def test_cmaes_walks_to_the_bottom_of_a_sphere(mode: str, width: int) -> None:
    holes = tuple(Hole(f"x{number}", Uniform(0.0, 1.0)) for number in range(4))
    searcher = CMAES(Problem(holes, "mr", seed=1, mode=mode))
    records: list[Seen] = []
    sign = 1 if mode == "min" else -1
    for n in range(160):
        records.append(Seen(n, searcher.suggest(n, records)))
        if n + 1 >= width:
            ended = records[n + 1 - width]
            ended.status, ended.score = "done", sign * sphere(ended.params)
    first, last = records[:8], records[-8:]
    means = [sum(sphere(record.params) for record in some) / 8 for some in (first, last)]
    assert means[1] < 0.01 < 0.2 < means[0]


def test_a_generation_that_is_not_whole_moves_nothing() -> None:
    searcher = make("cmaes")
    assert isinstance(searcher, CMAES)
    assert searcher.size == 7
    records = [Seen(n, PARAMS | {"mr/eta": n / 7}, "done", n / 7) for n in range(7)]
    whole = make("cmaes").suggest(9, [*records, Seen(7, PARAMS), Seen(8, PARAMS)])
    records[3].status = "running"
    parts = [Seen(7, PARAMS, "done", 1.0), Seen(8, PARAMS, "done", 1.0)]
    assert searcher.suggest(9, records + parts) == make("cmaes").suggest(9, [])
    assert searcher.suggest(9, records + parts) != whole


def test_failed_trials_stand_behind_all_others_and_alone_move_nothing() -> None:
    good = [
        Seen(n, PARAMS | {"mr/eta": 0.9, "optim/lr": 0.01 * n + 0.01}, "done", 0.1)
        for n in (0, 1, 2)
    ]
    bad = [Seen(n, PARAMS | {"mr/eta": 0.1}, "failed", 0.9) for n in (3, 4, 5)]
    bad.append(Seen(6, PARAMS | {"mr/eta": 0.1}, "done", 0.9, diverged=True))
    etas = [make("cmaes", seed=seed).suggest(7, good + bad)["mr/eta"] for seed in range(9)]
    assert sum(isinstance(eta, float) and eta > 0.5 for eta in etas) >= 7
    failed = [Seen(n, PARAMS, "failed") for n in range(7)]
    assert make("cmaes").suggest(7, failed) == make("cmaes").suggest(7, [])


def test_cmaes_begins_around_the_first_start_point() -> None:
    hole = Hole("optim/lr", Log(1e-3, 1.0))
    rates = []
    for seed in range(40):
        searcher = CMAES(Problem((hole,), "ce", ({"optim/lr": 0.3},), seed=seed))
        rates.append(searcher.suggest(1, [Seen(0, {"optim/lr": 0.3})])["optim/lr"])
    assert sum(isinstance(rate, float) and rate > 0.1 for rate in rates) > 20
