"""The searchers: suggestion n depends on the seed, the chain, n and the records, and on no more."""

import copy
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from tuning.holes import Choice, Hole, Int, Log, Option, Uniform, Value, contains, fill
from tuning.searchers import SEARCHERS, TPE, Searcher

FLAT = (
    Hole("optim/lr", Log(1e-3, 1.0)),
    Hole("mr/eta", Uniform(0.0, 1.0)),
    Hole("mr/lag", Int(1, 3)),
)
STEPS = Hole("optim/schedule/step/factor", Log(0.05, 0.5))
TREE = (
    Hole("optim/lr", Log(1e-3, 1.0)),
    Hole("optim/schedule", Choice((Option("cosine"), Option("step", (STEPS,))))),
    Hole("mr/on", Choice((Option(True), Option(1), Option(0), Option(False), Option(None)))),
)
SPACES = {"flat": FLAT, "tree": TREE}


@dataclass
class Seen:
    """A trial as searchers know it."""

    n: int
    params: dict[str, Value]
    status: str = "running"
    score: float | None = None
    diverged: bool = False
    curve: list[tuple[float, float]] = field(default_factory=list)


def make(kind: str, space: str = "flat", **more: Any) -> Searcher:
    fields: dict[str, Any] = {"chain": "mr", "seed": 3, "mode": "max", "starts": []}
    return SEARCHERS[kind](SPACES[space], **fields | more)


def goodness(params: dict[str, Value]) -> float:
    rate = params["optim/lr"]
    assert isinstance(rate, float)
    return 1.0 - abs(rate - 0.1)


def finish(trial: Seen) -> None:
    """End it in one of five ways, by its number."""
    score = goodness(trial.params)
    if trial.n % 5 == 1:
        trial.status, trial.score = "stopped", score
        trial.curve = [(1.0, score / 2), (2.0, score)]
    elif trial.n % 7 == 3:
        trial.status = "failed"
    elif trial.n % 11 == 6:
        trial.status, trial.diverged = "done", True
    else:
        trial.status, trial.score, trial.curve = "done", score, [(1.0, score)]
        trial.diverged = trial.n % 3 == 2


Ask = tuple[int, list[Seen], dict[str, Value]]


def live(searcher: Searcher, trials: int, width: int) -> list[Ask]:
    """Run a study of `width` trials at a time; every ask with the records it was given."""
    order = random.Random(width)
    records: list[Seen] = []
    asks: list[Ask] = []
    while len(records) < trials:
        running = [record for record in records if record.status == "running"]
        if len(running) < width:
            known = copy.deepcopy(records)
            params = searcher.suggest(len(records), records)
            asks.append((len(records), known, params))
            records.append(Seen(len(records), json.loads(json.dumps(params))))
        else:
            finish(order.choice(running))
    return asks


@pytest.mark.parametrize("width", [1, 2, 4])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", SEARCHERS)
def test_a_searcher_rebuilt_at_any_moment_goes_on_as_the_one_that_lived(
    kind: str, space: str, width: int
) -> None:
    starts: list[dict[str, Value]] = [{"optim/lr": 0.1}]
    asks = live(make(kind, space, starts=starts), 26, width)
    kills = random.Random(f"{space} {width}").sample(range(1, 26), 2)
    for kill in [*kills, 25]:
        rebuilt = make(kind, space, starts=starts)
        for n, known, params in asks[kill:]:
            assert rebuilt.suggest(n, known) == params, (kill, n)


def test_records_that_contradict_the_live_study_are_believed() -> None:
    (n, known, _), other = live(make("tpe"), 15, 2)[-1], make("tpe")
    other.suggest(n, known)
    changed = copy.deepcopy(known)
    ended = next(record for record in changed if record.status == "done")
    ended.params["mr/eta"], ended.score = 0.25, 0.9
    assert other.suggest(n, changed) == make("tpe").suggest(n, changed)
    assert other.suggest(n, known) == make("tpe").suggest(n, known)
    assert other.suggest(n, changed) != other.suggest(n, known)


@pytest.mark.parametrize("kind", SEARCHERS)
def test_start_points_come_first_and_their_missing_holes_are_filled(kind: str) -> None:
    starts: list[dict[str, Value]] = [
        {"optim/lr": 0.123456789012, "optim/schedule": "step", STEPS.column: 0.1, "mr/on": True},
        {"optim/schedule": "cosine", "mr/on": 1},
        {},
    ]
    asks = live(make(kind, "tree", starts=starts), 4, 2)
    assert asks[0][2] == starts[0]
    assert asks[0][2]["mr/on"] is True
    assert asks[1][2].keys() == {"optim/lr", "optim/schedule", "mr/on"}
    assert asks[1][2]["optim/schedule"] == "cosine"
    assert type(asks[1][2]["mr/on"]) is int
    assert 1e-3 <= asks[2][2]["optim/lr"] <= 1.0  # type: ignore[operator]


