"""The study as a fold over its journal: a cut anywhere changes no later decision.

A simulated clock stands for Tune (`tuning.simulator`). What comes next then depends on the journal
alone, unlike the order in which a cluster reports, so a study that was cut can be compared to one
left alone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from benchmarks.kills import suggestions, told
from tuning.allocate import DEALERS
from tuning.curves import Step
from tuning.holes import Choice, Hole, Int, Log, Option, Value
from tuning.making import make_study
from tuning.schedulers import ASHA, SCHEDULERS
from tuning.searchers import RANDOM_FIRST, SEARCHERS, Problem
from tuning.simulator import Simulator
from tuning.space import load
from tuning.study import ENDED, Entry, Lane, Record, Study

HOLES = (
    Hole("optim/lr", Log(1e-3, 1.0)),
    Hole("mr/lag", Int(1, 3)),
    Hole("mr/on", Choice((Option(True), Option(False)))),
)
STARTS: list[dict[str, Value]] = [{"optim/lr": 0.1, "mr/lag": 1, "mr/on": True}, {"mr/lag": 2}]
EPOCHS = 4


@dataclass(frozen=True)
class Space:
    """A chain as dealers see it."""

    chain: str
    holes: tuple[Hole, ...] = HOLES
    starts: tuple[dict[str, Value], ...] = tuple(STARTS)
    most: int | None = None


NOTHING = Space("ce", (), (), 1)  # open in this chain
TRIALS = RANDOM_FIRST + 4  # TPE models the last ones


class Toy:
    """What the trials of these tests report, one a second.

    Each keeps its state in the middle of its second epoch, and goes on from there after a crash.
    Trial 3 of a chain fails, trial 5 diverges.
    """

    def step(self, record: Record, number: int) -> Step:
        if record.n == 3 and number == 2:
            return Step(1.0, None, "OSError: disk")
        return Step(1.0, report_of(record, number))


def report_of(record: Record, number: int) -> dict[str, Any]:
    """Report `number` of a trial, by its hyperparameters: one an epoch, one at 1.5 epochs."""
    epoch = [1.0, 1.5, 2.0, 3.0, 4.0][number - 1]
    rate = record.config["optim"]["lr"]
    assert isinstance(rate, float)
    score = (1 - abs(math.log10(rate) + 1) / 3) * (1 - math.exp(-epoch))
    diverged = record.n == 5 and epoch == 3.0
    return {
        "report": number,
        "epoch": epoch,
        "scored": int(epoch != 1.5),
        "score": score,
        "last": score,
        "kept": int(epoch == 1.5),
        "diverged": int(diverged),
        "done": diverged or epoch == EPOCHS,
    }


def make(
    entries: list[Entry],
    chains: Sequence[str | Space] = ("mr",),
    *,
    searcher: str = "random",
    scheduler: str = "asha",
    allocate: str = "equal",
    trials: int = TRIALS,
    **more: Any,
) -> Study:
    """A study that appends what it writes to `entries`."""
    spaces = [Space(chain) if isinstance(chain, str) else chain for chain in chains]
    dealer = DEALERS[allocate](
        spaces, trials=trials, make=lambda *of: SEARCHERS[searcher](Problem(*of, seed=1))
    )
    lanes = [
        Lane(
            chain=space.chain,
            rule=SCHEDULERS[scheduler](EPOCHS, mode="max", grace=0.5, factor=2),
            config=lambda params: {"optim": {"lr": params.get("optim/lr", 0.05)}},
        )
        for space in spaces
    ]
    settings: dict[str, Any] = {"epochs": EPOCHS, "mode": "max", "select": "last"}
    return Study(
        lanes, dealer=dealer, write=lambda entry, flush: entries.append(entry), **settings | more
    )


def played(entries: Sequence[Entry], width: int, **settings: Any) -> tuple[Study, list[Entry], int]:
    """Take up a study that left `entries`; the study, its whole journal, how much was redone."""
    journal = list(entries)
    study = make(journal, **settings)
    simulator = Simulator(study, Toy(), width)
    simulator.live(entries)
    return study, journal, simulator.redone


@pytest.mark.parametrize("scheduler", ["asha", "fifo"])
@pytest.mark.parametrize(("searcher", "width"), [("random", 1), ("random", 2), ("tpe", 1)])
@pytest.mark.parametrize(
    ("allocate", "chains"), [("equal", ("mr",)), ("adaptive", ("mr", NOTHING, "mixup"))]
)
def test_a_study_cut_at_any_entry_goes_on_as_if_it_had_not_been(
    allocate: str, chains: Sequence[str | Space], searcher: str, width: int, scheduler: str
) -> None:
    settings: dict[str, Any] = {"searcher": searcher, "scheduler": scheduler}
    settings |= {"allocate": allocate, "chains": chains, "trials": RANDOM_FIRST + 5}
    alone, entries, _ = played([], width, **settings)
    statuses = {record.status for record in alone.records.values()}
    assert statuses == {"done", "failed"} | ({"stopped"} if scheduler == "asha" else set())
    redone = 0
    for cut in range(len(entries)):
        again, journal, more = played(entries[:cut], width, **settings)
        assert suggestions(journal) == suggestions(entries), f"cut at {cut}"
        assert told(again) == told(alone), f"cut at {cut}"
        redone += more
    assert redone > 0  # else no cut had anything to undo


def test_a_study_of_several_chains_survives_several_crashes() -> None:
    settings: dict[str, Any] = {"chains": ("ce", "mr"), "searcher": "tpe"}
    alone, entries, _ = played([], 2, **settings)
    journal: list[Entry] = []
    for reached in (11, 23, 24, 61):
        _, journal, _ = played(journal, 2, **settings)
        journal = journal[:reached]
    again, journal, _ = played(journal, 2, **settings)
    assert suggestions(journal) == suggestions(entries)
    assert told(again) == told(alone)


def test_chains_get_trials_in_turn_and_their_own_starts_first() -> None:
    entries: list[Entry] = []
    study = make(entries, ("ce", "mr", "mr+mixup"), trials=9)
    Simulator(study, Toy(), 2).live()
    assert [entry["trial"] for entry in suggestions(entries)] == [
        f"{chain}-{n:04d}" for n in range(3) for chain in ("ce", "mr", "mr+mixup")
    ]
    for chain, records in study.chains.items():
        assert [record.chain for record in records] == [chain] * 3
        assert records[0].params == STARTS[0]
        assert records[1].params.items() >= STARTS[1].items()
    assert [entry["start"] for entry in suggestions(entries)] == [True] * 6 + [False] * 3
    assert study.chains["ce"][2].params != study.chains["mr"][2].params


def test_a_suggestion_is_written_with_what_was_open_then() -> None:
    entries: list[Entry] = []
    study = make(entries)
    for _ in range(3):
        study.next()
    study.end("mr-0001", "failed", "boom")
    study.next()
    assert [entry["open"] for entry in suggestions(entries)] == [[], [0], [0, 1], [0, 2]]


def test_with_one_sampler_for_all_chains_what_was_open_is_counted_within_the_study() -> None:
    entries: list[Entry] = []
    study = make(entries, ("mr", NOTHING, "mixup"), allocate="adaptive")
    for _ in range(4):
        study.next()
    study.end("mr-0000", "failed", "boom")
    study.next()
    written = suggestions(entries)
    assert [entry["trial"] for entry in written] == [
        "mr-0000", "ce-0000", "mixup-0000", "mr-0001", "mixup-0001",
    ]  # fmt: skip
    assert [entry["open"] for entry in written] == [[], [0], [0, 1], [0, 1, 2], [1, 2, 3]]
    assert [entry["start"] for entry in written] == [True, False, True, True, True]
    assert written[2]["params"] == STARTS[0]  # under the columns of every table


@pytest.mark.parametrize(("chains", "asked", "trials"), [("mr", 5, 5), ("ce,mr,mixup", 4, 6)])
def test_trials_are_rounded_up_to_whole_rounds(chains: str, asked: int, trials: int) -> None:
    flags = {"trials": asked, "searcher": "random"}
    plan = load(chains, task="digits", spaces=(), settings=(), seed=0, study_flags=flags)
    study = make_study(plan, lambda entry, flush: None)
    given = 0
    while study.next():
        given += 1
    assert given == study.trials == trials
    assert len({len(records) for records in study.chains.values()}) == 1


@pytest.mark.parametrize(
    ("ending", "status"), [({"decision": "STOP"}, "stopped"), ({"done": True}, "done")]
)
def test_a_last_report_without_an_end_line_ends_its_trial(
    ending: dict[str, Any], status: str
) -> None:
    entries: list[Entry] = []
    first = make(entries)
    record = first.next()
    assert record
    first.report(record.name, report_of(record, 1))
    entries[-1] |= ending
    study = make(later := list(entries))
    study.replay(entries)
    assert study.records["mr-0000"].status == status
    assert later[-1] == {"kind": "end", "trial": "mr-0000", "status": status, "error": None}
    going = study.next()
    assert going
    assert going.name == "mr-0001"


@pytest.mark.parametrize("ending", [{"decision": "STOP"}, {"done": True}])
def test_a_trial_cut_before_its_last_checkpoint_ends_as_it_did(ending: dict[str, Any]) -> None:
    entries: list[Entry] = []
    first = make(entries)
    record = first.next()
    assert record
    first.report(record.name, report_of(record, 1))
    first.report(record.name, report_of(record, 3))
    entries[-1] |= ending
    study = make([])
    study.replay(entries, lambda record: False)
    again = study.next()
    assert again is study.records[record.name]
    assert study.report(again.name, report_of(again, 1)) == "CONTINUE"
    assert list(again.reports) == [1]  # what was lost is not counted until it comes again
    redone = report_of(again, 3) | ending
    assert study.report(again.name, redone) == ending.get("decision", "CONTINUE")
    assert study.ended_as(again.name) == ("stopped" if "decision" in ending else "done")
    assert told(study)["rungs"] == told(first)["rungs"]


def test_what_is_unfinished_is_issued_again_before_anything_new() -> None:
    entries: list[Entry] = []
    first = make(entries)
    for _ in range(3):
        first.next()
    record = first.records["mr-0002"]
    first.report("mr-0002", report_of(record, 1))
    first.end("mr-0001", "failed", "boom")
    study = make([])
    study.replay(entries)
    issued = [study.next() for _ in range(3)]
    assert [record and record.name for record in issued] == ["mr-0000", "mr-0002", "mr-0003"]
    assert issued[1]
    assert issued[1].status == "pending"  # it waits, whatever it has reported
    assert list(issued[1].reports) == [1]


def test_a_redone_report_replaces_the_first_and_enters_no_rung_again() -> None:
    entries: list[Entry] = []
    study = make(entries)
    record = study.next()
    assert record
    rule = study.lanes["mr"].rule
    assert isinstance(rule, ASHA)
    study.report(record.name, report_of(record, 3))
    rungs = rule.rungs()
    assert rungs[2] == {record.name: record.score}
    worse = report_of(record, 3) | {"score": 0.0, "again": True}
    assert study.report(record.name, worse) == "CONTINUE"
    assert rule.rungs() == rungs
    assert list(record.reports) == [3]
    assert record.newest["again"]
    taken = make([])
    taken.replay(entries)
    assert told(taken)["rungs"] == [rungs]
    assert taken.records[record.name].reports == record.reports


def test_only_ended_epochs_reach_the_scheduler_and_the_curve() -> None:
    study = make([])
    record = study.next()
    assert record
    study.report(record.name, report_of(record, 1))
    study.report(record.name, report_of(record, 2) | {"epoch": 2.5, "score": 9.0})
    assert record.epoch == 2.5
    assert record.score == record.last == report_of(record, 1)["score"]
    assert [epoch for epoch, _ in record.curve] == [1.0]
    rule = study.lanes["mr"].rule
    assert isinstance(rule, ASHA)
    assert rule.rungs() == {2: {}, 4: {}}


# name: reports, the last one's changes, status; b's score is the best, a's the best of the whole
OUTCOMES: dict[str, tuple[int, dict[str, Any], str]] = {
    "a": (5, {"score": 0.6}, "done"),
    "b": (3, {"score": 0.9}, "stopped"),
    "c": (4, {"score": 0.8, "diverged": 1}, "done"),
    "d": (5, {"score": 0.6}, "done"),
    "e": (5, {"score": 0.95}, "failed"),
    "f": (5, {"score": 0.7, "diverged": 1}, "done"),
    "g": (5, {"score": 0.3}, "done"),
    "h": (0, {}, "failed"),
    "i": (5, {"score": 0.99}, "running"),
}


@pytest.mark.parametrize(
    ("select", "mode", "order"),
    [
        ("last", "max", "adg"),
        ("mean3", "max", "adg"),
        ("best", "max", "bcfadg"),
        ("last", "min", "gad"),
        ("best", "min", "gadfcb"),
    ],
)
def test_who_can_win(select: str, mode: str, order: str) -> None:
    study = make([], scheduler="fifo", select=select, mode=mode)
    letters = {}
    for letter, (reports, changes, status) in OUTCOMES.items():
        record = study.next()
        assert record
        letters[record.name] = letter
        for number in range(1, reports + 1):
            last = changes if number == reports else {}
            study.report(record.name, report_of(record, number) | last)
        if status in ENDED:
            study.end(record.name, status)
    assert "".join(letters[record.name] for record in study.ranking()) == order
    assert study.ranking("mr") == study.ranking()


def test_failed_trials_are_counted_and_keep_their_error() -> None:
    entries: list[Entry] = []
    study = make(entries, ("ce", "mr"))
    for _ in range(4):
        study.next()
    study.report("mr-0000", report_of(study.records["mr-0000"], 1))
    study.end("mr-0000", "failed", "RuntimeError: no memory")
    study.end("ce-0001", "done")
    taken = make([], ("ce", "mr"))
    taken.replay(entries)
    for one in (study, taken):
        assert one.records["mr-0000"].error == "RuntimeError: no memory"
        assert one.count("failed") == one.count("failed", chain="mr") == 1
        assert one.count("failed", chain="ce") == 0
        assert one.count(*ENDED) == 2


@pytest.mark.parametrize(
    ("changes", "flush"),
    [
        ({}, False),
        ({"kept": 1}, True),
        ({"checkpoint": True}, True),
        ({"checkpoint": False}, False),
        ({"done": True}, True),
        ({"epoch": 2.0, "score": -9.0}, True),  # the worst of three at a rung is stopped
    ],
)
def test_a_report_that_a_checkpoint_follows_is_on_disk_first(
    changes: dict[str, Any], flush: bool
) -> None:
    written: list[tuple[str, bool]] = []
    study = make([])
    for name in ("a", "b"):
        for epoch in (1.0, 2.0):
            study.lanes["mr"].rule.decide(name, epoch, 9.0)
    study.write = lambda entry, flush: written.append((entry["kind"], flush))
    record = study.next()
    assert record
    study.report(record.name, report_of(record, 1) | changes)
    study.end(record.name, "done")
    assert written == [("suggest", True), ("report", flush), ("end", True)]


def test_a_decision_is_written_before_anybody_hears_of_it() -> None:
    entries: list[Entry] = []
    study = make(entries, trials=4)
    decisions = []
    for _ in range(4):
        record = study.next()
        assert record
        assert entries[-1]["trial"] == record.name
        decisions.append(study.report(record.name, report_of(record, 3)))
        assert entries[-1]["kind"] == "report"
        assert entries[-1]["decision"] == decisions[-1]
    assert set(decisions) == {"CONTINUE", "STOP"}


def test_what_cannot_be_written_has_not_happened() -> None:
    study = make([])
    record = study.next()
    assert record

    def full(entry: Entry, flush: bool) -> None:
        raise OSError(28, "No space left on device")

    study.write = full
    with pytest.raises(OSError, match="No space"):
        study.report(record.name, report_of(record, 1))
    with pytest.raises(OSError, match="No space"):
        study.end(record.name, "done")
    with pytest.raises(OSError, match="No space"):
        study.next()
    assert list(study.records) == [record.name]
    assert (record.status, record.reports) == ("pending", {})


def test_an_attempt_that_reports_less_leaves_nothing_of_the_longer_one() -> None:
    study = make([])
    record = study.next()
    assert record
    for number in (1, 2, 3):
        study.report(record.name, report_of(record, number))
    for number in (1, 2):  # again, after a crash
        study.report(record.name, report_of(record, number) | {"done": number == 2})
    assert sorted(record.reports) == [1, 2]
    assert record.newest["done"]


def test_no_scheduler_is_asked_of_a_trial_that_diverged() -> None:
    study = make([])
    record = study.next()
    assert record
    study.report(record.name, report_of(record, 1) | {"diverged": 1, "done": True})
    assert told(study)["rungs"] == told(make([]))["rungs"]


@pytest.mark.parametrize(("select", "epoch"), [("best", 1.0), ("mean3", 1.0), ("last", 2.0)])
def test_the_epoch_that_counts_is_named(select: str, epoch: float) -> None:
    study = make([])
    study.select = select
    record = study.next()
    assert record
    assert study.selected(record) is None
    for number in (1, 2):
        study.report(
            record.name, report_of(record, number) | {"epoch": number, "score": 0.5, "scored": 1}
        )
    assert study.selected(record) == epoch


def test_a_chain_with_nothing_to_try_gets_one_trial_and_the_others_their_share() -> None:
    whole = make([], (NOTHING, "mr", "mr+mixup"), trials=9)
    assert (whole.trials, whole.dealer.shares) == (7, {"ce": 1, "mr": 3, "mr+mixup": 3})
    given = [record.name for record in iter(whole.next, None)]
    assert given == [
        "ce-0000", "mr-0000", "mr+mixup-0000", "mr-0001", "mr+mixup-0001", "mr-0002",
        "mr+mixup-0002",
    ]  # fmt: skip
