"""The entries of a journal: what a study writes passes, whatever else stands there is told."""

import copy
import json
import time
from pathlib import Path
from typing import Any

import pytest

from trainables.errors import ConfigError
from tuning.entries import FIELDS, Checker, read
from tuning.journal import Journal
from tuning.making import config_of, make_study
from tuning.space import load

SUGGEST = {"kind": "suggest", "trial": "mr-0000", "chain": "mr", "n": 0, "params": {"mr/eta": 0.1}}
SUGGEST |= {"config": {"epochs": 2}, "start": True, "open": []}
REPORT = {"kind": "report", "trial": "mr-0000", "report": 1, "epoch": 1.0, "step": 9, "scored": 1}
REPORT |= {"score": 0.5, "last": 0.5, "kept": 0, "diverged": 0, "done": False, "mr/ess": 0.9}
REPORT |= {"decision": "CONTINUE", "seconds": 0.5}
TAKE = {"trial": "mr-0001", "donor": "mr-0000", "params": {"mr/eta": 0.2}, "config": {}}
ENTRIES: list[dict[str, Any]] = [
    {"kind": "life", "life": 1, "time": 1795000000.25},
    SUGGEST,
    SUGGEST | {"trial": "mr-0001", "n": 1},
    REPORT,
    REPORT | {"trial": "mr-0001", "decision": "PAUSE"},
    {"kind": "turn", "chain": "mr", "generation": 1, "epoch": 1, "takes": [TAKE]},
    {"kind": "end", "trial": "mr-0000", "status": "failed", "error": "OSError: disk"},
    {"kind": "retry", "trial": "mr-0000"},
]
LIFE, FIRST, SECOND, TOLD, OTHER, TURN, END, RETRY = range(8)


def test_a_report_after_the_end_is_no_part_of_a_trial() -> None:
    assert problem([*ENTRIES, REPORT]) is None  # it is tried again
    told = problem([*ENTRIES[: END + 1], REPORT])
    assert told == "report: of mr-0000, which has ended (restore it from a copy)"


def problem(entries: list[dict[str, Any]], **study: Any) -> str | None:
    """What is wrong with the last entry; nothing with those before it."""
    checker = Checker(**study)
    *before, last = entries
    assert [checker.check(entry) for entry in before] == [None] * len(before)
    return checker.check(last)


def put(entry: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """A copy of an entry with a value at `a.b`; Ellipsis takes it out."""
    changed = copy.deepcopy(entry)
    node: Any = changed
    *path, last = key.split(".")
    for part in path:
        node = node[int(part)] if isinstance(node, list) else node[part]
    if value is ...:
        del node[last]
    else:
        node[last] = value
    return changed


@pytest.mark.parametrize("upto", range(1, 9))
def test_what_a_study_writes_passes(upto: int) -> None:
    assert problem(ENTRIES[:upto], chains=["ce", "mr"]) is None
    later = ENTRIES[upto - 1] | {"of a later version": 3}
    assert problem([*ENTRIES[: upto - 1], later]) is None


def test_a_real_study_s_own_entries_pass() -> None:
    plan = load(
        "ce,mr+reset", task="digits", spaces=[], settings=[], seed=0, study_flags={"trials": 4}
    )
    entries: list[dict[str, Any]] = []
    study = make_study(plan, lambda entry, flush: entries.append(json.loads(json.dumps(entry))))
    for report in (REPORT | {"epoch": 4.0}, REPORT | {"report": 2, "epoch": 16.0, "done": True}):
        own = {key: report[key] for key in report if key not in ("kind", "trial", "decision")}
        while (record := study.next()) is not None:
            study.report(record.name, own)
        for name in study.records:
            study.report(name, own)
    for name in study.records:
        study.end(name, "done")
    names = [chain.chain for chain in plan.chains]
    checker = Checker(names, turns=False, config=config_of(plan))
    assert {checker.check(entry) for entry in entries} == {None}
    assert {entry["kind"] for entry in entries} == {"suggest", "report", "end"}


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("config.epochs", 3, "config is not what the manifest's plan makes"),
        ("config.noise", {"kind": "file", "path": "/etc/passwd"}, "is not what"),
        ("params.mr/eta", 0.2, "is not what"),
        ("params.mr/eta", ..., "params: mr/eta is missing"),
        ("params.mr/eta", 1e6, "params: mr/eta = 1000000.0 lies outside its range"),
        ("params.mr/eta", "much", "params: mr/eta = 'much' lies outside its range"),
        ("params.mr/period", 1.0, "params: mr/period = 1.0 lies outside its range"),
        ("params.foo", 1, "params: 'foo' is not open"),
    ],
)
@pytest.mark.parametrize("kind", ["suggest", "turn"])
def test_a_config_must_be_what_the_plan_makes_of_its_values(
    kind: str, key: str, value: object, told: str
) -> None:
    plan = load("mr", task="digits", spaces=[], settings=[], seed=0, study_flags={})
    (chain,) = plan.chains
    params = {"optim/lr": 0.1, "mr/eta": 0.1, "mr/period": 1}
    mine = json.loads(json.dumps({"params": params, "config": chain.config(params)}))
    fitting = [entry | mine if entry["kind"] == "suggest" else entry for entry in ENTRIES[:TURN]]
    fitting.append(ENTRIES[TURN] | {"takes": [TAKE | mine]})
    assert problem(fitting, config=config_of(plan)) is None
    at, inner = (FIRST, key) if kind == "suggest" else (TURN, f"takes.0.{key}")
    damaged = put(fitting[at], inner, value)
    assert told in str(problem([*fitting[:at], damaged], config=config_of(plan)))


