"""What every method promises, and every pair of them. No contract knows a method by its name."""

import dataclasses
from itertools import combinations, islice
from typing import Any, ClassVar

import pytest
import torch
from bites import BITES, LIVE, Bite
from toys import (
    DROPOUT,
    Follower,
    differences,
    finish,
    plain,
    state_of,
    through_disk,
    tiny,
    untimed,
)

from trainables import snapshot
from trainables.config import Config
from trainables.data.batch import Batch
from trainables.data.dataset import Dataset
from trainables.errors import ConfigError
from trainables.loop import Loop
from trainables.methods import METHODS
from trainables.methods.base import Method
from trainables.methods.chain import name_of, ordered, parse
from trainables.trial import Trial


def allowed() -> list[str]:
    """The empty chain, every method, every pair that may run together."""
    chains = []
    for names in [(), *((name,) for name in METHODS), *combinations(METHODS, 2)]:
        try:
            chains.append(name_of(ordered(names)))
        except ConfigError:
            continue
    return chains


CHAINS = allowed()
FIELDS = [(name, key) for name, bites in BITES.items() for key in bites]


def live(chain: str) -> dict[str, dict[str, Any]]:
    """Settings under which each method of the chain acts within a few steps."""
    return {name: LIVE.get(name, {}) for name in parse(chain)}


def moved(name: str, key: str, bite: Bite) -> tuple[Config, Config]:
    """Two trials that differ in one field of one method."""
    base = LIVE[name] | bite.base
    return (
        tiny({**bite.others, name: base}),
        tiny({**bite.others, name: base | {key: bite.value}}),
    )


# Resume


def noted(loop: Loop) -> list[Any]:
    """Learning rate and running sums of each step: a reset may heal what a resume got wrong."""
    steps: list[Any] = []
    advance = loop.advance

    def note() -> Any:
        told = advance()
        steps.append((told, loop.sums.clone()))
        return told

    loop.advance = note
    return steps


@pytest.mark.parametrize("cut", [10, 13], ids=["epoch-end", "inside"])
@pytest.mark.parametrize("chain", [*CHAINS, "follower+reset"])
@pytest.mark.usefixtures("follower")
def test_resume_goes_on_bit_for_bit(chain: str, cut: int, data: Dataset) -> None:
    config = tiny(live(chain))
    undisturbed = Loop(config, data)
    steps = noted(undisturbed)
    reports = [untimed(report) for report in finish(undisturbed)]

    first = Loop(config, data)
    while first.step < cut:
        first.advance()
    state, kept = through_disk(first.state_dict()), through_disk(first.kept)
    finish(first)  # what was saved is a copy: training on must not reach it
    second = Loop(config, data)
    second.load_state_dict(state, kept)
    later = noted(second)
    rest = [untimed(report) for report in finish(second)]

    assert differences(later, steps[cut:]) == []
    assert rest == [report for report in reports if report["step"] > cut]
    assert differences(state_of(second), state_of(undisturbed)) == []


@pytest.mark.parametrize("optim", ["adam", "adamw"])
def test_resume_keeps_every_optimizer(optim: str, data: Dataset) -> None:
    config = tiny(live("mr+reset"), optim={"name": optim, "lr": 0.01})
    undisturbed, first, second = (Loop(config, data) for _ in range(3))
    finish(undisturbed)
    while first.step < 13:
        first.advance()
    second.load_state_dict(through_disk(first.state_dict()), through_disk(first.kept))
    finish(second)
    assert differences(state_of(second), state_of(undisturbed)) == []


# Null, mass, quiet


@pytest.mark.parametrize("name", [name for name in METHODS if METHODS[name].null is not None])
def test_null_settings_equal_plain_training(name: str, data: Dataset) -> None:
    null = {**LIVE[name], **(METHODS[name].null or {})}
    off = Loop(tiny({name: null}), data)
    decay = 0.0 if off.chain.owns_decay else off.decay
    without = Loop(tiny(optim={"decay": decay}), data)
    plainly = [untimed(report) for report in finish(without)]
    ends = [untimed(report) for report in finish(off) if report["scored"]]
    # a method may end reports early and add metrics of its own; all that plain training tells stays
    told = [{key: report[key] for key in one} for report, one in zip(ends, plainly, strict=True)]
    for report in [*told, *plainly]:
        del report["kept"]
    assert told == plainly
    for key in ("model", "optimizer", "selected"):
        assert differences(off.state_dict()[key], without.state_dict()[key]) == []


