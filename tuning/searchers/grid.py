"""Every point of a grid, once."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from trainables.errors import ConfigError
from trainables.rng import seed_of
from tuning.holes import Choice, Hole, Int, Log, Value
from tuning.searchers.base import Known, Problem
from tuning.searchers.random import drawn

LARGEST = 1_000_000  # points; nobody runs more, and their order is held in memory


class Grid:
    """`points` values for each number, every option of each choice, inner holes where they exist.

    Both ends of a range are on its axis. Start points come first; a point equal to one is not run
    again. The order of the others is a shuffle by the seed, so any first part covers the grid.

    Raises:
        ConfigError: the grid has more points than anybody can run.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        count = size(problem.holes, problem.points)
        if count > LARGEST:
            raise ConfigError(
                f"searcher = grid: {problem.chain} has {count:,} points, at most {LARGEST:,} are "
                f"possible (lower --grid-points {problem.points}, or fix holes with --set)"
            )
        self.count = count

    @property
    def most(self) -> int:
        return len(self.problem.starts) + len(self.order)

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """The points behind the start points, in the order in which they are run."""
        problem = self.problem
        starts = [drawn(problem, n) for n in range(len(problem.starts))]
        taken = [number_of(problem.holes, start, problem.points) for start in starts]
        key = seed_of("grid", problem.seed, problem.chain)
        shuffled = np.random.Generator(np.random.Philox(key=key)).permutation(self.count)
        return shuffled[~np.isin(shuffled, [number for number in taken if number is not None])]

    def suggest(self, n: int, records: Sequence[Known]) -> dict[str, Value]:
        problem, begun = self.problem, len(self.problem.starts)
        if n < begun:
            return drawn(problem, n)
        return point(problem.holes, int(self.order[n - begun]), problem.points)


def size(holes: Sequence[Hole], points: int) -> int:
    """How many points the grid over these holes has.

    >>> from tuning.holes import Option, Uniform
    >>> inner = Hole("step", Uniform(0.0, 1.0))
    >>> choice = Hole("schedule", Choice((Option("cosine"), Option("step", (inner,)))))
    >>> size([choice, Hole("lag", Int(1, 2))], points=5)
    12
    """
    count = 1
    for hole in holes:
        count *= sum(size(opened, points) for _, opened in _axis(hole, points))
    return count


def point(holes: Sequence[Hole], number: int, points: int) -> dict[str, Value]:
    """Point `number` of the grid, the last hole's axis the fastest."""
    values: dict[str, Value] = {}
    rest = size(holes, points)
    for hole in holes:
        axis = _axis(hole, points)
        sizes = [size(opened, points) for _, opened in axis]
        rest //= sum(sizes)
        chosen, number = divmod(number, rest)
        for (value, opened), inside in zip(axis, sizes, strict=True):
            if chosen < inside:
                values |= {hole.column: value, **point(opened, chosen, points)}
                break
            chosen -= inside
    return values


def number_of(holes: Sequence[Hole], params: dict[str, Value], points: int) -> int | None:
    """The number of a point, the way back from `point`; None for values beside the grid."""
    number = 0
    for hole in holes:
        axis = _axis(hole, points)
        before = 0
        for value, opened in axis:
            if _same(value, params[hole.column]):
                inside = number_of(opened, params, points)
                break
            before += size(opened, points)
        else:
            return None
        if inside is None:
            return None
        number = number * size([hole], points) + before + inside
    return number


def _axis(hole: Hole, points: int) -> list[tuple[Value, tuple[Hole, ...]]]:
    """The values of a hole on the grid, each with the holes that it opens."""
    domain = hole.domain
    if isinstance(domain, Choice):
        return [(option.value, option.holes) for option in domain.options]
    if isinstance(domain, Int):
        whole = np.linspace(domain.low, domain.high, points).round()
        return [(value, ()) for value in dict.fromkeys(int(x) for x in whole)]
    spread = np.geomspace if isinstance(domain, Log) else np.linspace
    low, high = float(domain.low), float(domain.high)
    inner = [float(f"{x:.9e}") for x in spread(low, high, points)[1:-1]]
    return [(value, ()) for value in dict.fromkeys([low, *inner, high])]


def _same(one: Value, other: Value) -> bool:
    """Equal and of one kind; floats to ten digits, as on the axes."""
    if isinstance(one, float) and isinstance(other, float):
        return f"{one:.9e}" == f"{other:.9e}"
    return type(one) is type(other) and one == other
