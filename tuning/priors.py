"""What finished studies teach a new one: `--warm-start`.

A trial of the same task is a record as good as the study's own, and a searcher that learns is told
of it. Scores under other noise cannot be compared; the best settings found there are tried first.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from trainables.errors import ConfigError
from tuning.holes import Value, contains, walk
from tuning.leaves import dotted, leaves_of
from tuning.record import ENDED, Record
from tuning.space import ChainSpace, Plan

TRIED = 3  # settings of each chain that are tried first
LEARNING = ("tpe", "gp")  # from any trial; cmaes counts its own, by generation
APART = ("noise", "seed")  # may differ; the seed of a trial is its study's


@dataclass(frozen=True)
class Prior:
    """A trial of an earlier study, as a searcher knows trials.

    Attributes:
        params: by column.
        costs: epochs and seconds up to its score.
    """

    params: dict[str, Value]
    status: str
    score: float | None
    diverged: bool
    curve: list[tuple[float, float]]
    costs: dict[str, float | None]

    @classmethod
    def of(cls, record: Record) -> "Prior":
        costs = {second: record.cost(second) for second in ("epochs", "seconds")}
        score, diverged = record.score, record.diverged
        return cls(record.params, record.status, score, diverged, record.curve, costs)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> "Prior":
        curve = [(float(epoch), float(score)) for epoch, score in plain["curve"]]
        return cls(**{**plain, "curve": curve})

    def cost(self, second: str) -> float | None:
        """As of a `Record`."""
        return self.costs[second]


@dataclass(frozen=True)
class Earlier:
    """A study that a new one learns from.

    Attributes:
        folder: as messages name it.
        labels: the hash of its labels.
        best: its trials that can win, best first.
        records: all its trials.
    """

    folder: str
    labels: str
    best: Sequence[Record]
    records: Sequence[Record]


def warmed(plan: Plan, labels: str, studies: Sequence[Earlier]) -> tuple[Plan, list[str]]:
    """A plan that knows of earlier studies, and a line on each of them.

    Args:
        plan: of the new study.
        labels: the hash of its labels.
        studies: in the order in which their best settings are tried.

    Raises:
        ConfigError: a study of which no trial fits, and what differs.
    """
    if plan.study["allocate"] == "adaptive" and len(plan.chains) > 1:
        raise ConfigError(
            "--warm-start: its trials belong to chains, and adaptive has one sampler over all "
            "(take --allocate equal)"
        )
    priors: dict[str, list[dict[str, Any]]] = {}
    told = []
    chains = list(plan.chains)
    for study in studies:
        told_of, tried = 0, 0
        why = "it holds none of these chains"
        for place, chain in enumerate(chains):
            mine = [r for r in study.records if r.chain == chain.chain and r.status in ENDED]
            problems = {record.name: misfit(record, chain) for record in mine}
            why = next((problem for problem in problems.values() if problem), why)
            fitting = [record for record in mine if problems[record.name] is None]
            if not fitting:
                continue
            same = study.labels == labels and not _noise_differs(fitting[0], chain)
            if same and plan.study["searcher"] in LEARNING and plan.study["scheduler"] != "pbt":
                found = [asdict(Prior.of(record)) for record in fitting]
                priors.setdefault(chain.chain, []).extend(found)
                told_of += len(found)
                continue
            names = {record.name for record in fitting}
            best = [r.params for r in study.best if r.name in names][:TRIED]
            best = [params for params in best if params not in chain.starts]
            chains[place] = replace(chain, starts=(*best, *chain.starts))
            tried += len(best)
        if not told_of + tried:
            raise ConfigError(f"--warm-start {study.folder}: no trial of it fits: {why}")
        parts = []
        if told_of:
            parts.append(f"{told_of} trials known from the beginning")
        if tried:
            parts.append(f"its best {tried} settings are tried first")
        told.append(f"warm start from {study.folder}: {', '.join(parts)}")
    return replace(plan, chains=tuple(chains), priors=priors), told


def misfit(record: Record, chain: ChainSpace) -> str | None:
    """What keeps an earlier trial from being one of a chain's; None if nothing does."""
    domains = {hole.column: hole.domain for hole in walk(chain.holes)}
    for column, value in record.params.items():
        if column not in domains:
            return f"{column} is not open here (open it, or leave the study out)"
        if not contains(domains[column], value):
            return f"{column} = {value} of {record.name} lies outside the range here (widen it)"
    try:
        here = chain.config(record.params)
    except KeyError as error:
        return f"{error.args[0]} is open here and was not there (fix it with --set)"
    mine, others = leaves_of(here, "here"), leaves_of(record.config, "there")
    for place in sorted(mine.keys() | others.keys()):
        if place[0] in APART:
            continue
        one, other = mine.get(place), others.get(place)
        if one is None or other is None or one.value != other.value:
            values = (other and other.value, one and one.value)
            return f"its {dotted(place)} was {values[0]}, here it is {values[1]}"
    return None


def _noise_differs(record: Record, chain: ChainSpace) -> bool:
    return bool(record.config.get("noise") != chain.config(record.params).get("noise"))
