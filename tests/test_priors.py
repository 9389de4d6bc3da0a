"""Warm starts: what finished studies teach a new one, and which of them it cannot use."""

from typing import Any

import pytest

from trainables.errors import ConfigError
from tuning.allocate import dealer_of
from tuning.making import make_study
from tuning.priors import Earlier, Prior, warmed
from tuning.space import Plan, load
from tuning.study import Entry, Study

NARROW = "optim.lr={log: [0.02, 0.2]}"


def plan(*settings: str, methods: str = "mr", **flags: Any) -> Plan:
    flags = {"trials": 12, **flags}
    return load(
        methods, task="digits", spaces=[], settings=["epochs=1", *settings], seed=1,
        study_flags=flags,
    )  # fmt: skip


def live(study: Study, trials: int) -> None:
    """Run trials that score the better the nearer their learning rate is to 0.1."""
    for _ in range(trials):
        record = study.next()
        assert record is not None
        score = 1.0 / (1.0 + abs(record.config["optim"]["lr"] - 0.1))
        report: Entry = {"report": 1, "epoch": 1.0, "scored": 1, "score": score, "last": score}
        report |= {"kept": 0, "diverged": 0, "done": True, "seconds": 1.0}
        study.report(record.name, report)
        study.end(record.name, "done")


def lived(of: Plan, trials: int = 12) -> Study:
    study = make_study(of, lambda entry, flush: None)
    live(study, trials)
    return study


def earlier(study: Study, labels: str = "same") -> Earlier:
    return Earlier("results/old", labels, study.ranking(), [*study.records.values()])


def test_trials_of_the_same_task_are_known_from_the_beginning() -> None:
    old = lived(plan())
    new, told = warmed(plan(), "same", [earlier(old)])
    assert told == ["warm start from results/old: 12 trials known from the beginning"]
    known = [Prior.from_plain(one) for one in new.priors["mr"]]
    assert [one.params for one in known] == [r.params for r in old.records.values()]
    assert [one.score for one in known] == [r.score for r in old.records.values()]
    assert [one.cost("epochs") for one in known] == [1.0] * 12
    assert Plan.from_plain(new.plain) == new
    first = dealer_of(new).next([])
    cold = dealer_of(plan()).next([])
    assert first is not None
    assert cold is not None
    assert cold.start
    assert not first.start  # the old study has tried the start points
    assert first.params not in [one.params for one in known]


def test_a_warm_study_is_rebuilt_to_the_same_suggestions() -> None:
    new, _ = warmed(plan(), "same", [earlier(lived(plan()))])
    whole = [record.params for record in lived(new, 4).records.values()]
    entries: list[Entry] = []
    study = make_study(new, lambda entry, flush: entries.append(entry))
    for params in whole:
        again = make_study(Plan.from_plain(new.plain), lambda entry, flush: None)
        again.replay(entries)
        record = again.next()
        assert record is not None
        assert record.params == params
        live(study, 1)


@pytest.mark.parametrize(
    ("settings", "labels", "flags"),
    [
        (["noise.rate=0.6"], "other", {}),
        ([], "other", {}),
        ([], "same", {"searcher": "random"}),  # learns nothing from records
    ],
)
def test_else_its_best_settings_are_tried_first(
    settings: list[str], labels: str, flags: dict[str, Any]
) -> None:
    old = lived(plan(*settings))
    new, told = warmed(plan(**flags), "same", [earlier(old, labels)])
    assert new.priors == {}
    best = [record.params for record in old.ranking()[:3]]
    cold = plan(**flags).chains[0].starts
    fresh = [params for params in best if params not in cold]
    assert list(new.chains[0].starts) == [*fresh, *cold]
    assert told == [f"warm start from results/old: its best {len(fresh)} settings are tried first"]
    first = dealer_of(new).next([])
    assert first is not None
    assert first.params == new.chains[0].starts[0]


@pytest.mark.parametrize(
    ("old", "told"),
    [
        (plan(methods="sop"), "holds none of these chains"),
        (plan("optim.momentum=0.5"), r"its optim.momentum was 0.5, here it is 0.9"),
        (plan("model=fcnn"), r"its model was fcnn, here it is"),
        (plan("split.validation=0.3"), r"split.validation was 0.3"),
        (plan("optim.lr={log: [5.0, 9.0]}"), r"optim/lr = .* lies outside the range here"),
        (plan("optim.lr=0.1"), r"optim/lr is open here and was not there"),
        (plan("optim.momentum={uniform: [0.1, 0.5]}"), r"optim/momentum is not open here"),
    ],
)
def test_a_study_that_does_not_fit_is_refused_in_one_line(old: Plan, told: str) -> None:
    with pytest.raises(ConfigError, match=told) as refused:
        warmed(plan(), "same", [earlier(lived(old, 4))])
    assert str(refused.value).startswith("--warm-start results/old: no trial of it fits: ")
    assert "\n" not in str(refused.value)


def test_trials_outside_the_range_are_left_out() -> None:
    old = lived(plan())
    new, _ = warmed(plan(NARROW), "same", [earlier(old)])
    inside = [r for r in old.records.values() if 0.02 <= r.config["optim"]["lr"] <= 0.2]
    assert 0 < len(inside) < 12
    assert [one["params"] for one in new.priors["mr"]] == [r.params for r in inside]


def test_one_sampler_over_all_chains_takes_no_priors() -> None:
    new = plan(methods="mr,sop", allocate="adaptive")
    with pytest.raises(ConfigError, match=r"--warm-start: .*take --allocate equal"):
        warmed(new, "same", [earlier(lived(plan()))])
