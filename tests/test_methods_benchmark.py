"""What the benchmark of the methods' steps counts, and what it leaves out."""

import pytest

from benchmarks import methods, pairs
from benchmarks.methods import CASES, Case, live, target
from benchmarks.pairs import Side, Spent, compare
from trainables.config import Config
from trainables.data.dataset import Dataset
from trainables.methods import METHODS
from trainables.methods.reset import Reset

CASE = Case({"model": "fcnn", "optim": {"batch": 50, "lr": 0.01}})  # six steps an epoch


def side(data: Dataset, **options: dict[str, object]) -> Side:
    return Side(CASE.plain(options, "fp32", cuda=False), data)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_at_work(method: str):
    null, settings = METHODS[method].null, live(method, steps=1000)
    made = Config.parse({"methods": {method: settings}}).make_methods()[method]
    fields = {name: getattr(made, name, getattr(made, f"{name}_", None)) for name in null or {}}
    assert null is None or fields != dict(null)


def test_targets_name_methods_and_cases():
    assert set(methods.TARGETS) <= set(METHODS)
    assert all(any(network in case for case in CASES) for network in methods.NETWORKS)
    assert target("mr", "cifar10 resnet18 128") == 1.45
    assert target("smooth", "cifar10 resnet18 128") is None


@pytest.mark.parametrize("name", CASES)
def test_cases_are_trials(name: str):
    few = CASES[name].plain({"mr": {}}, "bf16", cuda=False)
    many = CASES[name].plain({"mr": {}}, "bf16", cuda=True)
    assert Config.parse(few).chain == Config.parse(many).chain == "mr"
    assert (few == many) == (CASES[name].few is None)


def test_validations_are_no_part_of_training(data: Dataset, monkeypatch: pytest.MonkeyPatch):
    now = 0.0

    def tick() -> float:
        return now

    monkeypatch.setattr(pairs, "clock", tick)
    plain = side(data)

    def slow() -> object:
        nonlocal now
        now += 7.0
        return validate()

    validate = plain._validate
    plain._validate = slow  # type: ignore[assignment]
    spent, checks = plain.train(2)
    assert (spent.wall, checks.wall) == (0.0, 14.0)
    assert plain.loop.step == 12


def test_resetting_validates_once_more_an_epoch(data: Dataset):
    ours = side(data, reset=live("reset", CASE.plain({}, "fp32", False)["epochs"] * 6))
    seen = []
    validate = ours._validate
    ours._validate = lambda: seen.append(ours.loop.step) or validate()  # type: ignore[func-returns-value]
    ours.train(2)
    assert sorted(set(seen)) == [2, 5, 8, 11]
    reset = ours.loop.chain.methods["reset"]
    assert isinstance(reset, Reset)
    assert reset.active


def test_turns_are_pairs(data: Dataset):
    found = compare(side(data, mr={}), side(data), turns=3, epochs=1)
    assert [len(x) for x in (found.step, found.wall, found.cpu, found.validations)] == [3] * 4
    assert min(found.wall) > 0
    assert min(found.own) > 0


def test_spent_takes_off_what_is_counted_apart():
    assert Spent(5.0, 3.0).less(Spent(1.0, 2.0)) == Spent(4.0, 1.0)
