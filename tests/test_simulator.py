"""Simulated studies: killed at any moment they end as if they had not been, extended too."""

import math
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from benchmarks.kills import (
    EPOCHS,
    Case,
    alone,
    cases,
    curves,
    killed,
    life,
    suggestions,
    told,
    torn,
)
from trainables.errors import ConfigError
from tuning import journal
from tuning.curves import Generated, Recorded, Step, quantile
from tuning.holes import Choice, Hole, Int, Log, Option, Uniform, walk
from tuning.making import make_study
from tuning.searchers import SEARCHERS
from tuning.simulator import CLOCK, Simulator, differences
from tuning.space import Plan, load
from tuning.study import ENDED, Entry, Record, Study

KILLS = 6  # of each case; all cases together see more than 200


def marked(case: Case) -> Any:
    slow = [pytest.mark.slow] if case.searcher == "gp" else []
    name = f"{case.searcher}-{case.scheduler}-{case.width}-{case.allocate}"
    return pytest.param(case, id=name, marks=slow)


@pytest.mark.parametrize("case", map(marked, cases(SEARCHERS, (1, 4, 8))))
def test_a_study_killed_at_random_ends_as_if_it_had_been_left_alone(case: Case) -> None:
    outcome = killed(case, KILLS, seed=case.width)
    assert outcome.kills == KILLS
    assert outcome.differs == []


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_one_sampler_for_all_chains_survives_kills_too(searcher: str) -> None:
    outcome = killed(Case(searcher, "asha", 2, "adaptive"), 20, seed=0)
    assert outcome.differs == []
    assert outcome.redone > 0  # else no kill had anything to undo


def test_the_studies_that_are_killed_hold_every_kind_of_trial() -> None:
    case = Case("random", "asha", 4)
    study, entries = alone(case.plan, curves(case.plan), case.width)
    assert {record.status for record in study.records.values()} == set(ENDED)
    assert any(record.diverged for record in study.records.values())
    assert any(entry.get("kept") for entry in entries)
    assert len(study.chains) == 2


def test_a_last_checkpoint_that_is_lost_is_made_again(tmp_path: Path) -> None:
    case = Case("random", "asha", 2)
    made = curves(case.plan)
    left, entries = alone(case.plan, made, case.width)
    last = next(  # of a trial whose end is not written yet
        n for n, entry in enumerate(entries) if entry["kind"] == "report" and entry["done"]
    )
    folder = tmp_path / "journal"
    assert life(case.plan, made, case.width, folder, most=last + 1)[0] is None
    name = entries[last]["trial"]
    study, redone = life(case.plan, made, case.width, folder, lost=frozenset([name]))
    assert study
    assert redone > 0
    assert told(study) == told(left)


def test_a_line_is_torn_by_a_kill_and_left_out(tmp_path: Path) -> None:
    case = Case("random", "fifo", 1)
    life(case.plan, curves(case.plan), 1, tmp_path / "j", most=9)
    whole = list(journal.read(tmp_path / "j"))
    lengths = set()
    for seed in range(6):
        (folder := tmp_path / str(seed)).mkdir()
        segment = max((tmp_path / "j").iterdir())
        (folder / segment.name).write_bytes(segment.read_bytes())
        torn(folder, random.Random(seed))
        entries = list(journal.read(folder))
        assert entries in (whole, whole[:-1])
        lengths.add((folder / segment.name).stat().st_size)
    assert len(whole) == 9
    assert len(lengths) > 3


# Extension. At width > 1 a study that is over has run dry: its last trials had the cluster to
# themselves, so a scheduler that hears of later ones only afterwards may decide otherwise.
def extended(searcher: str, scheduler: str, width: int, *, keep: float) -> tuple[Any, Any]:
    """What 100 trials at once come to, and 50 that are cut at a share of their journal, then 100.

    Both as `told`, and the suggestions.
    """

    def plan(trials: int) -> Plan:
        flags = {"searcher": searcher, "scheduler": scheduler, "trials": trials}
        settings = [f"epochs={EPOCHS}"]
        return load("mr", task="digits", spaces=[], settings=settings, seed=2, study_flags=flags)

    made = curves(plan(50))
    whole, wanted = alone(plan(100), made, width)
    _, half = alone(plan(50), made, width)
    entries = half[: int(keep * len(half))]
    later = list(entries)
    study = make_study(plan(100), lambda entry, flush: later.append(entry))
    Simulator(study, made, width).live(entries)
    return (told(whole), suggestions(wanted)), (told(study), suggestions(later))


@pytest.mark.parametrize(
    ("searcher", "scheduler", "width", "keep"),
    [
        ("random", "asha", 1, 1.0),
        ("tpe", "asha", 1, 1.0),
        ("tpe", "fifo", 1, 1.0),
        ("random", "median", 1, 1.0),
        ("random", "asha", 4, 0.8),  # extended before the first 50 ran out
        ("tpe", "asha", 4, 0.8),
    ],
)
def test_50_trials_and_50_more_are_100_at_once(
    searcher: str, scheduler: str, width: int, keep: float
) -> None:
    whole, more = extended(searcher, scheduler, width, keep=keep)
    assert len(whole[1]) == 100
    assert more == whole