@pytest.mark.parametrize("chain", CHAINS)
def test_mass_of_the_targets_does_not_matter(
    chain: str, data: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses: list[torch.Tensor] = []
    learned: list[Any] = []
    for factor in (1.0, 4.0):  # scaled exactly: rounding might move what stands at a threshold
        loop = Loop(tiny(live(chain)), data)
        for _ in range(loop.steps_per_epoch):
            loop.advance()
        hooks = loop.chain.batch

        def scaled(batch: Batch, run: Any, hooks: Any = hooks, by: float = factor) -> Batch:
            batch = hooks(batch, run)
            return dataclasses.replace(batch, y=batch.y * by)

        monkeypatch.setattr(loop.chain, "batch", scaled)
        loop.advance()
        losses.append(loop.sums[0])
        learned.append((snapshot.weights(loop.model), loop.chain.state_dict()))
    assert losses[0] > 0
    torch.testing.assert_close(losses[0], losses[1], rtol=1e-6, atol=0)
    torch.testing.assert_close(*learned, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("chain", CHAINS)
def test_quiet_methods_leave_batches_and_views_alone(chain: str, data: Dataset) -> None:
    seen: list[list[tuple[torch.Tensor, torch.Tensor]]] = []
    for name in ("ce", chain):
        loop = Loop(tiny(live(name)), data)
        seen.append([])
        hooks = loop.chain.batch

        def watched(batch: Batch, run: Any, hooks: Any = hooks) -> Batch:
            seen[-1].append((batch.index.clone(), batch.x.clone()))
            return hooks(batch, run)

        loop.chain.batch = watched
        finish(loop)
    assert len(seen[0]) == 20
    assert differences(*seen) == []


class Listening:
    """A run that notes from which streams a method's hooks draw, but not what the run draws."""

    def __init__(self, run: Loop) -> None:
        self.run = run
        self.names: set[str] = set()

    def __getattr__(self, key: str) -> Any:
        return getattr(self.run, key)

    def stream(self, name: str, device: str = "cpu") -> torch.Generator:
        self.names.add(name)
        return self.run.stream(name, device)


def test_no_two_draw_from_one_stream(data: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: dict[str, set[str]] = {}
    for name in METHODS:
        loop = Loop(tiny({name: LIVE[name]}), data)
        listening = Listening(loop)
        loop.chain.methods[name].start(listening)
        for hook in ("batch", "logits", "loss", "penalty", "grads", "step", "epoch"):
            method = getattr(loop.chain.methods[name], hook)

            def heard(*given: Any, method: Any = method, run: Listening = listening) -> Any:
                return method(*given[:-1], run)

            monkeypatch.setattr(loop.chain.methods[name], hook, heard)
        finish(loop)
        drawn[name] = listening.names
    assert sum(map(bool, drawn.values())) > 4
    ours = {"view", "strong", "layers", "order", "model"}
    for chain in CHAINS:
        together = [*ours, *(stream for name in parse(chain) for stream in drawn[name])]
        assert len(together) == len(set(together)), chain


# Bite


def test_bites_cover_every_field_of_every_method() -> None:
    fields = {
        name: {field.name.rstrip("_") for field in dataclasses.fields(method)}
        for name, method in METHODS.items()
    }
    assert {name: set(bites) for name, bites in BITES.items()} == fields
    assert set(LIVE) == set(METHODS)


@pytest.mark.parametrize(("name", "key"), FIELDS)
@pytest.mark.usefixtures("follower")
def test_every_field_changes_the_weights(name: str, key: str, data: Dataset) -> None:
    weights = []
    for config in moved(name, key, BITES[name][key]):
        loop = Loop(config, data)
        finish(loop)
        assert not loop.diverged
        weights.append(snapshot.weights(loop.model))
    assert differences(*weights)


@pytest.mark.parametrize("name", METHODS)
def test_live_settings_change_the_weights(name: str, data: Dataset) -> None:
    loops = [Loop(tiny(), data), Loop(tiny({name: LIVE[name]}), data)]
    for loop in loops:
        finish(loop)
    assert differences(*(snapshot.weights(loop.model) for loop in loops))


# What follows the model


def test_the_memories_that_a_reset_takes_back_are_these() -> None:
    """What is learned with the network goes back with it; evidence and counters stay."""
    follow = {name for name, method in METHODS.items() if method.follows_model}
    assert follow == {"sop", "sop-plus", "elr", "aux"}


MOVING = {"model", "optimizer", "follower"}


@pytest.mark.parametrize("optimizer", [True, False])
@pytest.mark.parametrize("memories", [True, False])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.usefixtures("follower")
def test_a_reset_takes_back_what_follows_the_model_and_nothing_else(
    name: str, memories: bool, optimizer: bool, data: Dataset
) -> None:
    loop = Loop(tiny({name: LIVE[name], "follower": {}}), data)
    for _ in range(3):
        loop.advance()
    loop.keep()
    loop.advance()
    then = loop.state_dict()
    kept = snapshot.copied(loop.kept)
    whole = snapshot.copied(kept)
    loop.advance()
    while not differences(loop.state_dict()["model"], then["model"]):  # the chain may go back, too
        loop.advance()
    loop.kept = kept  # the chain may have kept a later state
    before = loop.state_dict()
    loop.back(optimizer=optimizer, memories=memories)
    after = loop.state_dict()

    methods = loop.chain.methods
    back = {"/model"} | ({"/optimizer"} if optimizer else set())
    back |= {f"/methods/{key}" for key in methods if methods[key].follows_model and memories}
    for key, value in after["methods"].items():
        place = f"/methods/{key}"
        source = then if place in back else before
        assert differences(value, source["methods"][key]) == [], place
    for key in after.keys() - {"methods"}:
        source = then if f"/{key}" in back else before
        assert differences(after[key], source[key]) == [], key
    # the test must have seen all of it move
    for one, other in ((then, before), (then["methods"], before["methods"])):
        assert all(differences(one[key], other[key]) for key in one if key in MOVING), MOVING
    finish(loop)
    assert differences(kept, whole) == []


@pytest.mark.parametrize(("name", "key"), FIELDS)
@pytest.mark.usefixtures("follower")
def test_epoch_hooks_leave_the_model_and_its_followers_alone(
    name: str, key: str, data: Dataset
) -> None:
    config = moved(name, key, BITES[name][key])[1]
    config = Config.parse(config.plain | {"methods": {"follower": {}, **config.methods}})
    loop = Loop(config, data)
    while (loop.step + 1) % loop.steps_per_epoch:
        loop.advance()
    hooks, calls = loop.chain.epoch, []

    def watched(run: Any) -> None:
        before = loop.target(loop.state_dict())
        hooks(run)
        calls.append(differences(loop.target(loop.state_dict()), before))

    loop.chain.epoch = watched
    loop.advance()
    assert calls == [[]]


# Reuse of an actor


def all_of(trial: Trial) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    reports = []
    while not trial.loop.ended:
        reports.append(untimed(trial.step()))
    return state_of(trial.loop), reports


@pytest.fixture
def folder(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray gives a Trainable without a storage a folder here, not in the user's home."""
    monkeypatch.setattr("ray.tune.trainable.trainable.DEFAULT_STORAGE_PATH", str(tmp_path))


@pytest.mark.parametrize("failing", [False, True])
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.usefixtures("folder")
def test_a_reused_actor_trains_like_a_fresh_one(name: str, failing: bool) -> None:
    a = plain({name: LIVE[name]}, optim={"batch": 256})
    other = next(chain for chain in CHAINS if "+" in chain and name not in parse(chain))
    optim = {"name": "adam", "batch": 200, "lr": 0.01}
    b = plain(live(other), model={"cnn": {"width": 5}}, optim=optim)
    again = plain({name: LIVE[name]}, optim={"batch": 256, "lr": 0.02}, seed=1)

    used = Trial(config=a)
    used.step()
    if failing:
        with pytest.raises(ConfigError, match="unknown field"):
            used.reset(plain({name: {"nonsense": 1}}))
    else:
        used.reset(b)
        used.step()  # and given up in the middle, as a scheduler would
    assert used.reset(again)
    fresh = Trial(config=again)
    assert differences(all_of(used), all_of(fresh)) == []
    used.stop()
    fresh.stop()


# Names and order


@pytest.mark.parametrize("method", [*METHODS.values(), Follower])
def test_no_field_hides_a_hook(method: type[Method]) -> None:
    hooks = {name for name in vars(Method) if not name.startswith("__")}
    fields = {field.name for field in dataclasses.fields(method)}
    assert not fields & hooks
    assert {"batch", "logits", "loss", "penalty", "grads", "step", "epoch"} <= hooks
    assert {"suspicion", "rows", "state_dict", "clash", "null"} <= hooks


@pytest.mark.parametrize("name", METHODS)
def test_null_settings_are_fields(name: str) -> None:
    null = METHODS[name].null or {}
    assert set(null) <= {field.name.rstrip("_") for field in dataclasses.fields(METHODS[name])}


def test_the_order_is_that_of_the_table_whatever_is_typed() -> None:
    names = list(METHODS)
    owners = [name for name in names if METHODS[name]().owns_loss()]
    chain = [name for name in names if name not in owners[1:]]
    assert parse("+".join(reversed(chain))) == tuple(chain)
    assert name_of(parse("+".join(islice(reversed(names), 2)))) == "+".join(names[-2:])
    # weights before mixing, and a reset after everything the step has changed
    assert names.index("mr") < names.index("smooth") < names.index("mixup")
    assert names.index("sop-plus") < names.index("mixup")  # both views are mixed alike
    assert names.index("cdr") < names.index("rdi")  # the pull is not masked
    assert names[-1] == "reset"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("mrr", "unknown method 'mrr' (did you mean mr?)"),
        ("", "unknown method ''"),
        ("mr+", "unknown method ''"),
        ("mr+mixup+mr", "method 'mr' stands twice in mr+mixup+mr"),
        ("ce+mr", "ce is the empty chain and joins no other"),
        ("mr+ce", "ce is the empty chain and joins no other"),
    ],
)
def test_a_chain_refuses(text: str, told: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(text)
    assert str(error.value).startswith(told)


@pytest.mark.parametrize("text", ["mr+rival", "rival+mr"])
def test_a_chain_refuses_declared_clashes(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Rival(Method):
        clash: ClassVar = {"mr": "they are rivals"}

    monkeypatch.setitem(METHODS, "rival", Rival)
    with pytest.raises(ConfigError, match=r"cannot run with .*: they are rivals"):
        parse(text)
    assert parse("smooth+rival") == ("smooth", "rival")


def test_the_model_of_these_tests_draws_in_training() -> None:
    assert tiny().make_model() == Config.parse({"model": DROPOUT}).make_model()
    assert tiny().make_model().dropout > 0


@pytest.mark.parametrize("weights", [{"mr": {"eta": 5.0}}, {"random-weights": {}}], ids=list)
def test_weights_leave_what_examples_hold_in_bounds(weights: Any, data: Dataset) -> None:
    """In every allowed chain of weights and two methods, one of which learns row by row."""
    learning = {name for name, method in METHODS.items() if method.follows_model}
    for pair in combinations(METHODS, 2):
        if not learning & set(pair) or set(weights) & set(pair):
            continue
        try:
            chain = name_of(ordered((*weights, *pair)))
        except ConfigError:
            continue
        loop = Loop(tiny(live(chain) | weights), data)
        for _ in range(loop.steps_per_epoch):
            loop.advance()
        for name in learning & set(pair):
            for key, value in loop.chain.methods[name].state_dict().items():
                assert value.double().abs().max() < 1e3, f"{chain}: {name} {key}"