@pytest.mark.parametrize(
    ("at", "key", "value", "told"),
    [
        (LIFE, "kind", ..., "no kind"),
        (LIFE, "kind", 7, "no kind"),
        (LIFE, "kind", "warmth", "'warmth' (use the noisetune that wrote it)"),
        (LIFE, "life", True, "life = True: must be int"),
        (LIFE, "time", float("inf"), "no finite number"),
        (FIRST, "trial", "../../x", "trial = '../../x', and it is mr-0000"),
        (FIRST, "trial", "mr-0001", "and it is mr-0000"),
        (FIRST, "trial", "mr-00000", "and it is mr-0000"),
        (FIRST, "trial", 7, "must be str"),
        (FIRST, "chain", "../../x", "no method '../../x' (use the noisetune that wrote it)"),
        (FIRST, "chain", "mr+newer", "no method 'newer' (use the noisetune that wrote it)"),
        (FIRST, "chain", "reset+mr", "its name is mr+reset"),
        (FIRST, "chain", "mr+mr", "stands twice"),
        (FIRST, "chain", "mr+" * 10_000, "too long"),
        (FIRST, "chain", "ce", "and the manifest has mr"),
        (FIRST, "n", 1, "0 trials of mr stand before it"),
        (FIRST, "n", -1, "0 trials of mr stand before it"),
        (FIRST, "params", [1], "must be dict"),
        (FIRST, "params.mr/eta", [0.1], "'mr/eta' = [0.1]: is no value"),
        (FIRST, "params.mr/eta", float("nan"), "no finite number"),
        (FIRST, "config", "text", "must be dict"),
        (FIRST, "config.optim", {"lr": [{"x": float("inf")}]}, "no finite number"),
        (FIRST, "config.epochs", 2**63, "64 bits"),
        (SECOND, "n", 0, "1 trials of mr stand before it"),
        (TOLD, "trial", "mr-0005", "never suggested"),
        (TOLD, "report", 0, "report = 0"),
        (TOLD, "report", 1.0, "must be int"),
        (TOLD, "report", ..., "report is missing"),
        (TOLD, "epoch", -1.0, "epoch -1.0"),
        (TOLD, "score", None, "must be int or float"),
        (TOLD, "score", float("inf"), "'score' is no finite number"),
        (TOLD, "mr/ess", float("-inf"), "'mr/ess' is no finite number"),
        (TOLD, "mr/ess", 10**30, "64 bits"),
        (TOLD, "mr/ess", "much", "'mr/ess' must be a number"),
        (TOLD, "kept", "no", "must be int or bool"),
        (TOLD, "decision", "WAIT", "'WAIT' (use the noisetune that wrote it)"),
        (END, "trial", "mr-0005", "never suggested"),
        (END, "status", "running", "status = 'running'"),
        (END, "error", ["x"], "must be str or NoneType"),
        (RETRY, "trial", "mr-0001", "which has not failed"),
        (RETRY, "trial", "mr-0005", "which has not failed"),
        (TURN, "generation", 2, "generation = 2 after 0"),
        (TURN, "takes", {}, "must be list"),
        (TURN, "takes", ["x"], "must be mappings"),
        (TURN, "takes.0.donor", "../../x", "donor = '../../x' does not stand"),
        (TURN, "takes.0.trial", "mr-0007", "trial = 'mr-0007' does not stand"),
        (TURN, "takes.0.params", ..., "params is missing"),
        (TURN, "takes.0.params.mr/eta", {}, "is no value"),
        (TURN, "takes.0.config", {"x": float("nan")}, "no finite number"),
        (TURN, "epoch", float("inf"), "no finite number"),
    ],
)
def test_what_is_wrong_is_told_with_a_cure(at: int, key: str, value: object, told: str) -> None:
    found = problem([*ENTRIES[:at], put(ENTRIES[at], key, value)], chains=["mr"])
    assert found is not None
    assert told in found
    assert found.endswith(")")
    assert len(found) < 250
    assert found.isprintable()


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        (ENTRIES[TURN], "no populations"),
        (ENTRIES[TURN] | {"takes": []}, "no populations"),
    ],
)
def test_a_study_without_populations_has_no_generations(entry: Any, told: str) -> None:
    assert told in str(problem([*ENTRIES[:TURN], entry], turns=False))


