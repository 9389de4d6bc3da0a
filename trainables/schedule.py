"""Learning-rate schedules as functions of progress: nothing to save, nothing to overwrite.

`progress` is finished steps / all steps, in [0, 1]. A schedule gives a factor on the initial
learning rate.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

from trainables.bounds import Fraction, Unit


@dataclass(frozen=True)
class Constant:
    """The learning rate stays as it is."""

    def __call__(self, progress: float) -> float:
        return 1.0


@dataclass(frozen=True)
class Cosine:
    """Half a cosine from 1 down to `floor`."""

    floor: Unit = 0.0  # share of the initial learning rate that is left at the end

    def __call__(self, progress: float) -> float:
        """
        >>> [round(Cosine(floor=0.1)(p), 3) for p in (0.0, 0.5, 1.0)]
        [1.0, 0.55, 0.1]
        """
        return self.floor + (1 - self.floor) * (1 + math.cos(math.pi * progress)) / 2


@dataclass(frozen=True)
class Step:
    """Multiply by `factor` at each milestone, never below `floor`."""

    milestones: tuple[Unit, ...] = (0.5, 0.75)  # shares of the training
    factor: Fraction = 0.1
    floor: Unit = 0.0

    def __call__(self, progress: float) -> float:
        """
        >>> [round(Step()(p), 3) for p in (0.49, 0.5, 0.75)]
        [1.0, 0.1, 0.01]
        """
        # progress is a quotient of integers: 3/10 must count as having reached 0.3
        passed = sum(progress >= milestone - 1e-9 for milestone in self.milestones)
        return max(self.factor**passed, self.floor)


Schedule = Callable[[float], float]
SCHEDULES: dict[str, type[Schedule]] = {"constant": Constant, "cosine": Cosine, "step": Step}
