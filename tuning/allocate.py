"""Whose turn it is: how the trials of a study are dealt to its chains.

Equal gives each chain a sampler of its own and the same number of trials. Adaptive is one sampler
over a conditional space: a choice of the chain, whose options open that chain's holes. Schedulers
stay one per chain under both, since rungs that chains share would stop those that start slowly.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Protocol

from trainables.select import MODES
from tuning.conditional import joined, over, parted
from tuning.holes import Hole, Value
from tuning.searchers import SEARCHERS, TPE, Known, Random
from tuning.space import Plan
from tuning.starts import Point


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
        searcher: makes the sampler of each chain.
        seed: of the search.
        mode: `max` or `min`, of the score.
    """

    def __init__(
        self,
        chains: Sequence[Chain],
        *,
        trials: int,
        searcher: type[Random] | type[TPE],
        seed: int,
        mode: str,
    ) -> None:
        each = -(-trials // len(chains))
        self.shares = {c.chain: each if c.most is None else min(each, c.most) for c in chains}
        self.free = 0
        self.starts = {c.chain: len(c.starts) for c in chains}
        self.searchers = {
            c.chain: searcher(c.holes, chain=c.chain, seed=seed, mode=mode, starts=c.starts)
            for c in chains
        }

    def next(self, records: Sequence[Dealt]) -> Turn | None:
        mine: dict[str, list[Dealt]] = {chain: [] for chain in self.shares}
        for record in records:
            mine[record.chain].append(record)
        waiting = [chain for chain, share in self.shares.items() if len(mine[chain]) < share]
        if not waiting:
            return None
        chain = min(waiting, key=lambda chain: len(mine[chain]))
        n = len(mine[chain])
        params = self.searchers[chain].suggest(n, mine[chain])
        return Turn(chain, params, n < self.starts[chain], mine[chain])


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


class Adaptive:
    """Deals each chain's start points in turn, then what one sampler over all chains chooses.

    A chain without start points is given one trial, whose values the sampler draws. One with
    nothing open has its one trial then and is no option later: a sampler would ask for it again.
    Arguments as for `Equal`, but trials are not rounded up.
    """

    def __init__(
        self,
        chains: Sequence[Chain],
        *,
        trials: int,
        searcher: type[Random] | type[TPE],
        seed: int,
        mode: str,
    ) -> None:
        self.given = opening(chains)[:trials]
        dealt = Counter(chain for chain, _ in self.given)
        self.shares = {c.chain: dealt[c.chain] for c in chains}
        self.options = {c.chain: c.holes for c in chains if c.most is None}
        self.free = trials - len(self.given) if self.options else 0
        self.searcher = searcher(
            over(self.options),
            chain=",".join(self.options),
            seed=seed,
            mode=mode,
            starts=[joined(chain, point) for chain, point in self.given if chain in self.options],
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
    """Who deals the trials of a plan; a lone chain gets all of them under every dealer."""
    settings = plan.study
    return DEALERS[settings["allocate"] if len(plan.chains) > 1 else "equal"](
        plan.chains,
        trials=settings["trials"],
        searcher=SEARCHERS[settings["searcher"]],
        seed=plan.seed,
        mode=MODES[settings["metric"]],
    )


def notes(plan: Plan) -> list[str]:
    """What a user should read before trials are dealt."""
    if plan.study["allocate"] != "adaptive":
        return []
    if len(plan.chains) == 1:
        return ["allocate adaptive: there is one chain, which gets every trial, as with equal"]
    told = [
        "allocate adaptive: chains get as many trials as the sampler chooses, which is no fair "
        "comparison of methods (--allocate equal is one)"
    ]
    dealer, trials = dealer_of(plan), plan.study["trials"]
    left = [chain for chain, share in dealer.shares.items() if not share]
    if left:
        told.append(f"trials = {trials}: too few to try {', '.join(left)} (take more trials)")
    elif not dealer.free:
        told.append(f"trials = {trials}: all are given, the sampler chooses none (take more)")
    return told
