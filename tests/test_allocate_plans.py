"""Plans and who deals their trials: what a user reads before, and what is refused."""

from typing import Any

import pytest
from test_allocate import live, told

from trainables.errors import ConfigError
from tuning.allocate import Adaptive, Equal, dealer_of
from tuning.notes import notes
from tuning.searchers import TPE
from tuning.space import Plan, load


def plan(methods: str, trials: int = 12, allocate: str = "adaptive", **more: Any) -> Plan:
    flags = {"trials": trials, "allocate": allocate} | more
    return load(methods, task="digits", spaces=(), settings=(), seed=0, study_flags=flags)


def test_a_plan_names_its_dealer() -> None:
    adaptive, equal = (dealer_of(plan("ce,mr,mixup", 10, how)) for how in ("adaptive", "equal"))
    assert isinstance(adaptive, Adaptive)
    assert sum(adaptive.shares.values()) + adaptive.free == 10  # no whole rounds
    assert isinstance(equal, Equal)
    assert equal.shares == {"ce": 4, "mr": 4, "mixup": 4}


def test_one_chain_is_searched_as_with_equal() -> None:
    one, other = plan("mr"), plan("mr", allocate="equal")
    assert [told(turn) for _, turn in live(dealer_of(one))] == [
        told(turn) for _, turn in live(dealer_of(other))
    ]
    assert [line.partition(",")[0] for line in notes(one)] == [
        "allocate adaptive: there is one chain"
    ]
    assert notes(other) == []


def test_a_user_reads_that_trials_will_not_be_equal() -> None:
    (line,) = notes(plan("ce,mr"))
    assert "no fair comparison" in line
    assert notes(plan("ce,mr", allocate="equal")) == []
    assert notes(plan("ce,mr,mixup", trials=2))[1] == (
        "trials = 2: too few to try mixup (take more trials)"
    )


def test_a_user_reads_how_much_of_a_grid_is_tried() -> None:
    lines = notes(plan("ce,mr", 8, "equal", searcher="grid", grid_points=3))
    assert [line.partition("(")[0].strip() for line in lines] == [
        "searcher grid: ce: all 3 points are tried, start points among them",
        "searcher grid: mr: 4 of 29 points are tried, start points among them",
    ]


@pytest.mark.parametrize(("methods", "allocate"), [("mr", "equal"), ("ce,mr", "adaptive")])
def test_a_user_reads_when_a_gp_is_slow(methods: str, allocate: str) -> None:
    few, many = (notes(plan(methods, n, allocate, searcher="gp")) for n in (300, 301))
    assert not any("searcher gp" in line for line in few)
    assert "301 trials in one model" in many[0]
    assert notes(plan("ce,mr", 600, "equal", searcher="gp")) == []  # a model for each chain


def test_a_decay_that_is_searched_for_nothing_is_told() -> None:
    wide = ["optim.decay={log: [1.0e-5, 1.0e-2]}"]
    given = load("ce,rdi", task="digits", spaces=[], settings=wide, seed=0, study_flags={})
    (line,) = notes(given)
    assert line.startswith("rdi: optim.decay is open and does nothing there")


def test_a_searcher_is_given_the_goals_of_its_plan() -> None:
    made = plan("mr", allocate="equal", metric="val/loss", second="epochs", grid_points=7)
    dealer = dealer_of(made)
    assert isinstance(dealer, Equal)
    searcher = dealer.searchers["mr"]
    assert isinstance(searcher, TPE)
    problem = searcher.problem
    assert (problem.chain, problem.mode, problem.second, problem.points) == (
        "mr",
        "min",
        "epochs",
        7,
    )
    assert list(problem.starts) == list(made.chains[0].starts)
    assert problem.seed == made.seed


def test_a_study_of_an_older_version_has_the_defaults_of_what_it_did_not_know() -> None:
    made = plan("mr", allocate="equal")
    del made.study["second"], made.study["grid_points"]
    assert told(dealer_of(made).next([])) == told(dealer_of(plan("mr", allocate="equal")).next([]))


REFUSED = {
    "grid over chains": (
        {"searcher": "grid", "allocate": "adaptive"},
        "--searcher grid: study.searcher = grid: cannot choose between chains",
    ),
    "cmaes over chains": (
        {"searcher": "cmaes", "allocate": "adaptive"},
        "--searcher cmaes: study.searcher = cmaes: cannot choose between chains",
    ),
    "gp with two metrics": (
        {"searcher": "gp", "second": "epochs"},
        "--second epochs: study.second = epochs: searcher = gp knows the score alone",
    ),
    "cmaes with two metrics": (
        {"searcher": "cmaes", "second": "seconds"},
        "--second seconds: study.second = seconds: searcher = cmaes knows the score alone",
    ),
    "epochs where all count": (
        {"select": "last", "second": "epochs"},
        "--second epochs: study.second = epochs: with select = last every trial needs all",
    ),
    "one point is no axis": (
        {"grid_points": 1},
        "--grid-points 1: study.grid_points = 1: must be at least 2",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_does_not_go_together_is_refused(case: str) -> None:
    flags, expected = REFUSED[case]
    with pytest.raises(ConfigError) as raised:
        plan("ce,mr", **{"allocate": "equal", **flags})
    assert str(raised.value).startswith(expected)
    assert "(" in str(raised.value) or "at least" in str(raised.value)
    assert "\n" not in str(raised.value)