@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("kind", SEARCHERS)
def test_every_open_hole_is_filled_from_inside_and_no_closed_one(kind: str, space: str) -> None:
    for _, _, params in live(make(kind, space), 24, 3):

        def check(hole: Hole, params: dict[str, Value] = params) -> Value:
            assert contains(hole.domain, params[hole.column])
            kinds = {Int: int, Log: float, Uniform: float}
            assert type(params[hole.column]) is kinds.get(
                type(hole.domain), type(params[hole.column])
            )
            return params[hole.column]

        assert fill(SPACES[space], check) == params


def many(kind: str, column: str, space: str = "flat") -> Iterator[Value]:
    """The first suggestions of forty seeds."""
    for seed in range(40):
        searcher = make(kind, space, seed=seed)
        for n in range(5):
            yield searcher.suggest(n, []).get(column)


@pytest.mark.parametrize("kind", SEARCHERS)
def test_whole_numbers_reach_both_ends_and_logarithms_spread_evenly(kind: str) -> None:
    assert set(many(kind, "mr/lag")) == {1, 2, 3}
    rates = [rate for rate in many(kind, "optim/lr") if isinstance(rate, float)]
    assert len(rates) == 200
    assert 70 < sum(rate < 10**-1.5 for rate in rates) < 130


@pytest.mark.parametrize("kind", SEARCHERS)
def test_options_keep_their_kinds(kind: str) -> None:
    assert {repr(value) for value in many(kind, "mr/on", "tree")} == {
        "True",
        "1",
        "0",
        "False",
        "None",
    }


@pytest.mark.parametrize("kind", SEARCHERS)
@pytest.mark.parametrize("change", [{"seed": 4}, {"chain": "mr+mixup"}])
def test_another_seed_or_chain_draws_otherwise(kind: str, change: dict[str, Any]) -> None:
    records: list[Seen] = []
    for n in range(3):
        params = make(kind).suggest(n, records)
        assert make(kind, **change).suggest(n, records) != params
        assert all(record.params != params for record in records)
        records.append(Seen(n, params))


@pytest.mark.parametrize(("mode", "good"), [("max", lambda x: x > 0.6), ("min", lambda x: x < 0.4)])
def test_tpe_learns_in_the_direction_of_the_mode(mode: str, good: Callable[[Value], bool]) -> None:
    records = [
        Seen(n, {"optim/lr": 0.1, "mr/eta": n / 29, "mr/lag": 2}, "done", n / 29) for n in range(30)
    ]
    found = [make("tpe", mode=mode, seed=seed).suggest(30, records)["mr/eta"] for seed in range(9)]
    assert sum(map(good, found)) >= 7


def test_tpe_is_told_each_end_in_terms_it_learns_from() -> None:
    params: dict[str, Value] = {"optim/lr": 0.1, "mr/eta": 0.5, "mr/lag": 2}
    curve = [(1.0, 0.4), (2.0, 0.6)]
    records = [
        Seen(0, params, "done", 0.8, curve=curve),
        Seen(1, params, "done", 0.7, diverged=True, curve=curve),
        Seen(2, params, "done", None, diverged=True),
        Seen(3, params, "stopped", 0.6, curve=curve),
        Seen(4, params, "failed", 0.6, curve=curve),
        Seen(5, params, "running", 0.6, curve=curve),
        Seen(6, params, "pending"),
    ]
    searcher = make("tpe")
    assert isinstance(searcher, TPE)
    searcher.suggest(7, records)
    told = [(trial.state, trial.intermediate_values) for trial in searcher.study.trials]
    assert told == [
        (TrialState.COMPLETE, {}),
        (TrialState.PRUNED, {1: 0.4, 2: 0.6}),  # good until it diverged
        (TrialState.PRUNED, {}),
        (TrialState.PRUNED, {1: 0.4, 2: 0.6}),
        (TrialState.PRUNED, {}),
        *[(TrialState.RUNNING, {})] * 3,
    ]
    assert searcher.study.trials[0].value == 0.8


def sample() -> list[Sequence[Any]]:
    """What a study suggests, for another process to compare."""
    return [
        [kind, n, params] for kind in SEARCHERS for n, _, params in live(make(kind, "tree"), 14, 2)
    ]


def test_another_process_with_another_hash_seed_suggests_the_same() -> None:
    here = Path(__file__).resolve().parent
    path = os.pathsep.join([str(here), str(here.parent)])
    command = "import json, test_searchers; print(json.dumps(test_searchers.sample()))"
    done = subprocess.run(
        [sys.executable, "-c", command],
        env=os.environ | {"PYTHONHASHSEED": "77", "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == sample()
