"""The schedulers: rungs worked out by hand, and the same decisions when replayed."""

import random
from typing import Any

import pytest

from tuning.schedulers import ASHA, PBT, SCHEDULERS, Median

Report = tuple[str, float, float]

# Rungs at 2, 4 and 8 epochs; half of those seen go on. The comment is the median before.
HALVING: list[tuple[Report, str]] = [
    (("a", 1.0, 0.1), "CONTINUE"),  # before the first rung
    (("a", 2.0, 0.5), "CONTINUE"),  # the first there
    (("b", 2.0, 0.7), "CONTINUE"),  # .5
    (("c", 2.0, 0.55), "STOP"),  # .6
    (("d", 2.0, 0.65), "CONTINUE"),  # .55
    (("b", 3.0, 0.1), "CONTINUE"),  # between rungs
    (("b", 4.0, 0.8), "CONTINUE"),  # the first there
    (("d", 4.0, 0.8), "CONTINUE"),  # .8, a tie goes on
    (("a", 4.0, 0.79), "STOP"),  # .8
]
# Grace of 2 epochs, at least three others. The comment is the median of their means since then.
MEDIAN: list[tuple[Report, str]] = [
    (("e", 1.0, 0.9), "CONTINUE"),  # before the grace is over
    (("a", 2.0, 0.5), "CONTINUE"),
    (("b", 2.0, 0.7), "CONTINUE"),
    (("c", 2.0, 0.3), "CONTINUE"),  # two others are too few
    (("d", 2.0, 0.4), "STOP"),  # .5
    (("e", 2.0, 0.2), "CONTINUE"),  # .45, but its best is .9, from before the grace
    (("g", 2.0, 0.4), "CONTINUE"),  # .4, a tie goes on; the stopped one counts
    (("a", 3.0, 0.9), "CONTINUE"),
    (("b", 3.0, 0.1), "CONTINUE"),
    (("c", 3.0, 0.6), "CONTINUE"),  # two others came so far
    (("e", 3.0, 0.95), "CONTINUE"),  # .45
    (("f", 3.0, 0.5), "STOP"),  # .5125, of means .7 .4 .45 .575
]
RUNGS = {2: {"a": 0.5, "b": 0.7, "c": 0.55, "d": 0.65}, 4: {"b": 0.8, "d": 0.8, "a": 0.79}}


def asha(epochs: int = 8, mode: str = "max", grace: float = 0.25, factor: int = 2) -> ASHA:
    return ASHA(epochs, mode=mode, grace=grace, factor=factor)


@pytest.mark.parametrize(("mode", "sign"), [("max", 1.0), ("min", -1.0)])
def test_asha_stops_whom_a_hand_would_stop(mode: str, sign: float) -> None:
    rule = asha(mode=mode)
    for (name, epoch, score), decision in HALVING:
        assert rule.decide(name, epoch, sign * score) == decision, (name, epoch)


@pytest.mark.parametrize(("mode", "sign"), [("max", 1.0), ("min", -1.0)])
def test_asha_shows_its_rungs_in_the_unit_of_the_score(mode: str, sign: float) -> None:
    rule = asha(mode=mode)
    for (name, epoch, score), _ in HALVING:
        rule.decide(name, epoch, sign * score)
    signed = {at: {name: sign * s for name, s in rung.items()} for at, rung in RUNGS.items()}
    assert rule.rungs() == {**signed, 8: {}}


@pytest.mark.parametrize(("mode", "sign"), [("max", 1.0), ("min", -1.0)])
def test_the_median_stops_whom_a_hand_would_stop(mode: str, sign: float) -> None:
    rule = Median(8, mode=mode, grace=0.25, factor=2)
    for (name, epoch, score), decision in MEDIAN:
        assert rule.decide(name, epoch, sign * score) == decision, (name, epoch)


def test_a_trial_s_last_epoch_counts_once_for_the_median() -> None:
    rule = Median(2, mode="max", grace=0.5, factor=2)
    for name, scores in {"a": (0.0, 1.0), "b": (0.0, 1.0), "c": (0.4, 0.4)}.items():
        for epoch, score in enumerate(scores, start=1):
            assert rule.decide(name, float(epoch), score) == "CONTINUE", name
    assert rule.decide("d", 1.0, 0.1) == "CONTINUE"  # 0
    assert rule.decide("d", 2.0, 0.1) == "CONTINUE"  # it is at its end, whatever the median
    late = Median(3, mode="max", grace=0.5, factor=2)
    for name in "abc":
        for epoch, score in enumerate((0.0, 0.0, 0.9), start=1):
            late.decide(name, float(epoch), score)
    assert [len(told) for told in late.inner._results.values()] == [3, 3, 3]


