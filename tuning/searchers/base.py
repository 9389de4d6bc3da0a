"""What a searcher is told, what it may know of a trial, and what it must be able to do."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tuning.holes import Hole, Value

RANDOM_FIRST = 10  # suggestions before a model is asked, start points among them


@dataclass(frozen=True)
class Problem:
    """The holes of one chain, and what a good trial is.

    Attributes:
        holes: of the chain.
        chain: its name, which keeps chains of one seed apart.
        starts: the first trials' values; holes they do not name are searched.
        seed: of the search.
        mode: `max` or `min`, of the score.
        second: what is made small besides, `epochs` or `seconds`; `none` for nothing.
        points: on a grid's axis of each number.
    """

    holes: tuple[Hole, ...]
    chain: str
    starts: Sequence[dict[str, Value]] = ()
    seed: int = 0
    mode: str = "max"
    second: str = "none"
    points: int = 5

    def start(self, n: int) -> dict[str, Value]:
        """What trial n is given; empty behind the start points."""
        return self.starts[n] if n < len(self.starts) else {}


class Known(Protocol):
    """What a searcher may know of a trial."""

    @property
    def params(self) -> dict[str, Value]: ...
    @property
    def status(self) -> str: ...
    @property
    def score(self) -> float | None: ...
    @property
    def diverged(self) -> bool: ...
    @property
    def curve(self) -> list[tuple[float, float]]: ...
    def cost(self, second: str) -> float | None:
        """Epochs or seconds up to the score; None before there is one."""
        ...


class Searcher(Protocol):
    """Suggests values for the holes of one chain."""

    @property
    def most(self) -> int | None:
        """How many suggestions there are; None where there is no end."""
        ...

    def suggest(self, n: int, records: Sequence[Known]) -> dict[str, Value]:
        """The values of trial n, by column, given the trials before it as they are known now."""
        ...
