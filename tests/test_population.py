"""Populations: who takes over from whom, with what values, and what is refused."""

import random
from collections import Counter
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from toys import differences, tiny, untimed

from trainables.data.dataset import Dataset
from trainables.errors import ConfigError
from trainables.loop import Loop
from tuning.holes import Choice, Hole, Int, Log, Option, Uniform, Value
from tuning.population import Stage, explored, takes
from tuning.space import load

INNER = Hole("mr/on/yes/rate", Uniform(0.0, 1.0))
HOLES = (
    Hole("optim/lr", Log(0.01, 1.0)),
    Hole("mr/lag", Int(1, 9)),
    Hole("mr/on", Choice((Option("yes", (INNER,)), Option("no")))),
)


@dataclass
class Standing:
    """A member as `takes` sees it."""

    n: int
    score: float
    params: dict[str, Value] = field(default_factory=dict)
    stages: tuple[Stage, ...] = ()

    @property
    def name(self) -> str:
        return f"mr-{self.n:04d}"


def exchanged(scores: list[float], mode: str = "max", generation: int = 1) -> dict[int, int]:
    """Who takes over from whom, by number."""
    members = [Standing(n, score) for n, score in enumerate(scores)]
    random.Random(generation).shuffle(members)  # no order of theirs counts
    found = takes(members, (), chain="mr", generation=generation, seed=0, mode=mode)
    return {int(take.trial[3:]): int(take.donor[3:]) for take in found}


@pytest.mark.parametrize(("mode", "sign"), [("max", 1.0), ("min", -1.0)])
def test_the_worst_quarter_takes_over_from_the_best(mode: str, sign: float) -> None:
    scores = [sign * score for score in (0.3, 0.9, 0.1, 0.5, 0.8, 0.2, 0.4, 0.6)]
    donors = set()
    for generation in range(1, 30):
        found = exchanged(scores, mode, generation)
        assert set(found) == {2, 5}
        donors.add(found[2])
    assert donors == {1, 4}


def test_of_equal_scores_the_later_one_takes_over() -> None:
    assert set(exchanged([0.5] * 8)) == {6, 7}
    assert {*exchanged([0.5] * 8).values()} <= {0, 1}


@pytest.mark.parametrize(("members", "count"), [(1, 0), (2, 1), (3, 1), (4, 1), (5, 2), (9, 3)])
def test_how_many_take_over(members: int, count: int) -> None:
    scores = [n / 10 for n in range(members)]
    assert list(exchanged(scores)) == list(range(count))[::-1]


def test_values_are_changed_as_the_rules_say() -> None:
    draws = np.random.Generator(np.random.Philox(key=1))
    donor: dict[str, Value] = {"optim/lr": 0.1, "mr/lag": 2, "mr/on": "yes", "mr/on/yes/rate": 0.9}
    seen = [explored(HOLES, donor, draws) for _ in range(2000)]
    lr = Counter(point["optim/lr"] for point in seen)
    assert lr[0.1 * 0.8] / 2000 == pytest.approx(0.375, abs=0.04)
    assert lr[0.1 * 1.2] / 2000 == pytest.approx(0.375, abs=0.04)
    anew = [value for value, times in lr.items() if times == 1]
    assert len(anew) / 2000 == pytest.approx(0.25, abs=0.04)
    assert min(anew) < 0.015  # type: ignore[type-var, operator]
    assert max(anew) > 0.7  # type: ignore[type-var, operator]
    lag = Counter(point["mr/lag"] for point in seen)
    assert min(lag[1], lag[3]) > 700 > 250 > lag[2]  # by one, though 0.8 x 2 rounds to 2
    on = Counter(point["mr/on"] for point in seen)
    assert on["yes"] / 2000 == pytest.approx(0.875, abs=0.04)  # kept, or drawn again
    rates = {point["mr/on/yes/rate"] for point in seen if point["mr/on"] == "yes"}
    assert {0.9 * 0.8, 1.0} < rates  # 1.08 is beyond the hole
    assert all(("mr/on/yes/rate" in point) == (point["mr/on"] == "yes") for point in seen)
    closed = explored(HOLES, {"optim/lr": 0.1, "mr/lag": 9, "mr/on": "no"}, draws)
    assert closed["mr/lag"] in range(1, 10)


# A taker's training


def test_a_taker_has_the_donor_s_state_and_hyperparameters_of_its_own(data: Dataset) -> None:
    donor = Loop(tiny({"mr": {"eta": 0.1}}, epochs=3, optim={"lr": 0.1, "momentum": 0.9}), data)
    donor.train()
    changed = {"lr": 0.02, "momentum": 0.5, "decay": 0.01, "nesterov": True}
    taker = Loop(tiny({"mr": {"eta": 0.5}}, epochs=3, optim=changed), data)
    taker.train()
    taker.load_state_dict(donor.state_dict())
    assert not differences(untimed(taker.state_dict()), untimed(donor.state_dict()))
    assert taker.validate() == donor.validate()
    for one, other in pairwise([donor, taker]):
        assert other.train()["lr"] == pytest.approx(one.train()["lr"] / 5)
    (group,) = {frozenset(g.items()) for g in map(_plain, taker.optimizer.param_groups)}
    assert {("momentum", 0.5), ("nesterov", True)} <= group
    assert max(g["weight_decay"] for g in taker.optimizer.param_groups) == 0.01
    assert taker.chain.methods["mr"].eta == 0.5  # type: ignore[attr-defined]


def _plain(group: dict[str, Any]) -> dict[str, Any]:
    return {key: group[key] for key in ("momentum", "nesterov")}


# What is refused


@pytest.mark.parametrize(
    ("methods", "settings", "flags", "told"),
    [
        ("mr", [], {"searcher": "random"}, "--searcher random: study.searcher = random: scheduler"),
        ("mr", [], {"searcher": "tpe"}, "--searcher tpe: study.searcher = tpe: scheduler = pbt"),
        ("mr", ["study.searcher=gp"], {}, "--set study.searcher=gp: study.searcher = gp: "),
        ("mr", [], {"second": "epochs"}, "--second epochs: study.second = epochs: scheduler = pbt"),
        ("mr,mr+reset", [], {}, "--scheduler pbt: study.scheduler = pbt: mr.reset holds reset"),
        ("ce,mr", ["optim.lr=0.1"], {}, "ce has nothing open"),
        ("mr", ["optim.batch={choice: [32, 64]}"], {}, "mr: no state .* while optim.batch is"),
        ("mr", ["optim.name={choice: [sgd, adam]}"], {}, "mr: no state .* while optim.name is"),
        ("ce,mr", [], {"allocate": "adaptive"}, "--allocate adaptive: .* of one size"),
        ("ce,mr", [], {"trials": 6}, "--trials 6: study.trials = 6: .* .take 8 or more"),
        ("mr", ["epochs=3"], {"interval": 0.9}, "--interval 0.9: .* takes 3 of 3 epochs"),
    ],
)
def test_a_study_that_no_population_can_train(
    methods: str, settings: list[str], flags: dict[str, Any], told: str
) -> None:
    flags = {"scheduler": "pbt", **flags}
    with pytest.raises(ConfigError, match=told) as error:
        load(methods, task="digits", spaces=(), settings=settings, seed=0, study_flags=flags)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(")")


def test_a_task_s_own_searcher_is_left_aside() -> None:
    flags = {"scheduler": "pbt", "trials": 4}
    plan = load("mr", task="digits", spaces=(), settings=(), seed=0, study_flags=flags)
    assert plan.study["searcher"] == "random"
