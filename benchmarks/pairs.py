"""Two trainings timed in turns, epoch by epoch, their validations apart."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.machine import clock
from trainables.config import Config
from trainables.data.dataset import Dataset
from trainables.loop import Loop
from trainables.methods.base import Score


@dataclass
class Spent:
    """Seconds by the clock and of the processor."""

    wall: float = 0.0
    cpu: float = 0.0

    @contextmanager
    def counted(self) -> Iterator[None]:
        wall, cpu = clock(), time.process_time()
        yield
        self.wall += clock() - wall
        self.cpu += time.process_time() - cpu

    def less(self, other: "Spent") -> "Spent":
        return Spent(self.wall - other.wall, self.cpu - other.cpu)


class Side:
    """One of the two that are compared: trains epochs, and times validations apart."""

    def __init__(self, plain: dict[str, Any], data: Dataset) -> None:
        self.loop = Loop(Config.parse(plain), data)
        self.loop.model.train()
        self.validations = Spent()
        self._validate = self.loop.validate
        self.loop.validate = self._timed  # type: ignore[method-assign]

    def _timed(self) -> Score:
        with self.validations.counted():
            return self._validate()

    def train(self, epochs: int) -> tuple[Spent, Spent]:
        """What training took, and what its validations took."""
        self.validations, whole = Spent(), Spent()
        with whole.counted():
            for _ in range(epochs * self.loop.steps_per_epoch):
                self.loop.advance()
        return whole.less(self.validations), self.validations


@dataclass
class Turns:
    """What a method took of plain training, turn by turn.

    Attributes:
        step: seconds of a plain step.
        wall, cpu: ratios of the seconds of training, validations not counted.
        validations: what more of them took, as a share of the plain epoch.
        own: a plain epoch's own validation, likewise.
    """

    step: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    validations: list[float] = field(default_factory=list)
    own: list[float] = field(default_factory=list)


def compare(ours: Side, plain: Side, turns: int, epochs: int) -> Turns:
    """Train both in turns."""
    found, steps = Turns(), epochs * plain.loop.steps_per_epoch
    for turn in range(turns + 1):
        first = ours.train(epochs) if turn % 2 else None
        theirs, checks = plain.train(epochs)
        mine, more = first or ours.train(epochs)
        if turn:
            found.step.append(theirs.wall / steps)
            found.wall.append(mine.wall / theirs.wall)
            found.cpu.append(mine.cpu / theirs.cpu)
            found.validations.append((more.wall - checks.wall) / theirs.wall)
            found.own.append(checks.wall / theirs.wall)
    return found
