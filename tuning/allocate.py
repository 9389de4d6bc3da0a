"""Whose turn it is: how the trials of a study are dealt to its chains.

Equal gives each chain a sampler of its own and the same number of trials. Adaptive is one sampler
over a conditional space: a choice of the chain, whose options open that chain's holes. Schedulers
stay one per chain under both, since rungs that chains share would stop those that start slowly.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import zip_longest
from typing import Protocol

from trainables.select import MODES
from tuning.conditional import joined, over, parted
from tuning.holes import Hole, Value
from tuning.priors import Prior
from tuning.searchers import SEARCHERS, Known, Problem, Searcher
from tuning.settings import Settings
from tuning.space import Plan
from tuning.starts import Point

Make = Callable[[tuple[Hole, ...], str, Sequence[Point]], Searcher]


class Chain(Protocol):
    """What a dealer must know of a chain; `tuning.space.ChainSpace` says what it means."""

    @property
    def chain(self) -> str: ...
    @property
    def holes(self) -> tuple[Hole, ...]: ...
    @property
    def starts(self) -> tuple[Point, ...]: ...
    @property
    def most(self) -> int | None: ...


class Dealt(Known, Protocol):
    """What a dealer may know of a trial."""

    @property
    def chain(self) -> str: ...


@dataclass(frozen=True)
class Turn:
    """The next trial.

    Attributes:
        chain: whose it is.
        params: open hyperparameters by column.
        start: whether it is one of the chain's start points.
        known: the trials it depends on, in the order in which they were dealt.
    """

    chain: str
    params: dict[str, Value]
    start: bool
    known: Sequence[Dealt]


class Dealer(Protocol):
    """Deals trials; what comes next depends on the records alone, so no dealer is ever saved.

    Attributes:
        shares: how many trials each chain is sure to get.
        free: how many more there are, which go to the chains that the sampler chooses.
    """

    shares: dict[str, int]
    free: int

    def next(self, records: Sequence[Dealt]) -> Turn | None:
        """The next trial, given all before it in order; None when all are dealt."""
        ...


class Equal:
    """Deals to the chains in turn; one that has less to try than its share gets less.

    Args:
        chains: of the study.
        trials: in all, rounded up to whole rounds.
        make: makes a sampler, of holes, a chain's name and start points.
        priors: trials of earlier studies, which a chain's sampler knows from the beginning.
    """

    def __init__(
        self,
        chains: Sequence[Chain],
        *,
        trials: int,
        make: Make,
        priors: Mapping[str, Sequence[Known]] | None = None,
    ) -> None:
        each = -(-trials // len(chains))
        self.priors = {c.chain: (priors or {}).get(c.chain, ()) for c in chains}
        starts = {c.chain: untried(c.starts, self.priors[c.chain]) for c in chains}
        self.starts = {chain: len(points) for chain, points in starts.items()}
        self.searchers = {c.chain: make(c.holes, c.chain, starts[c.chain]) for c in chains}
        ends = {c.chain: (c.most, self.searchers[c.chain].most) for c in chains}
        self.shares = {
            chain: min([each, *(most for most in some if most is not None)])
            for chain, some in ends.items()
        }
        self.free = 0

    def next(self, records: Sequence[Dealt]) -> Turn | None:
        mine: dict[str, list[Dealt]] = {chain: [] for chain in self.shares}
        for record in records:
            mine[record.chain].append(record)
        waiting = [chain for chain, share in self.shares.items() if len(mine[chain]) < share]
        if not waiting:
            return None
        chain = min(waiting, key=lambda chain: len(mine[chain]))
        n = len(mine[chain])
        start, priors = n < self.starts[chain], self.priors[chain]
        number = n if start else n + len(priors)
        params = self.searchers[chain].suggest(number, [*priors, *mine[chain]])
        return Turn(chain, params, start, mine[chain])


def untried(starts: Sequence[Point], priors: Sequence[Known]) -> list[Point]:
    """The start points that no earlier trial had."""
    return [p for p in starts if not any(p.items() <= prior.params.items() for prior in priors)]


@dataclass(frozen=True)
class Seen:
    """A trial as the sampler over all chains knows it: with its chain among its values."""

    trial: Dealt
    params: dict[str, Value]

    @property
    def status(self) -> str:
        return self.trial.status

    @property
    def score(self) -> float | None:
        return self.trial.score

    @property
    def diverged(self) -> bool:
        return self.trial.diverged

    @property
    def curve(self) -> list[tuple[float, float]]:
        return self.trial.curve

    def cost(self, second: str) -> float | None:
        return self.trial.cost(second)


class Adaptive:
    """Deals each chain's start points in turn, then what one sampler over all chains chooses.

    A chain without start points is given one trial, whose values the sampler draws. One with
    nothing open has its one trial then and is no option later: a sampler would ask for it again.
    Arguments as for `Equal`, but trials are not rounded up.
    """

    def __init__(self, chains: Sequence[Chain], *, trials: int, make: Make) -> None:
        self.given = opening(chains)[:trials]
        dealt = Counter(chain for chain, _ in self.given)
        self.shares = {c.chain: dealt[c.chain] for c in chains}
        self.options = {c.chain: c.holes for c in chains if c.most is None}
        self.free = trials - len(self.given) if self.options else 0
        self.searcher = make(
            over(self.options),
            ",".join(self.options),
            [joined(chain, point) for chain, point in self.given if chain in self.options],
        )

    def next(self, records: Sequence[Dealt]) -> Turn | None:
        n = len(records)
        if n == len(self.given) + self.free:
            return None
        chain, point = self.given[n] if n < len(self.given) else (None, {})
        if chain is not None and chain not in self.options:
            return Turn(chain, {}, False, records)
        seen = [Seen(r, joined(r.chain, r.params)) for r in records if r.chain in self.options]
        chain, params = parted(self.searcher.suggest(len(seen), seen))
        return Turn(chain, params, bool(point), records)


def opening(chains: Sequence[Chain]) -> list[tuple[str, Point]]:
    """The trials that are given: all first start points, then all second ones, and so on."""
    points = [[(c.chain, point) for point in c.starts or ({},)][: c.most] for c in chains]
    return [one for turn in zip_longest(*points) for one in turn if one is not None]


DEALERS: dict[str, type[Equal] | type[Adaptive]] = {"equal": Equal, "adaptive": Adaptive}


def dealer_of(plan: Plan) -> Dealer:
    """Who deals the trials of a plan; a lone chain gets all of them under every dealer.

    Raises:
        ConfigError: the searcher cannot search a chain of the plan.
    """
    settings = Settings(**plan.study)
    make = partial(_searcher, plan)
    if settings.allocate == "adaptive" and len(plan.chains) > 1:
        return Adaptive(plan.chains, trials=settings.trials, make=make)
    priors = {chain: [*map(Prior.from_plain, known)] for chain, known in plan.priors.items()}
    return Equal(plan.chains, trials=settings.trials, make=make, priors=priors)


def _searcher(plan: Plan, holes: tuple[Hole, ...], chain: str, starts: Sequence[Point]) -> Searcher:
    settings = Settings(**plan.study)  # one that an older version left gets the defaults
    problem = Problem(
        holes,
        chain,
        starts,
        seed=plan.seed,
        mode=MODES[settings.metric],
        second=settings.second,
        points=settings.grid_points,
    )
    return SEARCHERS[settings.searcher](problem)
