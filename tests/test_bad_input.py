"""Data and chains at the edge of what can be trained: they finish, or say in one line why not."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from bites import LIVE
from toys import finish, tiny

from benchmarks.leaderboard import COMBINATIONS
from trainables.config import Config
from trainables.data.batch import Batch
from trainables.data.dataset import Dataset
from trainables.errors import ConfigError
from trainables.loop import Loop
from trainables.methods import METHODS
from trainables.methods.base import Method, Run
from trainables.methods.chain import parse
from tuning.search import main

CHAINS = ["ce", *METHODS, *COMBINATIONS]


def rows(data: Dataset, count: int) -> Dataset:
    """The first training rows, and 40 validation rows."""
    return replace(data, train=data.train[:count], validation=data.validation[:40])


def without(data: Dataset, *missing: int) -> Dataset:
    """No training row is given one of these classes."""
    given = data.given[torch.from_numpy(data.train)]
    kept = torch.isin(given, torch.tensor(missing), invert=True)
    return replace(data, train=data.train[kept.numpy()])


def two_classes(data: Dataset) -> Dataset:
    """Odd or even."""
    return replace(data, given=data.given % 2, clean=data.clean % 2, classes=("even", "odd"))


@dataclass(frozen=True)
class Edge:
    """A data set cut to its edge, and the batch it is trained with."""

    cut: Callable[[Dataset], Dataset]
    batch: int
    steps: int  # of an epoch


EDGES = {
    "two classes": Edge(lambda data: two_classes(rows(data, 64)), 16, 4),
    "a class absent from batches": Edge(lambda data: rows(data, 24), 4, 6),
    "a class absent from the split": Edge(lambda data: without(rows(data, 80), 3), 32, 3),
    "only one class in the split": Edge(lambda data: without(data, *range(1, 10)), 16, 3),
    "a batch larger than the data": Edge(lambda data: rows(data, 50), 1000, 1),
    "a remainder": Edge(lambda data: rows(data, 75), 32, 3),
    "a remainder of one": Edge(lambda data: rows(data, 65), 32, 2),
    "batches of one": Edge(lambda data: rows(data, 6), 1, 6),
    "a single row": Edge(lambda data: rows(data, 1), 32, 1),
}


def live(chain: str) -> dict[str, dict[str, Any]]:
    return {name: LIVE.get(name, {}) for name in parse(chain)}


def sound(loop: Loop) -> list[dict[str, Any]]:
    """Train to the end; weights, memories and reports must be finite."""
    reports = finish(loop)
    assert not loop.diverged
    assert loop.step == loop.steps
    assert all(value.isfinite().all() for value in loop.model.state_dict().values())
    memories = [m for state in loop.chain.state_dict().values() for m in state.values()]
    assert all(m.isfinite().all() for m in memories if isinstance(m, torch.Tensor))
    for report in reports:
        assert all(math.isfinite(value) for value in report.values()), report
    return reports


@pytest.mark.parametrize("edge", EDGES)
@pytest.mark.parametrize("chain", CHAINS)
def test_data_at_the_edge_trains(chain: str, edge: str, data: Dataset) -> None:
    given = EDGES[edge]
    cut = given.cut(data)
    loop = Loop(tiny(live(chain), optim={"batch": given.batch}), cut)
    assert loop.steps_per_epoch == given.steps
    seen: list[int] = []
    hooks = loop.chain.batch

    def watched(batch: Batch, run: Run) -> Batch:
        seen.extend(batch.index.tolist())
        return hooks(batch, run)

    loop.chain.batch = watched  # type: ignore[method-assign]
    reports = sound(loop)
    assert sorted(seen) == sorted(2 * list(range(len(cut.train))))  # every row, once an epoch
    assert reports[-1]["epoch"] == 2


# No weight


@dataclass
class Weightless(Method):
    """A toy that takes the weight off half of the rows, and in every second step off all of them.

    Attributes:
        steps: how many batches without weight it has made.
    """

    steps: ClassVar[int] = 0

    def batch(self, batch: Batch, run: Run) -> Batch:
        kept = torch.arange(len(batch.y)) % 2 if run.step % 2 else torch.zeros(len(batch.y))
        Weightless.steps += not kept.any()
        return replace(batch, y=batch.y * kept[:, None].to(batch.y))


@pytest.fixture(params=["first", "last"])
def weightless(request: pytest.FixtureRequest) -> Iterator[None]:
    """The toy in METHODS, before all others or after them."""
    before, toy = dict(METHODS), {"weightless": Weightless}
    METHODS.clear()
    METHODS.update(toy | before if request.param == "first" else before | toy)
    Weightless.steps = 0
    yield
    METHODS.clear()
    METHODS.update(before)


@pytest.mark.parametrize("chain", CHAINS)
@pytest.mark.usefixtures("weightless")
def test_batches_without_weight_do_no_harm(chain: str, data: Dataset) -> None:
    """Whether the weight is gone before the other methods see the batch, or after."""
    loop = Loop(tiny({**live(chain), "weightless": {}}), rows(data, 130))
    sound(loop)
    assert Weightless.steps == loop.steps / 2


@pytest.mark.parametrize("name", ["gce", "sce", "mae", "elr", "aux", "mixup", "smooth", "mr"])
@pytest.mark.usefixtures("weightless")
def test_a_batch_without_weight_moves_nothing(name: str, data: Dataset) -> None:
    config = tiny({name: LIVE[name], "weightless": {}}, optim={"decay": 0.0, "momentum": 0.0})
    loop = Loop(config, data)
    before = [parameter.detach().clone() for parameter in loop.parameters]
    loop.advance()
    assert loop.sums[0] == 0
    pairs = zip(before, loop.parameters, strict=True)
    assert all(torch.equal(old, new) for old, new in pairs)


# Two owners

LOSS = [name for name, method in METHODS.items() if method().owns_loss()]
DECAY = [name for name, method in METHODS.items() if method().owns_decay()]
RIVALS = [("loss", *pair) for pair in combinations(LOSS, 2)]
RIVALS += [("weight decay", *pair) for pair in combinations(DECAY, 2)]


@pytest.mark.parametrize(("what", "one", "other"), RIVALS)
def test_two_owners_are_refused(what: str, one: str, other: str) -> None:
    told = f"{one} and {other} would both set the {what} (take one of them out)"
    for text in (f"{one}+{other}", f"{other}+{one}", f"mr+{other}+{one}"):
        with pytest.raises(ConfigError) as error:
            parse(text)
        assert str(error.value) == told
    with pytest.raises(ConfigError) as error:
        Config.parse({"methods": {other: {}, one: {}}})
    assert str(error.value) == told


# owners by an option: the chain alone is none
BY_OPTION: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {
    "cdr and rdi": (
        {"cdr": {"decay": "l1"}, "rdi": {}},
        {"cdr": {"decay": "l2"}, "rdi": {}},
        "weight decay",
    ),
    "gce and aux": (
        {"gce": {}, "aux": {"fit": "mse"}},
        {"gce": {}, "aux": {"fit": "ce"}},
        "loss",
    ),
    "elr and aux": (
        {"aux": {"fit": "mse"}, "elr": {}},
        {"aux": {}, "elr": {}},
        "loss",
    ),
    "sop and aux": (
        {"aux": {"fit": "mse"}, "sop": {}},
        {"aux": {}, "sop": {}},
        "loss",
    ),
}


@pytest.mark.parametrize("pair", BY_OPTION)
def test_two_owners_by_an_option_are_refused(pair: str, data: Dataset) -> None:
    wrong, right, what = BY_OPTION[pair]
    for methods in (wrong, dict(reversed(wrong.items()))):
        with pytest.raises(ConfigError) as error:
            Config.parse({"methods": methods})
        by, key = next((name, key) for name, options in wrong.items() for key in options)
        default = {"decay": "l2", "fit": "ce"}[key]
        cure = f"take one of them out, or set methods.{by}.{key} = {default}"
        assert str(error.value) == f"{pair} would both set the {what} ({cure})"
    parse("+".join(right))
    sound(Loop(tiny(right), rows(data, 64)))


def test_there_are_pairs_to_refuse() -> None:
    assert len(RIVALS) == math.comb(len(LOSS), 2) + math.comb(len(DECAY), 2)
    assert {"gce", "sce", "mae", "elr"} < set(LOSS)
    assert "rdi" in DECAY


@pytest.mark.parametrize(
    ("command", "parts"),
    [
        (("--method", "gce+sce"), ("--method gce+sce", "gce and sce", "loss", "take one")),
        (("--method", "ce,mr+elr+mae"), ("mae and elr", "loss", "take one")),
        (("--method", "aux+gce", "--set", "methods.aux.fit=mse"), ("gce and aux", "loss", "take")),
        (
            ("--method", "cdr+rdi", "--set", "methods.cdr.decay={choice: [l2, l1]}"),
            ("cdr and rdi", "weight decay", "take one"),
        ),
    ],
)
def test_a_search_with_two_owners_ends_before_it_begins(
    command: tuple[str, ...],
    parts: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(list(command)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert all(part in err for part in parts), err
    assert not list(tmp_path.iterdir())
