"""Sobol's sequence, scrambled: draws that leave no corner of the space empty."""

import warnings
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from trainables.rng import seed_of
from tuning.holes import Hole, Value, fill, walk
from tuning.searchers.base import Known, Problem
from tuning.searchers.random import at, drawn


class Sobol:
    """Point n of the sequence over all holes, those that are closed dropped; knows no records.

    Start points come before the sequence, so that it has no gaps.
    """

    most = None

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @cached_property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(hole.column for hole in walk(self.problem.holes)))

    def suggest(self, n: int, records: Sequence[Known]) -> dict[str, Value]:
        number = n - len(self.problem.starts)
        if number < 0 or not self.columns:
            return drawn(self.problem, n)
        u = dict(zip(self.columns, self._point(number), strict=True))

        def ask(hole: Hole) -> Value:
            return at(hole, u[hole.column])

        return fill(self.problem.holes, ask)

    def _point(self, number: int) -> list[float]:
        """A point of the unit cube, whatever was asked for before."""
        # SciPy's statistics take 2 s to import, which only those who search so should wait for
        from scipy.stats.qmc import Sobol as Sequence_

        key = seed_of("sobol", self.problem.seed, self.problem.chain)
        rng = np.random.Generator(np.random.PCG64(key))  # Philox with a key cannot spawn
        sequence: Any = Sequence_(len(self.columns), scramble=True, rng=rng)
        if number:
            sequence.fast_forward(number)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that one point alone is not balanced
            return [float(x) for x in sequence.random(1)[0]]
