"""Populations in a study: generations by hand, and that a crash anywhere changes nothing."""

import random
from typing import Any

import pytest

from tuning.allocate import Equal
from tuning.curves import Generated
from tuning.population import rows
from tuning.schedulers import PBT
from tuning.searchers import Problem, Random
from tuning.simulator import CLOCK, Simulator
from tuning.simulator import differences as decided_otherwise
from tuning.space import ChainSpace
from tuning.study import Entry, Lane, Record, Study

SPACE = {"optim": {"lr": {"log": [0.01, 1.0]}}}
EPOCHS, TRIALS = 6, 8


def make(
    entries: list[Entry],
    trials: int = TRIALS,
    every: float = 2 / EPOCHS,
    chains: tuple[str, ...] = ("mr",),
) -> Study:
    """Populations that append what they write to `entries`."""
    spaces = [ChainSpace(chain, SPACE) for chain in chains]
    dealer = Equal(spaces, trials=trials, make=lambda *of: Random(Problem(*of)))
    rules = [PBT(EPOCHS, mode="max", grace=0.2, factor=3, interval=every) for _ in chains]
    lanes = [
        Lane(space.chain, rule, space.config, space.holes, seed=1)
        for space, rule in zip(spaces, rules, strict=True)
    ]
    settings: dict[str, Any] = {"epochs": EPOCHS, "mode": "max", "select": "best"}
    return Study(lanes, dealer=dealer, write=lambda entry, flush: entries.append(entry), **settings)


def report(epoch: int, score: float, **more: Any) -> dict[str, Any]:
    told = {"report": epoch, "epoch": float(epoch), "scored": 1, "score": score, "last": score}
    return told | {"kept": 0, "diverged": 0, "done": epoch == EPOCHS} | more


def trained(study: Study, scores: dict[str, float], until: int) -> None:
    """Let each member come to the end of a generation."""
    for name, score in scores.items():
        epoch = int(study.records[name].epoch)
        while epoch < until:
            epoch += 1
            decision = study.report(name, report(epoch, score))
            assert decision == ("PAUSE" if epoch == until < EPOCHS else "CONTINUE")
        assert study.stands(name) == (until < EPOCHS)


def issued(study: Study) -> list[Record]:
    return list(iter(study.next, None))


def test_a_generation_by_hand() -> None:
    entries: list[Entry] = []
    study = make(entries, trials=6)
    first = issued(study)
    assert [record.origins for record in first[:2]] == [("mr-0000",), ("mr-0001",)]
    before = {record.name: record.params for record in first}
    scores = {"mr-0000": 0.5, "mr-0002": 0.9, "mr-0003": 0.5, "mr-0005": 0.7}
    trained(study, dict(list(scores.items())[:3]), 2)
    study.end("mr-0001", "failed", "boom")
    study.report("mr-0004", report(1, 0.0, diverged=1, done=True))
    study.end("mr-0004", "done")
    assert study.next() is None
    assert study.waiting  # for mr-0005, which still runs
    trained(study, {"mr-0005": 0.7}, 2)
    second = issued(study)
    assert [record.name for record in second] == list(scores)  # of those that go on, all
    (take,) = entries[-1]["takes"]  # of four, one; the later one of two equals
    assert (take["trial"], take["donor"]) == ("mr-0003", "mr-0002")
    assert entries[-1] | {"takes": []} == {
        "kind": "turn", "chain": "mr", "generation": 1, "epoch": 2, "takes": [],
    }  # fmt: skip
    taker = study.records["mr-0003"]
    assert taker.params == take["params"] != before["mr-0003"]
    assert taker.config["optim"]["lr"] == take["params"]["optim/lr"]
    assert taker.origins == ("mr-0003.g1", "mr-0002")
    assert study.records["mr-0002"].origins == ("mr-0002.g1", "mr-0002")
    assert study.records["mr-0005"].params == before["mr-0005"]
    assert taker.curve == [(1.0, 0.9), (2.0, 0.9)]  # of the weights it now has
    trained(study, dict.fromkeys(scores, 0.6) | {"mr-0003": 0.9}, 4)
    assert study.selected(taker) == 1.0
    assert study.generations.stale == []
    assert len(issued(study)) == 4
    gone = ["mr-0000", "mr-0002", "mr-0003", "mr-0005"]  # mr-0001 and mr-0004 ended there
    assert study.generations.stale == gone
    told = [(row["trial"], row["generation"], row["epoch"], row["donor"]) for row in rows(first)]
    assert told[3:5] == [("mr-0003", 0, 0.0, None), ("mr-0003", 1, 2, "mr-0002")]
    trained(study, dict.fromkeys(scores, 0.6), 6)
    for name in scores:
        assert study.waiting
        study.end(name, "done")
    assert study.next() is None
    assert not study.waiting
    assert study.generations.stale == [*gone, *(f"{name}.g1" for name in gone)]