@pytest.mark.parametrize("width", [2, 8])
def test_random_search_tries_the_same_100_whatever_was_running(width: int) -> None:
    (whole, _), (more, _) = extended("random", "fifo", width, keep=1.0)
    assert more["ranking"] == whole["ranking"]
    tables = [
        {
            record["name"]: (
                record["params"],
                record["status"],
                [{**report, CLOCK: None} for report in record["reports"].values()],
            )
            for record in one["records"]
        }
        for one in (whole, more)
    ]
    assert tables[0] == tables[1]


class Steady:
    """Two epochs of a second each, for all trials; those named in `late` take two."""

    def __init__(self, *late: str) -> None:
        self.late = late

    def step(self, record: Record, number: int) -> Step:
        score = record.n + number / 10
        report = {"report": number, "epoch": float(number), "scored": 1, "score": score}
        report |= {"last": score, "kept": 0, "diverged": 0, "done": number == 2}
        return Step(2.0 if record.name in self.late else 1.0, report)


def small(write: Callable[[Entry, bool], None], trials: int) -> Study:
    flags = {"searcher": "random", "scheduler": "fifo", "trials": trials}
    plan = load("mr", task="digits", spaces=[], settings=["epochs=2"], seed=0, study_flags=flags)
    return make_study(plan, write)


def test_events_come_in_the_order_of_the_clock_and_then_of_names() -> None:
    entries: list[Entry] = []
    simulator = Simulator(small(lambda e, flush: entries.append(e), 3), Steady("mr-0000"), 2)
    simulator.live()
    events = [
        (entry["trial"][-1], entry["kind"], entry.get("report"), entry.get(CLOCK))
        for entry in entries
    ]
    assert events == [
        ("0", "suggest", None, None),
        ("1", "suggest", None, None),
        ("1", "report", 1, 1.0),
        ("0", "report", 1, 2.0),
        ("1", "report", 2, 2.0),
        ("1", "end", None, None),
        ("2", "suggest", None, None),
        ("2", "report", 1, 3.0),
        ("0", "report", 2, 4.0),
        ("0", "end", None, None),
        ("2", "report", 2, 4.0),
        ("2", "end", None, None),
    ]
    assert simulator.clock == 4.0
    assert simulator.redone == 0


def test_none_while_others_run_means_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    study = small(lambda entry, flush: None, 4)
    after = study.next

    def paired() -> Record | None:
        """Two by two: nothing new before both of a pair have ended."""
        if len(study.records) % 2 == 0 and study.count(*ENDED) < len(study.records):
            return None
        return after()

    monkeypatch.setattr(study, "next", paired)
    Simulator(study, Steady("mr-0000"), 3).live()
    assert study.count("done") == 4
    assert [record.newest[CLOCK] for record in study.records.values()] == [4.0, 2.0, 6.0, 6.0]


HOLES = (
    Hole("optim/lr", Log(0.001, 1.0)),
    Hole("mr/lag", Int(1, 3)),
    Hole("mr/kind", Choice((Option("a"), Option("b", (Hole("mr/b", Uniform(2.0, 4.0)),))))),
)


@pytest.mark.parametrize(
    ("hole", "value", "wanted"),
    [
        (HOLES[0], 0.001, 0.0),
        (HOLES[0], 0.1, 2 / 3),
        (HOLES[1], 3, 1.0),
        (HOLES[2], "a", 0.0),
        (HOLES[2], "b", 1.0),
        (Hole("x", Uniform(2.0, 4.0)), 2.5, 0.25),
        (Hole("x", Uniform(2.0, 2.0)), 2.0, 0.0),
        (Hole("x", Choice((Option(True),))), True, 0.0),
    ],
)
def test_where_a_value_stands_in_its_hole(hole: Hole, value: Any, wanted: float) -> None:
    assert quantile(hole, value) == pytest.approx(wanted)


def trial(n: int, **params: Any) -> Record:
    return Record(f"mr-{n:04d}", "mr", n, params, {})


def test_a_made_up_curve_is_cut_by_kept_states_and_ends_with_its_epochs() -> None:
    made = Generated(HOLES, 4)
    steps = [made.step(trial(0), number) for number in range(1, 7)]
    reports = [step.report or {} for step in steps]
    assert [r["epoch"] for r in reports] == [1.0, 1.5, 2.0, 3.0, 3.5, 4.0]
    assert [r["scored"] for r in reports] == [1, 0, 1, 1, 0, 1]
    assert [r["kept"] for r in reports] == [0, 1, 0, 0, 1, 0]
    assert [r["done"] for r in reports] == [False] * 5 + [True]
    assert math.fsum(step.seconds for step in steps) == pytest.approx(reports[-1]["seconds"])
    assert made.step(trial(0), 4) == steps[3]


