"""How far a number travels from its YAML to its formula, and all that a new method takes."""

import importlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from toys import differences, finish, tiny

from trainables import snapshot
from trainables.config import Config
from trainables.data.dataset import Dataset
from trainables.loop import Loop
from trainables.methods import METHODS
from trainables.methods.overparametrization import QUOTED_AT
from trainables.methods.sop import SOP
from tuning.holes import contains
from tuning.inputs import SHIPPED, read_space
from tuning.making import make_study
from tuning.space import Plan, load


def planned(methods: str, *settings: str, spaces: tuple[Path, ...] = (), **flags: Any) -> Plan:
    return load(methods, task="digits", spaces=spaces, settings=settings, seed=0, study_flags=flags)


def test_lr_v_is_six_hops_from_its_yaml_to_its_formula(data: Dataset) -> None:
    # 1: search_spaces/sop.yaml says that it is open, and between what
    written = read_space(SHIPPED / "sop.yaml").leaves["methods", "sop", "lr_v"].value
    # 2: tuning.space.load lays the task, this file and --set over each other
    plan = planned("sop", "methods.sop.init=0.1", "optim.lr=0.01")
    (chain,) = plan.chains
    (opened,) = [one for one in chain.holes if one.column == "sop/lr_v"]
    value = chain.sample["sop/lr_v"]
    assert written.hole == opened
    assert contains(opened.domain, value)
    assert value != SOP.lr_v  # a default would prove nothing
    # 3: ChainSpace.config writes a searcher's value into a trial's nested config
    config = chain.config({**chain.sample, "sop/lr_v": value})
    assert config["methods"]["sop"]["lr_v"] == value
    # 4: Config.parse checks it
    parsed = Config.parse(config)
    assert parsed.methods["sop"]["lr_v"] == value
    # 5: Config.make_methods makes the method, which is the settings of its variables
    loop = Loop(parsed, data)
    method = loop.chain.methods["sop"]
    assert isinstance(method, SOP)
    assert method.lr_v == value
    assert method.variables.settings is method
    # 6: Overparametrization.step: v <- v - lr_v / 128 dl/dv, which is 4 v (v^2 - 1) at a class
    # that is predicted and not given
    seen: dict[str, Any] = {}
    hook = loop.chain.loss

    def watched(logits: torch.Tensor, batch: Any, run: Any) -> torch.Tensor:
        rows = logits.argmax(-1) != batch.label
        seen["at"] = batch.index[rows], logits.argmax(-1)[rows]
        seen["v"] = method.variables.v[seen["at"]].clone()
        return hook(logits, batch, run)

    loop.chain.loss = watched  # type: ignore[method-assign]
    loop.advance()
    before = seen["v"]
    assert len(before) > 9
    moved = before - method.variables.v[seen["at"]]
    expected = value / QUOTED_AT * 4 * before * (before.square() - 1)
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-7)


FILE = '''
"""Temper: make the network's predictions less sure before the loss sees them."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from trainables.bounds import Positive
from trainables.data.batch import Batch
from trainables.methods.base import Method, Run


@dataclass
class Temper(Method):
    """Divide the logits. Costs nothing."""

    heat: Positive = 2.0
    null: ClassVar = {"heat": 1.0}

    def logits(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        return logits / self.heat
'''
SPACE = """
methods:
  temper:
    heat: {log: [0.5, 4.0]}
start:
  - {methods: {temper: {heat: 3.0}}, optim: {lr: 0.05}}
"""


@pytest.fixture
def space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A method that is a file, a line and a YAML; this is its test."""
    (tmp_path / "temper.py").write_text(FILE, encoding="utf-8")
    (tmp_path / "temper.yaml").write_text(SPACE, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setitem(METHODS, "temper", importlib.import_module("temper").Temper)  # the line
    yield tmp_path / "temper.yaml"
    del sys.modules["temper"]


def trained(config: Config, data: Dataset) -> Loop:
    loop = Loop(config, data)
    finish(loop)
    return loop


def weights(config: Config, data: Dataset) -> dict[str, torch.Tensor]:
    return snapshot.weights(trained(config, data).model)


def test_a_method_is_a_file_a_line_and_a_yaml(space: Path, data: Dataset) -> None:
    plan = planned("temper,mr+temper", "epochs=2", spaces=(space,), trials=4)
    entries: list[dict[str, Any]] = []
    study = make_study(plan, lambda entry, flush: entries.append(entry))
    while (record := study.next()) is not None:
        config = Config.parse(record.config)
        loop = Loop(config, data)
        assert loop.chain.methods["temper"].heat == record.params["temper/heat"]  # type: ignore[attr-defined]
        for number in (1, 2):
            study.report(record.name, {**loop.train(), "report": number})
        study.end(record.name, study.ended_as(record.name))
    assert [record.name for record in study.records.values()] == [
        "temper-0000",
        "mr+temper-0000",
        "temper-0001",
        "mr+temper-0001",
    ]
    heats = [record.params["temper/heat"] for record in study.records.values()]
    assert heats[0] == 3.0  # the start point
    assert len(set(heats)) > 2
    best = study.ranking()[0]
    assert best.score is not None
    assert math.isfinite(best.score)


@pytest.mark.usefixtures("space")
def test_it_acts_and_its_null_does_not(data: Dataset) -> None:
    plain, off, on = tiny(), tiny({"temper": {"heat": 1.0}}), tiny({"temper": {}})
    assert differences(weights(plain, data), weights(off, data)) == []
    assert differences(weights(plain, data), weights(on, data))