def test_a_generation_waits_for_a_member_that_is_put_off() -> None:
    entries: list[Entry] = []
    study = make(entries, trials=4)
    names = [record.name for record in issued(study)]
    trained(study, dict.fromkeys(names[1:], 0.5), 2)
    study.put_off(names[0])  # its process died before it began
    assert study.next() is None  # and that is all of this run of Tune
    assert study.waiting
    assert study.take_late()
    assert [record.name for record in issued(study)] == names[:1]
    trained(study, {names[0]: 0.9}, 2)
    assert sorted(record.name for record in issued(study)) == names
    assert [entry["generation"] for entry in entries if entry["kind"] == "turn"] == [1]
    assert {take["donor"] for take in entries[-1]["takes"]} == {names[0]}


def test_a_member_that_starts_again_comes_to_the_end_of_its_own_generation() -> None:
    """As when no checkpoint of it is whole any more."""
    study = make([], trials=4)
    names = [record.name for record in issued(study)]
    trained(study, dict.fromkeys(names, 0.5), 2)
    issued(study)
    decisions = [study.report("mr-0001", report(epoch, 0.5)) for epoch in range(1, 5)]
    assert decisions == ["CONTINUE", "CONTINUE", "CONTINUE", "PAUSE"]
    assert study.stands("mr-0001")


@pytest.mark.parametrize(("saved", "again"), [(True, [1, 3]), (False, [0, 1, 2, 3])])
def test_what_stands_is_not_run_again_while_its_checkpoint_is_there(
    saved: bool, again: list[int]
) -> None:
    entries: list[Entry] = []
    study = make(entries, trials=4)
    issued(study)
    trained(study, {"mr-0000": 0.5, "mr-0002": 0.5}, 2)
    taken = make([], trials=4)
    taken.replay(entries, lambda record: saved)
    assert [record.n for record in issued(taken)] == again


class KilledError(Exception):
    """Where a life ends."""


def populations(entries: list[Entry]) -> Study:
    """Two, of five members each, that turn after every epoch."""
    return make(entries, 10, 1 / EPOCHS, ("ce", "mr"))


class Disk:
    """Which folders hold a checkpoint; survives every kill, and drops what is stale."""

    def __init__(self) -> None:
        self.folders: set[str] = set()

    def watch(self, study: Study) -> None:
        """Save what pauses; what is issued must find what it goes on from."""
        stands, following = study.stands, study.next

        def saving(name: str) -> bool:
            if study.records[name].paused:
                self.folders.add(study.records[name].segment)
            return stands(name)

        def finding() -> Record | None:
            record = following()
            self.folders -= {*study.generations.stale}
            if record and record.generation:
                assert self.folders & {*record.origins}, record
            return record

        study.stands, study.next = saving, finding  # type: ignore[method-assign]


def lived(
    entries: list[Entry], width: int, disk: Disk, most: float = float("inf")
) -> tuple[Study, list[Entry], bool]:
    """One life that takes up a journal and adds at most `most` entries; whether it came to the end.

    One trial in ten fails and one in ten diverges.
    """
    journal = list(entries)
    study = populations(journal)
    write = study.write

    def counted(entry: Entry, flush: bool) -> None:
        write(entry, flush)
        if len(journal) - len(entries) >= most:
            raise KilledError

    study.write = counted
    disk.watch(study)
    curves = Generated(ChainSpace("mr", SPACE).holes, EPOCHS, seed=4, failing=0.1, diverging=0.1)
    try:
        Simulator(study, curves, width).live(entries, lambda r: r.segment in disk.folders)
    except KilledError:
        return study, journal, False
    return study, journal, True


def told(study: Study) -> list[dict[str, Any]]:
    return [vars(record) for record in study.records.values()]


@pytest.mark.parametrize("width", [1, 2, 4])
def test_a_population_killed_anywhere_goes_on_as_if_it_had_not_been(width: int) -> None:
    alone, entries, _ = lived([], width, Disk())
    turns = [entry for entry in entries if entry["kind"] == "turn"]
    assert len(turns) == 2 * (EPOCHS - 1)
    assert {record.status for record in alone.records.values()} == {"done", "failed"}
    assert decided_otherwise(populations([]), entries) == []
    lives = random.Random(width)
    for first in range(1, len(entries), 3):
        disk = Disk()
        study, journal, over = lived([], width, disk, first)
        while not over:  # killed once more, and again; a life must get further than the one before
            study, journal, over = lived(journal, width, disk, lives.randint(20, 60))
        assert [e for e in journal if e["kind"] == "turn"] == turns, first
        assert told(study) == told(alone), first


def test_what_a_population_does_depends_on_no_order() -> None:
    found = []
    for width in (1, 3, 8):
        study, _, _ = lived([], width, Disk())
        for record in study.records.values():
            record.place = 0
            record.reports = {k: {**r, CLOCK: 0} for k, r in record.reports.items()}
        found.append(told(study))
    assert found[0] == found[1] == found[2]