def test_a_made_up_curve_depends_on_the_values_and_rises() -> None:
    made = Generated(HOLES, 20, keeps=False)
    near, far = (
        [(made.step(trial(0, **{"optim/lr": lr}), n).report or {})["score"] for n in (1, 10, 20)]
        for lr in sorted((0.001, 1.0), key=lambda lr: abs(quantile(HOLES[0], lr) - best(made)))
    )
    assert far[0] > near[0]  # the curves cross
    assert near[2] > far[2]
    assert all(later > before for before, later in pairwise(near))
    falling = Generated(HOLES, 20, mode="min", keeps=False)
    scores = [(falling.step(trial(0, **{"optim/lr": 0.01}), n).report or {}) for n in (1, 20)]
    assert scores[1]["score"] < scores[0]["score"] < 0


def best(made: Generated) -> float:
    return made._draw("best", "optim/lr")


def test_the_shares_that_fail_and_diverge() -> None:
    made = Generated(HOLES, 4, failing=0.2, diverging=0.3, keeps=False)
    failed = diverged = 0
    for n in range(400):
        for number in range(1, 5):
            step = made.step(trial(n), number)
            if step.report is None:
                failed += 1
                break
            if step.report["diverged"]:
                assert step.report["done"]
                diverged += 1
                break
    assert failed == pytest.approx(80, abs=25)
    assert diverged == pytest.approx(0.3 * 320, abs=30)


def test_recorded_curves_play_a_study_again() -> None:
    case = Case("random", "fifo", 2)
    plan = case.plan
    holes = {chain.chain: chain.holes for chain in plan.chains}
    flat = [hole for chain in plan.chains for hole in walk(chain.holes)]
    study, entries = alone(plan, Generated(flat, EPOCHS), 2)
    again, replayed = alone(plan, Recorded(entries, holes), 2)
    assert suggestions(replayed) == suggestions(entries)
    assert [r.score for r in again.ranking()] == [r.score for r in study.ranking()]
    assert again.records["mr-0003"].newest[CLOCK] == study.records["mr-0003"].newest[CLOCK]


def test_a_trial_that_was_never_recorded_has_the_nearest_curve() -> None:
    def entries(n: int, params: dict[str, Any], done: bool) -> list[Entry]:
        report = {"report": 1, "score": float(n), "done": done, "diverged": 0, "seconds": 2.0 + n}
        return [
            {"kind": "suggest", "trial": f"mr-{n:04d}", "chain": "mr", "params": params},
            {"kind": "report", "trial": f"mr-{n:04d}", **report, "decision": "CONTINUE"},
        ]

    at: list[dict[str, Any]] = [
        {"optim/lr": 0.001, "mr/lag": 1, "mr/kind": "a"},
        {"optim/lr": 0.1, "mr/lag": 1, "mr/kind": "b", "mr/b": 2.0},
        {"optim/lr": 1.0, "mr/lag": 1, "mr/kind": "b", "mr/b": 4.0},
    ]
    journaled = [*entries(0, at[0], True), *entries(1, at[1], True), *entries(2, at[2], False)]
    made = Recorded([{"kind": "life"}, *journaled], {"mr": HOLES})
    # the nearest, trial 2, did not run all its epochs
    params = {"optim/lr": 1.0, "mr/lag": 1, "mr/kind": "b", "mr/b": 4.0}
    assert made.step(trial(9, **params), 1) == Step(
        3.0, {"report": 1, "score": 1.0, "done": True, "diverged": 0, "seconds": 3.0}
    )
    assert (made.step(trial(9, **at[0]), 1).report or {})["score"] == 0.0
    with pytest.raises(ConfigError, match="ce: no recorded trial ran all its epochs"):
        Recorded(journaled, {"mr": HOLES, "ce": ()})


def altered(entries: list[Entry], kind: str, **changes: Any) -> list[Entry]:
    """The journal with its tenth entry of a kind changed."""
    tenth = [n for n, entry in enumerate(entries) if entry["kind"] == kind][9]
    return [entry | changes if n == tenth else entry for n, entry in enumerate(entries)]


@pytest.mark.parametrize("searcher", ["random", "tpe"])
def test_a_journal_played_in_its_order_gives_its_decisions(searcher: str) -> None:
    case = Case(searcher, "asha", 4)
    _, entries = alone(case.plan, curves(case.plan), case.width)

    def found(entries: list[Entry]) -> list[str]:
        return differences(make_study(case.plan, lambda entry, flush: None), entries)

    lives = [{"kind": "life", "life": 1}, *entries]
    assert found(lives) == []
    (line,) = found(altered(entries, "suggest", params={"optim/lr": 0.123}))
    assert "suggested now is ('mr-0004'" in line or "suggested now is ('ce-0004'" in line
    assert len(found(altered(entries, "report", decision="PAUSE"))) == 1
    last = entries[-1]
    assert found([*entries, last]) == [f"{last['trial']}: ended twice"]
