"""Two metrics at once: what a trial took to its score, and which trials no other beats in both."""

import json
from pathlib import Path
from typing import Any

import pytest
from test_progress import shown

from tuning.front import front
from tuning.making import make_study
from tuning.progress import Promise, summary, view
from tuning.search import verdict
from tuning.space import load
from tuning.store import Store
from tuning.study import Record


def report(number: int, score: float, **more: Any) -> dict[str, Any]:
    fields = {"epoch": float(number), "seconds": 10.0 * number, "scored": 1, "last": score}
    return {"report": number, "score": score, "diverged": 0, "done": False} | fields | more


def record(name: str, *scores: float) -> Record:
    """A finished trial that was scored after every epoch."""
    reports = {n: report(n, score) for n, score in enumerate(scores, 1)}
    params = {"optim/lr": 0.1}
    return Record(name, "mr", int(name[-4:]), params, {}, status="done", reports=reports)


@pytest.mark.parametrize(
    ("scores", "epochs"), [((0.5, 0.7, 0.7, 0.7), 2.0), ((0.5,), 1.0), ((0.2, 0.2, 0.3), 3.0)]
)
def test_a_score_costs_what_was_trained_until_it_stood(
    scores: tuple[float, ...], epochs: float
) -> None:
    one = record("mr-0000", *scores)
    assert one.cost("epochs") == epochs
    assert one.cost("seconds") == 10 * epochs


def test_a_trial_without_a_score_costs_nothing_that_counts() -> None:
    one = record("mr-0000")
    one.reports[1] = report(1, 0.0, scored=0)
    assert one.cost("epochs") is None


def trial(number: int, score: float, epochs: int) -> Record:
    return record(f"mr-{number:04d}", *[0.0] * (epochs - 1), score)


CASES: dict[str, tuple[list[tuple[float, int]], list[int]]] = {  # (score, epochs); who stays
    "nothing": ([], []),
    "one": ([(0.5, 3)], [0]),
    "a better score for more": ([(0.9, 5), (0.8, 2), (0.7, 1)], [0, 1, 2]),
    "worse in both": ([(0.9, 2), (0.8, 3), (0.7, 2)], [0]),
    "equal score, fewer epochs": ([(0.9, 4), (0.9, 2), (0.8, 3)], [1]),
    "equal epochs, lower score": ([(0.9, 2), (0.8, 2), (0.7, 1)], [0, 2]),
    "equal in both": ([(0.9, 2), (0.9, 2), (0.8, 1)], [0, 1, 2]),
}


@pytest.mark.parametrize("case", CASES)
def test_the_front_is_what_no_other_beats(case: str) -> None:
    made, stay = CASES[case]
    ranking = [trial(number, *one) for number, one in enumerate(made)]
    assert [one.n for one in front(ranking, "epochs")] == stay
    assert [one.n for one in front(ranking, "seconds")] == stay
    assert front(ranking, "none") == []


@pytest.mark.parametrize(("second", "seen"), [("epochs", True), ("none", False)])
def test_the_summary_shows_the_front(second: str, seen: bool) -> None:
    ranking = [trial(4, 0.9, 5), trial(2, 0.85, 5), trial(1, 0.8, 2)]
    plan = Promise("mr-digits", "val/acc", {"mr": 3}, 5, second=second)
    text = shown(summary(view(ranking, plan, 1.0, lambda: ranking), plan))
    rows = [line.split() for line in text.splitlines()]
    assert ("beaten by no trial in both" in text) is seen
    assert (["0.9000", "5", "mr-0004"] in rows) is seen
    assert (["0.8000", "2", "mr-0001"] in rows) is seen
    assert not any("mr-0002" in row for row in rows)
    assert ("epochs to it" in text) is seen


def test_the_verdict_tells_the_front_where_there_are_two_metrics(tmp_path: Path) -> None:
    flags = {"second": "seconds", "trials": 3, "searcher": "random"}
    plan = load("mr", task="digits", spaces=(), settings=(), seed=0, study_flags=flags)
    study = make_study(plan, lambda entry, flush: None)
    for one in (trial(0, 0.8, 2), trial(1, 0.9, 5), trial(2, 0.7, 3)):
        study.records[one.name] = one
    told = verdict(study, Store(tmp_path), "finished", "seconds")
    assert json.loads(json.dumps(told))["front"] == [
        {"trial": "mr-0001", "score": 0.9, "seconds": 50.0},
        {"trial": "mr-0000", "score": 0.8, "seconds": 20.0},
    ]
    assert "front" not in verdict(study, Store(tmp_path), "finished")
