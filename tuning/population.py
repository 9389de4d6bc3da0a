"""Who takes over from whom when a generation of population based training turns, and with what.

The worst quarter each go on from the state of a member of the best quarter, with hyperparameters of
its that are changed a little. All is a function of scores and names; see `tuning.schedulers.pbt`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from trainables.rng import seed_of
from tuning.holes import Choice, Hole, Int, Value, fill
from tuning.searchers.random import at

REDRAWN = 0.25  # of the holes
FACTORS = (0.8, 1.2)


class Member(Protocol):
    """What must be known of a trial that stands at the end of its generation."""

    @property
    def name(self) -> str: ...
    @property
    def n(self) -> int: ...
    @property
    def params(self) -> dict[str, Value]: ...
    @property
    def score(self) -> float | None: ...


@dataclass(frozen=True)
class Take:
    """A member goes on from the state of another one, with values of its own."""

    trial: str
    donor: str
    params: dict[str, Value]


@dataclass(frozen=True)
class Stage:
    """The values a member has from an epoch on.

    Attributes:
        generation: the first one with these values.
        epoch: epochs trained when they came into force.
        donor: whose state it then took over; None for its own beginning.
    """

    generation: int
    epoch: float
    donor: str | None
    params: dict[str, Value]


class Staged(Member, Protocol):
    """A trial with what it went through."""

    @property
    def stages(self) -> Sequence[Stage]: ...


def takes(
    members: Sequence[Member],
    holes: Sequence[Hole],
    *,
    chain: str,
    generation: int,
    seed: int,
    mode: str,
) -> Iterator[Take]:
    """Who takes over from whom as a generation begins; the worst last.

    Args:
        members: all that stand at the end of the one before; what failed or diverged is not there.
        generation: the one that begins, from 1.
    """
    better = 1.0 if mode == "max" else -1.0
    ranked = sorted(members, key=lambda m: (-better * (m.score or 0.0), m.n))
    count = min(-(-len(ranked) // 4), len(ranked) // 2)  # of two, one; a lone one has no donor
    for member in ranked[len(ranked) - count :]:
        key = seed_of("pbt", seed, chain, member.n, generation)
        draws = np.random.Generator(np.random.Philox(key=key))
        donor = ranked[int(draws.random() * count)]
        yield Take(member.name, donor.name, explored(holes, donor.params, draws))


def explored(
    holes: Sequence[Hole], params: Mapping[str, Value], draws: np.random.Generator
) -> dict[str, Value]:
    """A donor's values, changed: each hole is drawn anew with a chance of a quarter, else a number
    becomes 0.8 or 1.2 times what it was, within its hole, and a choice stays.
    """

    def ask(hole: Hole) -> Value:
        again, place, up = map(float, draws.random(3))  # the same number for every hole
        if again < REDRAWN or hole.column not in params:
            return at(hole, place)
        value = params[hole.column]
        if isinstance(hole.domain, Choice):
            return value
        assert isinstance(value, int | float)
        return scaled(hole, value, FACTORS[int(2 * up)])

    return fill(holes, ask)


def scaled(hole: Hole, value: float, factor: float) -> Value:
    """A number times a factor, within its hole; a whole number moves by at least one.

    >>> scaled(Hole("mr/lag", Int(1, 9)), 2, 1.2), scaled(Hole("mr/lag", Int(1, 9)), 1, 0.8)
    (3, 1)
    """
    domain = hole.domain
    assert not isinstance(domain, Choice)
    moved = value * factor
    if isinstance(domain, Int):
        moved = max(round(moved), value + 1) if factor > 1 else min(round(moved), value - 1)
    return min(max(moved, domain.low), domain.high)


def segment(name: str, generation: int) -> str:
    """The name of a member's folder in a generation; each is one trial to Tune.

    >>> segment("mr-0003", 0), segment("mr-0003", 2)
    ('mr-0003', 'mr-0003.g2')
    """
    return f"{name}.g{generation}" if generation else name


def rows(records: Iterable[Staged]) -> Iterator[dict[str, Any]]:
    """The rows of schedule.parquet: which values each trial had, and from which epoch on."""
    for record in records:
        for stage in record.stages or [Stage(0, 0.0, None, record.params)]:
            yield {
                "trial": record.name,
                "generation": stage.generation,
                "epoch": stage.epoch,
                "donor": stage.donor,
                **stage.params,
            }
