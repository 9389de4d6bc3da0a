"""Independent draws."""

import math
from collections.abc import Sequence

import numpy as np

from trainables.rng import seed_of
from tuning.holes import Choice, Hole, Int, Log, Value, fill
from tuning.searchers.base import Known, Problem


class Random:
    """Draws every hole of every trial by itself; knows no records."""

    most = None

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def suggest(self, n: int, records: Sequence[Known]) -> dict[str, Value]:
        return drawn(self.problem, n)


def drawn(problem: Problem, n: int) -> dict[str, Value]:
    """Trial n: its start point, and a draw for each hole that the point leaves open."""
    start = problem.start(n)
    key = seed_of("random", problem.seed, problem.chain, n)
    draws = np.random.Generator(np.random.Philox(key=key))

    def ask(hole: Hole) -> Value:
        u = draws.random()  # also where a start decides: the other draws stay
        return start[hole.column] if hole.column in start else at(hole, u)

    return fill(problem.holes, ask)


def at(hole: Hole, u: float) -> Value:
    """The value of a hole at the quantile u in [0, 1).

    >>> from tuning.holes import Uniform
    >>> at(Hole("mr/lag", Int(1, 3)), 0.5), at(Hole("mr/eta", Uniform(0.0, 4.0)), 0.25)
    (2, 1.0)
    """
    domain = hole.domain
    if isinstance(domain, Choice):
        return domain.options[int(u * len(domain.options))].value
    if isinstance(domain, Int):
        return domain.low + int(u * (domain.high - domain.low + 1))
    if isinstance(domain, Log):
        value = math.exp(math.log(domain.low) * (1 - u) + math.log(domain.high) * u)
    else:
        value = domain.low * (1 - u) + domain.high * u
    return min(max(value, domain.low), domain.high)
