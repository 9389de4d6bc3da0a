"""What may change in a study that is taken up again, and what is refused, and why."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from trainables.errors import ConfigError
from tuning.changes import changed
from tuning.commandline import KEPT, STUDY_FLAGS, parse
from tuning.holes import Log
from tuning.making import make_study
from tuning.space import Plan, load
from tuning.study import Entry, Study


def plan(methods: str = "mr,sop", *settings: str, **flags: Any) -> Plan:
    return load(methods, task="digits", spaces=[], settings=settings, seed=0, study_flags=flags)


def change(old: Plan, *settings: str, **more: Any) -> Plan:
    given: dict[str, Any] = {"trials": None, "methods": None, "spaces": [], **more}
    return changed(old, settings=settings, **given)


def test_nothing_changed_is_the_same_plan() -> None:
    old = plan()
    assert change(old) == old
    assert change(old, methods="sop,mr") == old
    assert change(old, "optim.batch=32") == old  # the value it has


def test_more_trials() -> None:
    old = plan(trials=8)
    assert change(old, trials=20).study == old.study | {"trials": 20}
    with pytest.raises(ConfigError, match=r"--trials 6: it was to have 8 \(give 8 or more"):
        change(old, trials=6)


def test_a_method_more_gets_what_the_others_have() -> None:
    old = plan(trials=8)
    new = change(old, methods="cdr,mr", spaces=[])
    assert [chain.chain for chain in new.chains] == ["mr", "sop", "cdr"]
    assert new.chains[:2] == old.chains
    assert new.chains[2] == plan("cdr").chains[0]  # as if it had been there from the beginning
    assert new.study["trials"] == 12
    assert change(old, methods="cdr", trials=30).study["trials"] == 30
    with pytest.raises(ConfigError, match=r"--trials 9: each of 3 chains gets 4"):
        change(old, methods="cdr", trials=9)


def test_a_new_chain_takes_its_settings_and_the_tasks(tmp_path: Path) -> None:
    space = tmp_path / "cdr.yaml"
    space.write_text("methods: {cdr: {rate: {uniform: [0.2, 0.3]}}}\n")
    old = plan("mr", "noise.rate=0.6", "optim.momentum=0.5")
    new = change(old, methods="cdr", spaces=[space]).chains[1]
    config = new.config(new.sample)
    assert (config["noise"]["rate"], config["optim"]["momentum"]) == (0.6, 0.5)
    assert "cdr/rate" in {hole.column for hole in new.holes}
    with pytest.raises(ConfigError, match=r"cdr.yaml: is for methods that --method adds|--space"):
        change(old, spaces=[space])
    with pytest.raises(ConfigError, match=r"cdr.yaml: is for no chain that --method adds"):
        change(old, methods="sop", spaces=[space])


def test_a_wider_range_holds_for_old_chains_and_new_ones() -> None:
    wide = "optim.lr={log: [1.0e-5, 2.0]}"
    new = change(plan(), wide, "methods.mr.eta={log: [1.0e-6, 3.0]}", methods="cdr")
    domains = [{hole.column: hole.domain for hole in chain.holes} for chain in new.chains]
    assert [found["optim/lr"] for found in domains] == [Log(1e-5, 2.0)] * 3
    assert domains[0]["mr/eta"] == Log(1e-6, 3.0)
    assert [c.starts for c in new.chains[:2]] == [c.starts for c in plan().chains]
    assert new == Plan.from_plain(new.plain)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (["optim.lr={log: [0.01, 0.02]}"], r"optim.lr = .*it was log .*may only grow"),
        (["optim.lr={uniform: [1.0e-6, 3.0]}"], r"optim.lr = .*it was log"),
        (["optim.lr=0.1"], r"optim.lr = 0.1: .*'s trials so far had log"),
        (["methods.mr.period={choice: [1, 2]}"], r"methods.mr.period = .*it was 0.5 \| 1 \| 2"),
        (["optim.momentum=0.5"], r"optim.momentum = 0.5: .*so far had 0.9; others cannot"),
        (["methods.mr.cap={uniform: [0.1, 0.2]}"], r"cap"),
        (["noise.rate=0.2"], r"noise defines the task"),
        (["epochs=99"], r"epochs defines the task"),
        (["methods.cdr.rate=0.2"], r"no chain of this study holds cdr"),
        (["study.trials=9"], r"study settings stay"),
        (["methods.mr.period={choice: [0.5, 1, 2, -1]}"], r"methods.mr.period = -1"),
    ],
)
def test_what_makes_scores_incomparable_is_refused(settings: Sequence[str], told: str) -> None:
    old = plan()
    with pytest.raises(ConfigError, match=told) as refused:
        change(old, *settings)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("old", "more", "told"),
    [
        (plan(allocate="adaptive"), {"methods": "cdr"}, "one sampler over all chains"),
        (plan("mr", scheduler="pbt"), {"trials": 99}, "its population, which stays at 24"),
        (plan("mr", scheduler="pbt"), {"methods": "mr+reset"}, "holds reset, and both go back"),
    ],
)
def test_what_a_study_cannot_take_is_refused(old: Plan, more: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        change(old, **more)


def test_the_points_of_a_grid_stay() -> None:
    with pytest.raises(ConfigError, match="points of a wider grid would be others"):
        change(plan(searcher="grid"), "optim.lr={log: [1.0e-5, 2.0]}")


@pytest.mark.parametrize("name", KEPT)
def test_each_flag_that_stays_says_why(name: str) -> None:
    flag = f"--{name.replace('_', '-')}"
    with pytest.raises(ConfigError, match=f"{flag} cannot be changed with --resume: ") as refused:
        parse(["--resume", "results/x", flag, "1"])
    assert KEPT[name] in str(refused.value)


def test_every_study_flag_is_kept_or_can_change() -> None:
    assert set(STUDY_FLAGS) - set(KEPT) == {"trials"}


def lived(study: Study, steps: int, score: float = 0.5) -> None:
    """Run some trials to their end, one at a time; the third fails."""
    for _ in range(steps):
        record = study.next()
        assert record is not None
        if record.n == 2 and not record.reports:
            study.end(record.name, "failed", "OSError: disk")
            continue
        report = {"report": 1, "epoch": 1.0, "scored": 1, "score": score, "last": score}
        report |= {"kept": 0, "diverged": 0, "done": True}
        study.report(record.name, report)
        study.end(record.name, "done")


def written(old: Plan, entries: list[Entry]) -> Study:
    study = make_study(old, lambda entry, flush: entries.append(entry))
    study.replay(list(entries))
    return study


def test_failed_trials_are_tried_again_from_their_beginning() -> None:
    entries: list[Entry] = []
    old = plan("mr", "epochs=1", trials=4, searcher="random", scheduler="fifo")
    lived(written(old, entries), 4)
    study = written(old, entries)
    assert study.next() is None
    assert [record.name for record in study.retry()] == ["mr-0002"]
    assert study.retry() == []
    for _ in range(2):  # also when the next driver is killed before it has begun
        study = written(old, entries)
        assert study.count("pending") == 1
    record = study.next()
    assert record is not None
    assert (record.name, record.status, record.error) == ("mr-0002", "pending", None)
    assert study.next() is None


def test_a_joining_chain_catches_up() -> None:
    entries: list[Entry] = []
    old = plan("mr", "epochs=1", trials=3, searcher="random")
    lived(written(old, entries), 3)
    new = change(old, methods="sop")
    study = written(new, entries)
    lived(study, 3)
    assert study.next() is None
    assert {chain: len(records) for chain, records in study.chains.items()} == {"mr": 3, "sop": 3}
    whole: list[Entry] = []
    alone = written(plan("sop", "epochs=1", trials=3, searcher="random"), whole)
    lived(alone, 3)
    assert [r.params for r in study.chains["sop"]] == [r.params for r in alone.chains["sop"]]