def test_a_generation_turns_for_those_that_have_reported_and_not_ended() -> None:
    assert "before mr-0001 has reported" in str(problem([*ENTRIES[:OTHER], ENTRIES[TURN]]))
    end = ENTRIES[END] | {"trial": "mr-0001"}
    nobody = ENTRIES[TURN] | {"takes": []}
    assert problem([*ENTRIES[:OTHER], end, nobody]) is None
    assert "trial = 'mr-0001' does not stand" in str(problem([*ENTRIES[:TURN], end, ENTRIES[TURN]]))


def test_a_trial_that_is_tried_again_stands_in_its_generation() -> None:
    end = {"kind": "end", "trial": "mr-0001", "status": "failed", "error": None}
    retry = {"kind": "retry", "trial": "mr-0001"}
    assert problem([*ENTRIES[:TURN], end, retry, ENTRIES[TURN]]) is None
    assert "has not failed" in str(problem([*ENTRIES[:TURN], end | {"status": "done"}, retry]))
    assert "has not failed" in str(problem([*ENTRIES[:TURN], end, retry, retry]))


@pytest.mark.parametrize("kind", FIELDS)
def test_each_field_that_is_read_must_be_there(kind: str) -> None:
    at = [entry["kind"] for entry in ENTRIES].index(kind)
    for name in FIELDS[kind]:
        assert f"{name} is missing" in str(problem([*ENTRIES[:at], put(ENTRIES[at], name, ...)]))


@pytest.mark.parametrize(
    ("line", "number", "told"),
    [
        (b'{"kind":"rep', 4, ""),  # cut short by a kill: left out
        (b'{"kind":"rep\n', 4, ""),
        (b'{"price":3}\n', 4, "000001.jsonl:5: is no entry of a journal"),
        (b'{"price":3}\n', 2, "000001.jsonl:3: is no entry of a journal"),
        (b'{"kind":"rep\n', 2, "000001.jsonl:3: is damaged (restore it from a copy)"),
        (
            b'{"kind":"end","trial":"mr-0007","status":"done","error":null}\n',
            2,
            "000001.jsonl:3: end: of",
        ),
        (b'{"version":2}\n', 0, "000001.jsonl:1: version 2, this program reads 1"),
        (b'{"kind":"life","life":1,"time":1e999}\n', 1, "000001.jsonl:2: life: inf is no finite"),
    ],
)
def test_a_line_is_told_by_file_and_line(
    line: bytes, number: int, told: str, tmp_path: Path
) -> None:
    with Journal(tmp_path / "journal") as journal:
        for entry in ENTRIES[:3]:
            journal.append(entry)
    path = tmp_path / "journal" / "000001.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:number], line, *lines[number + 1 :]]))
    if not told:
        assert list(read(tmp_path / "journal")) == ENTRIES[:3]
        return
    with pytest.raises(ConfigError) as error:
        list(read(tmp_path / "journal", ["mr"]))
    assert str(error.value).startswith(str(tmp_path))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_a_hundred_thousand_entries_take_less_than_two_seconds() -> None:
    checker = Checker(["mr"])
    checker.check(SUGGEST)
    report = REPORT | {f"train/{number}": 0.5 for number in range(10)}
    began = time.process_time()
    assert not any(checker.check(report) for _ in range(100_000))
    assert time.process_time() - began < 2
