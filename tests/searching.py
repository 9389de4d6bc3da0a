"""Spaces, trials and whole searches for the tests of searchers."""

import copy
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tuning.holes import Choice, Hole, Int, Log, Option, Uniform, Value
from tuning.searchers import SEARCHERS, Problem, Searcher

FLAT = (
    Hole("optim/lr", Log(1e-3, 1.0)),
    Hole("mr/eta", Uniform(0.0, 1.0)),
    Hole("mr/lag", Int(1, 3)),
)
STEPS = Hole("optim/schedule/step/factor", Log(0.05, 0.5))
TREE = (
    Hole("optim/lr", Log(1e-3, 1.0)),
    Hole("optim/schedule", Choice((Option("cosine"), Option("step", (STEPS,))))),
    Hole("mr/on", Choice((Option(True), Option(1), Option(0), Option(False), Option(None)))),
)
SPACES = {"flat": FLAT, "tree": TREE}
# CMA-ES moves numbers only
ALL = [
    (kind, space) for kind in SEARCHERS for space in SPACES if (kind, space) != ("cmaes", "tree")
]
TREES = [kind for kind, space in ALL if space == "tree"]


@dataclass
class Seen:
    """A trial as searchers know it."""

    n: int
    params: dict[str, Value]
    status: str = "running"
    score: float | None = None
    diverged: bool = False
    curve: list[tuple[float, float]] = field(default_factory=list)
    costs: dict[str, float] = field(default_factory=dict)

    def cost(self, second: str) -> float | None:
        return self.costs.get(second)


def make(kind: str, space: str = "flat", **more: Any) -> Searcher:
    fields: dict[str, Any] = {"chain": "mr", "seed": 3, "mode": "max", "starts": []}
    return SEARCHERS[kind](Problem(SPACES[space], **fields | more))


def goodness(params: dict[str, Value]) -> float:
    rate = params["optim/lr"]
    assert isinstance(rate, float)
    return 1.0 - abs(rate - 0.1)


def finish(trial: Seen) -> None:
    """End it in one of five ways, by its number."""
    score = goodness(trial.params)
    if trial.n % 5 == 1:
        trial.status, trial.score = "stopped", score
        trial.curve = [(1.0, score / 2), (2.0, score)]
    elif trial.n % 7 == 3:
        trial.status = "failed"
    elif trial.n % 11 == 6:
        trial.status, trial.diverged = "done", True
    else:
        trial.status, trial.score, trial.curve = "done", score, [(1.0, score)]
        trial.diverged = trial.n % 3 == 2
    if trial.score is not None:
        trial.costs = {"epochs": 1.0 + trial.n % 4, "seconds": 0.1 + trial.n % 3}


Ask = tuple[int, list[Seen], dict[str, Value]]


def live(searcher: Searcher, trials: int, width: int) -> list[Ask]:
    """Run a study of `width` trials at a time; every ask with the records it was given."""
    order = random.Random(width)
    records: list[Seen] = []
    asks: list[Ask] = []
    while len(records) < trials:
        running = [record for record in records if record.status == "running"]
        if len(running) < width:
            known = copy.deepcopy(records)
            params = searcher.suggest(len(records), records)
            asks.append((len(records), known, params))
            records.append(Seen(len(records), json.loads(json.dumps(params))))
        else:
            finish(order.choice(running))
    return asks


def firsts(kind: str, column: str, space: str = "flat") -> Iterator[Value]:
    """The first suggestions of forty seeds."""
    for seed in range(40):
        searcher = make(kind, space, seed=seed)
        for n in range(5):
            yield searcher.suggest(n, []).get(column)
