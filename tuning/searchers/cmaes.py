"""CMA-ES by generations: a normal distribution that moves towards what did well."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainables.errors import ConfigError
from trainables.methods import METHODS
from trainables.rng import seed_of
from tuning.holes import Choice, Domain, Int, Log, Value
from tuning.searchers.base import Known, Problem
from tuning.searchers.random import at, drawn

SPREAD = 0.25  # first standard deviation, of a hole's width
Told = tuple[dict[str, Value], str, float | None, bool]  # values, status, score, diverged


class CMAES:
    """Draws from the newest distribution that whole generations have shaped.

    Behind the start points, trials count in generations of `size`: the first `size` trials are
    generation 0, and so on. A generation is folded into the distribution once all its trials have
    ended and all generations before it are folded. Trial n is drawn from the distribution then,
    with a generator of its own, seeded by n. So at concurrency 1 it is drawn from what all earlier
    generations have shaped; at more, the first trials of a generation may be drawn while the one
    before it still has open trials, and then come from the older distribution. They count for the
    generation in which they stand all the same.

    Only the order of scores within a generation counts. A trial that was stopped has its score; one
    that failed or diverged stands behind all others; a generation without any score moves nothing.

    Raises:
        ConfigError: a hole is a choice, which has no mean.
    """

    most = None

    def __init__(self, problem: Problem) -> None:
        for hole in problem.holes:
            if isinstance(hole.domain, Choice):
                field = hole.column.replace("/", ".")
                if field.partition(".")[0] in METHODS:
                    field = f"methods.{field}"
                raise ConfigError(
                    f"searcher = cmaes: {field} of {problem.chain} is a choice, and cmaes moves "
                    f"numbers only (fix it: --set {field}={hole.domain.options[0].value}; or take "
                    "--searcher tpe)"
                )
        self.problem = problem
        self.size = 4 + math.floor(3 * math.log(max(1, len(problem.holes))))  # Hansen's
        self._renew()

    def suggest(self, n: int, records: Sequence[Known]) -> dict[str, Value]:
        problem, begun = self.problem, len(self.problem.starts)
        if n < begun or not problem.holes:
            return drawn(problem, n)
        self._fold([_told(record) for record in records[begun:n]])
        self.state.reseed_rng(seed_of("cmaes", problem.seed, problem.chain, n) % 2**32)
        drawing = self.state.ask()
        return {
            hole.column: at(hole, min(float(u), 1 - 2**-53))
            for hole, u in zip(problem.holes, drawing, strict=True)
        }

    def _fold(self, told: list[Told]) -> None:
        """Bring the distribution to where these trials, behind the start points, lead it."""
        if self.folded != told[: len(self.folded)]:
            self._renew()
        while len(self.folded) + self.size <= len(told):
            generation = told[len(self.folded) : len(self.folded) + self.size]
            if any(status not in ("done", "stopped", "failed") for _, status, _, _ in generation):
                return
            self.folded += generation
            losses = [self._loss(one) for one in generation]
            if min(losses) < math.inf:
                ranks = np.argsort(np.argsort(losses, kind="stable"), kind="stable")
                points = [self._unit(params) for params, _, _, _ in generation]
                self.state.tell(list(zip(points, map(float, ranks), strict=True)))

    def _loss(self, told: Told) -> float:
        _, status, score, diverged = told
        if status == "failed" or diverged or score is None:
            return math.inf
        return -score if self.problem.mode == "max" else score

    def _unit(self, params: dict[str, Value]) -> NDArray[np.float64]:
        return np.array([_quantile(h.domain, params[h.column]) for h in self.problem.holes])

    def _renew(self) -> None:
        """The first distribution, around the first start point where that names a hole."""
        if not self.problem.holes:
            return
        # it imports SciPy's statistics, 2 s, which only those who search so should wait for
        from cmaes import CMA

        first = self.problem.start(0)
        mean = [_quantile(h.domain, first.get(h.column)) for h in self.problem.holes]
        bounds = np.array([[0.0, 1.0]] * len(mean))
        self.state: Any = CMA(np.array(mean), SPREAD, bounds=bounds, population_size=self.size)
        self.folded: list[Told] = []


def _told(record: Known) -> Told:
    return record.params, record.status, record.score, record.diverged


def _quantile(domain: Domain, value: Value) -> float:
    """Where a value lies in its hole, 0 to 1, a whole number in its middle; None lies half way."""
    if value is None or isinstance(value, str) or isinstance(domain, Choice):
        return 0.5
    low, high = float(domain.low), float(domain.high)
    if isinstance(domain, Int):
        low, high = low - 0.5, high + 0.5
    elif isinstance(domain, Log):
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (float(value) - low) / (high - low) if high > low else 0.5