@pytest.mark.parametrize("epochs", [1, 9])
def test_a_population_pauses_at_the_end_of_each_generation(epochs: int) -> None:
    rule = PBT(epochs, mode="max", grace=0.2, factor=3, interval=0.3)
    paused = []
    for epoch in range(1, epochs + 1):
        if rule.decide("a", float(epoch), 0.5) == "PAUSE":
            assert rule.decide("b", float(epoch), 0.9) == "PAUSE"
            paused.append(epoch)
            rule.generation += 1
            assert rule.decide("a", float(epoch), 0.5) == "CONTINUE"  # it has turned
    assert paused == list(range(3, epochs, 3))
    assert rule.until == (len(paused) + 1) * max(1, round(0.3 * epochs))


@pytest.mark.parametrize(
    ("epochs", "grace", "factor", "milestones"),
    [
        (9, 0.1, 3, [1, 3, 9]),
        (120, 0.2, 3, [24, 72]),
        (3, 0.1, 3, [1, 3]),  # a grace below one epoch is one
        (1, 0.2, 4, [1]),
        (10, 1.0, 3, [10]),
    ],
)
def test_grace_is_a_share_of_the_epochs(
    epochs: int, grace: float, factor: int, milestones: list[int]
) -> None:
    assert sorted(asha(epochs, grace=grace, factor=factor).rungs()) == milestones


def test_a_redone_report_changes_nothing() -> None:
    rule = asha()
    for report, _ in HALVING:
        rule.decide(*report)
    rule.decide("e", 4.0, 0.9)  # its second epoch was never scored
    rule.decide("f", 8.0, 0.9)  # at its end
    before = rule.rungs()
    redone = [*(report for report, _ in HALVING), ("e", 3.0, 0.1), ("f", 8.0, 0.1)]
    for name, epoch, _ in redone:
        assert rule.decide(name, epoch, -5.0) == "CONTINUE"
    assert rule.rungs() == before


def test_the_report_that_ends_a_trial_never_stops_it() -> None:
    rule = asha()
    for epoch in range(1, 9):
        rule.decide("good", float(epoch), 0.9)
        rule.decide("better", float(epoch), 0.95)
    for epoch in range(1, 8):
        rule.decide("late", float(epoch), 1.0)
    assert rule.decide("late", 8.0, 0.0) == "CONTINUE"
    assert rule.rungs()[8] == {"good": 0.9, "better": 0.95, "late": 0.0}


@pytest.mark.parametrize("scheduler", ["asha", "median"])
@pytest.mark.parametrize("mode", ["max", "min"])
def test_replaying_the_reports_gives_the_same_decisions_and_rungs(
    mode: str, scheduler: str
) -> None:
    order = random.Random(5)
    settings: dict[str, Any] = {"mode": mode, "grace": 0.04, "factor": 3}
    rule, epochs = SCHEDULERS[scheduler](27, **settings), dict.fromkeys(map(str, range(30)), 0)
    reports: list[Report] = []
    decisions: list[str] = []
    while epochs:
        name = order.choice(list(epochs))
        epochs[name] += 1
        reports.append((name, float(epochs[name]), order.random()))
        decisions.append(rule.decide(*reports[-1]))
        if decisions[-1] == "STOP" or epochs[name] == 27:
            del epochs[name]
    assert 5 < decisions.count("STOP") < 30

    again = SCHEDULERS[scheduler](27, **settings)
    assert [again.decide(*report) for report in reports] == decisions
    if isinstance(rule, ASHA) and isinstance(again, ASHA):
        assert again.rungs() == rule.rungs()
    for name, epoch, _ in random.Random(6).sample(reports, 40):  # trained again after a crash
        assert again.decide(name, epoch, 5.0) == "CONTINUE"
    assert again.decide("late", 1.0, 0.5) == rule.decide("late", 1.0, 0.5)
    assert again.decide("later", 5.0, 0.3) == rule.decide("later", 5.0, 0.3)


@pytest.mark.parametrize(("scheduler", "story"), [("asha", HALVING), ("median", MEDIAN)])
def test_a_rule_rebuilt_in_the_middle_goes_on_as_the_one_that_lived(
    scheduler: str, story: list[tuple[Report, str]]
) -> None:
    for cut in range(len(story)):
        rule = SCHEDULERS[scheduler](8, mode="max", grace=0.25, factor=2)
        for report, _ in story[:cut]:
            rule.decide(*report)
        assert [rule.decide(*report) for report, _ in story[cut:]] == [
            decision for _, decision in story[cut:]
        ]


@pytest.mark.parametrize("mode", ["max", "min"])
def test_fifo_stops_nothing(mode: str) -> None:
    rule = SCHEDULERS["fifo"](8, mode=mode, grace=0.25, factor=2)
    assert {rule.decide(*report) for report, _ in HALVING} == {"CONTINUE"}
