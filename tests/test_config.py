"""A trial's settings: what is refused and how it is told, defaults, round trips."""

from typing import Any

import pytest

from trainables.config import Config, build, schema
from trainables.errors import ConfigError
from trainables.methods import METHODS
from trainables.methods.mr import MR
from trainables.models import MODELS
from trainables.models.cnn import CNN
from trainables.schedule import SCHEDULES, Constant, Cosine, Step

A_CHOICE = "must be a name, or one name with a mapping of its options"
NAN, INF = float("nan"), float("inf")
RICH = {
    "data": "digits",
    "noise": {"kind": "pairflip", "rate": 0.2, "seed": 7},
    "split": {"validation": 0.1, "seed": 3},
    "model": {"cnn": {"dropout": 0.25}},
    "augment": True,
    "epochs": 3,
    "optim": {"lr": 0.02, "schedule": {"step": {"milestones": [0.5, 0.9], "factor": 0.2}}},
    "methods": {"reset": {"r": 0.01, "best": "acc"}, "mr": {"eta": 1, "milestones": [0.5]}},
    "seed": 5,
    "select": "mean3",
    "metric": "val/loss",
}


@pytest.mark.parametrize(
    ("plain", "told"),
    [
        ({"epoch": 3}, "epoch: unknown field 'epoch' (did you mean epochs?)"),
        ({True: 3}, "True: unknown field True"),  # YAML reads `on:` as True
        ({"epochs": 0}, "epochs = 0: must be at least 1"),
        ({"epochs": 1.5}, "epochs = 1.5: must be a whole number"),
        ({"epochs": True}, "epochs = True: must be a whole number"),
        ({"epochs": "3"}, "epochs = '3': must be a whole number"),
        ({"seed": -1}, "seed = -1: must be at least 0"),
        ({"seed": 2**63}, f"seed = {2**63}: must be below {2**63}"),
        ({"select": "first"}, "select = 'first': must be one of 'last', 'best' or 'mean3'"),
        ({"metric": "test/acc"}, "metric = 'test/acc': must be one of 'val/acc' or 'val/loss'"),
        ({"augment": 1}, "augment = 1: must be true or false"),
        ({"data": "digit"}, "data = digit: unknown name 'digit' (did you mean digits?)"),
        ({"data": 3}, "data = 3: must be a text"),
        ({"noise": {"kind": "pairs"}}, "noise.kind = pairs: unknown name 'pairs'"),
        ({"noise": {"rate": 1.5}}, "noise.rate = 1.5: must be at most 1"),
        ({"noise": {"rate": False}}, "noise.rate = False: must be a number"),
        ({"noise": {"rate": NAN}}, "noise.rate = nan: must be a finite number"),
        ({"noise": {"kind": "none", "rate": 0.4}}, "noise.rate = 0.4: kind none has no rate"),
        ({"noise": {"seeds": 1}}, "noise.seeds: unknown field (did you mean seed?)"),
        ({"noise": {"kind": "human"}}, "noise.set: is missing (one of aggre, random1, random2, "),
        ({"noise": 0.4}, "noise = 0.4: must be a mapping of its fields"),
        (
            {"split": {"validation": 0}},
            "split.validation = 0: must be above 0 and below 1",
        ),
        (
            {"split": {"validation": 1.0}},
            "split.validation = 1.0: must be above 0 and below",
        ),
        ({"model": "cn"}, "model = cn: unknown name 'cn' (did you mean cnn?)"),
        (
            {"model": {"cnn": {"drop": 0.1}}},
            "model.cnn.drop: unknown field (did you mean dropout?)",
        ),
        ({"model": {"cnn": {"dropout": 1}}}, "model.cnn.dropout = 1: must be below 1"),
        ({"model": {"lenet": {"dropout": 0}}}, "model.lenet.dropout: unknown field"),
        ({"model": None}, f"model = None: {A_CHOICE}"),
        (
            {"model": {"cnn": {}, "lenet": {}}},
            f"model = {{'cnn': {{}}, 'lenet': {{}}}}: {A_CHOICE}",
        ),
        ({"model": {"cnn": 3}}, f"model = {{'cnn': 3}}: {A_CHOICE}"),
        ({"model": {"cnn": {3: 1}}}, "model.cnn.3 = 3: "),
        ({"optim": {"schedule": {"step": [1]}}}, f"optim.schedule = {{'step': [1]}}: {A_CHOICE}"),
        ({"optim": {"lr": 0}}, "optim.lr = 0: must be above 0"),
        ({"optim": {"lr": INF}}, "optim.lr = inf: must be a finite number"),
        ({"optim": {"lr": "0.1"}}, "optim.lr = '0.1': must be a number"),
        ({"optim": {"lr": None}}, "optim.lr = None: must be a number"),
        ({"optim": {"lrr": 1}}, "optim.lrr: unknown field (did you mean lr?)"),
        ({"optim": {"name": "lion"}}, "optim.name = 'lion': must be one of 'sgd', 'adam'"),
        ({"optim": {"momentum": 1.0}}, "optim.momentum = 1.0: must be below 1"),
        ({"optim": {"schedule": "cosin"}}, "unknown name 'cosin' (did you mean cosine?)"),
        (
            {"optim": {"schedule": {"step": {"factor": 0}}}},
            "optim.schedule.step.factor = 0: must be above 0",
        ),
        (
            {"optim": {"schedule": {"step": {"milestones": 0.5}}}},
            "optim.schedule.step.milestones = 0.5: must be a list",
        ),
        (
            {"optim": {"schedule": {"step": {"milestones": [0.5, 2]}}}},
            "optim.schedule.step.milestones.1 = 2: must be at most 1",
        ),
        ({"optim": {"nesterov": True, "momentum": 0}}, "optim.nesterov = True: needs a momentum"),
        ({"methods": {"mr": False}}, "methods.mr = False: must be a mapping of its settings"),
        ({"methods": "mr"}, "methods = mr: must be a mapping from method to its settings"),
        ({"methods": {"mrr": {}}}, "unknown method 'mrr' (did you mean mr?)"),
        ({"methods": {3: {}}}, "unknown method 3"),
        ({"methods": {"ce": {}}}, "ce is the empty chain"),
        ({"methods": {"mr": 0.1}}, "methods.mr = 0.1: must be a mapping of its settings"),
        ({"methods": {"mr": {"eta": -1.0}}}, "methods.mr.eta = -1.0: must be at least 0"),
        ({"methods": {"mr": {"etaa": 1}}}, "methods.mr.etaa: unknown field (did you mean eta?)"),
        ({"methods": {"mr": {"projection": "no"}}}, "must be one of 'exact' or 'one-sweep'"),
        ({"methods": {"reset": {"adaptive": 1}}}, "methods.reset.adaptive = 1: must be true or"),
        ({"methods": {"smooth": {"rate": 1}}}, "methods.smooth.rate = 1: must be below 1"),
        ({"methods": {"random-weights": {"r": 1}}}, "methods.random-weights.r: unknown field"),
    ],
)
def test_a_wrong_value_is_told_in_one_line(plain: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        Config.parse(plain)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_place_is_put_in_front() -> None:
    error = ConfigError("epochs = 0: must be at least 1").within("a.yaml")
    assert str(error) == "a.yaml: epochs = 0: must be at least 1"


def test_nothing_is_the_digits_task_with_plain_training() -> None:
    config = Config.parse({})
    assert config == Config.parse({"methods": None})
    assert (config.chain, config.mode, config.seed, config.select) == ("ce", "max", 0, "best")
    task = config.task
    assert (task.data, task.epochs, task.augment, task.split.validation) == (
        "digits",
        30,
        False,
        0.25,
    )
    assert task.noise.plain == {"kind": "symmetric", "rate": 0.4, "seed": 0}
    assert (task.optim.name, task.optim.lr, task.optim.batch) == ("sgd", 0.05, 32)
    assert config.make_model() == CNN()
    assert config.make_schedule() == Cosine()
    assert config.make_methods() == {}


def test_a_config_is_what_was_asked_for() -> None:
    config = Config.parse(RICH)
    assert (config.chain, config.mode) == ("mr+reset", "min")
    assert config.make_model() == CNN(dropout=0.25)
    assert config.make_schedule() == Step(milestones=(0.5, 0.9), factor=0.2)
    methods = config.make_methods()
    assert list(methods) == ["mr", "reset"]
    assert methods["mr"] == MR(eta=1.0, milestones=(0.5,))
    with pytest.raises(Exception, match="frozen"):
        config.seed = 6  # type: ignore[misc]


@pytest.mark.parametrize("plain", [{}, RICH, *({"methods": {name: {}}} for name in METHODS)])
def test_round_trip(plain: dict[str, Any]) -> None:
    config = Config.parse(plain)
    assert Config.parse(config.plain) == config
    assert Config.parse(config.plain).plain == config.plain


def test_what_is_parsed_is_no_alias_of_what_was_given() -> None:
    given: dict[str, Any] = {"methods": {"mr": {"eta": 0.1}}, "model": {"cnn": {"dropout": 0.1}}}
    config = Config.parse(given)
    given["methods"]["mr"]["eta"] = -1.0
    given["model"]["cnn"]["dropout"] = 3.0
    assert config.plain["methods"] == {"mr": {"eta": 0.1}}
    assert config.plain["model"] == {"cnn": {"dropout": 0.1}}


@pytest.mark.parametrize("written", ["step", {"step": None}, {"step": {}}])
def test_a_choice_without_options_takes_its_defaults(written: Any) -> None:
    assert Config.parse({"optim": {"schedule": written}}).make_schedule() == Step()


@pytest.mark.parametrize("given", [[0.1, 0.2], (0.1, 0.2)])
def test_a_list_fills_a_tuple(given: Any) -> None:
    assert build(Step, {"milestones": given}) == Step(milestones=(0.1, 0.2))
    assert build(MR, {"milestones": []}).milestones == ()


@pytest.mark.parametrize("table", [METHODS, MODELS, SCHEDULES])
def test_a_schemas_defaults_are_the_dataclasses(table: dict[str, type]) -> None:
    for cls in table.values():
        assert build(cls, {}) == cls()
        assert schema(cls) is schema(cls)
    assert build(Constant, {}) == Constant()
