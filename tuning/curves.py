"""Learning curves in place of training: recorded by a study, or made up from its hyperparameters.

Both are pure: what a trial reports depends on its values and its number alone, never on when it is
asked. So a simulated trial that is run again after a crash says the same again.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from trainables.errors import ConfigError
from trainables.rng import seed_of
from tuning.holes import Choice, Hole, Log, Value, position, walk
from tuning.study import Entry, Record


@dataclass(frozen=True)
class Step:
    """What a trial does next.

    Attributes:
        seconds: that it takes, simulated.
        report: at its end; None where the trial fails instead.
        error: why it fails.
    """

    seconds: float
    report: dict[str, Any] | None
    error: str | None = None


class Curves(Protocol):
    """Stands for training."""

    def step(self, record: Record, number: int) -> Step:
        """The step that ends with report `number`, from 1; a pure function of the record."""
        ...


@dataclass(frozen=True)
class Generated:
    """Curves that rise to a height set by how near the values are to the best ones.

    The best values, the pace of each trial and its noise are drawn from `seed`. Curves cross, as
    poor values may rise faster.

    Attributes:
        holes: of all chains; a trial's values for them make its curve.
        epochs: of a trial that is not stopped.
        seed: of the made-up task.
        mode: `max` or `min`; with `min` scores are negated.
        failing: share of the trials that fail, each before a report of its own.
        diverging: share of the trials whose loss becomes infinite.
        keeps: whether every other epoch is cut in two by a report that keeps the trial's state.
    """

    holes: Sequence[Hole]
    epochs: int
    seed: int = 0
    mode: str = "max"
    failing: float = 0.0
    diverging: float = 0.0
    keeps: bool = True

    def step(self, record: Record, number: int) -> Step:
        pace = 0.5 + self._draw("pace", record.name)  # seconds an epoch
        before, epoch = self._epoch(number - 1), self._epoch(number)
        seconds = pace * (epoch - before)
        last = 1 + int(self._draw("last", record.name) * self.epochs)
        if self._draw("fails", record.name) < self.failing and epoch >= last:
            return Step(seconds, None, "OSError: made up")
        diverged = self._draw("diverges", record.name) < self.diverging and epoch >= last
        score = 0.0 if diverged else self._score(record, number, epoch)
        score = score if self.mode == "max" else -score
        report = {
            "report": number,
            "epoch": epoch,
            "step": int(100 * epoch),
            "scored": int(epoch == int(epoch)),
            "score": score,
            "last": score,
            "kept": int(epoch != int(epoch) and not diverged),
            "diverged": int(diverged),
            "done": diverged or epoch >= self.epochs,
            "seconds": pace * epoch,
        }
        return Step(seconds, report)

    def _epoch(self, number: int) -> float:
        """Where report `number` stands: 1, 1.5, 2, 3, 3.5, 4, ... with keeps."""
        if not self.keeps or number == 0:
            return float(number)
        pair, place = divmod(number - 1, 3)
        return 2 * pair + (1.0, 1.5, 2.0)[place]

    def _score(self, record: Record, number: int, epoch: float) -> float:
        offs = [
            (quantile(hole, record.params[hole.column]) - self._draw("best", hole.column)) ** 2
            for hole in walk(self.holes)
            if hole.column in record.params
        ]
        off = math.fsum(offs) / max(1, len(offs))
        rise = 1 - math.exp(-epoch * (1 + 8 * off) / (0.3 * self.epochs))
        noise = 0.02 * (self._draw("noise", record.name, number) - 0.5)
        return (1 - off / 2) * rise + noise

    def _draw(self, *of: Any) -> float:
        """A number in [0, 1) of its own for each thing asked."""
        return float(seed_of("curves", self.seed, *of) % 2**32) / 2**32


class Recorded:
    """The curves that a study's journal holds, with the seconds they took.

    A trial that was never run gets the curve of its chain's nearest one that ran all its epochs,
    by the distance of their values' quantiles; one that was run so gets its own.

    Args:
        entries: of the journal.
        holes: of each chain.

    Raises:
        ConfigError: a chain has no trial that ran all its epochs.
    """

    def __init__(self, entries: Iterable[Entry], holes: Mapping[str, Sequence[Hole]]) -> None:
        params: dict[str, tuple[str, dict[str, Value]]] = {}
        reports: dict[str, dict[int, dict[str, Any]]] = {}
        for entry in entries:
            if entry["kind"] == "suggest":
                params[entry["trial"]] = entry["chain"], entry["params"]
            elif entry["kind"] == "report":
                plain = {k: v for k, v in entry.items() if k not in ("kind", "trial", "decision")}
                reports.setdefault(entry["trial"], {})[entry["report"]] = plain
        whole = [name for name in params if _whole(reports.get(name, {}))]
        self.holes = holes
        self.curves = {
            chain: [(params[n][1], reports[n]) for n in whole if params[n][0] == chain]
            for chain in holes
        }
        for chain, curves in self.curves.items():
            if not curves:
                raise ConfigError(f"{chain}: no recorded trial ran all its epochs (record one)")

    def step(self, record: Record, number: int) -> Step:
        curve = self._nearest(record)
        before = curve[number - 1]["seconds"] if number > 1 else 0.0
        return Step(curve[number]["seconds"] - before, dict(curve[number]))

    def _nearest(self, record: Record) -> dict[int, dict[str, Any]]:
        holes = list(walk(self.holes[record.chain]))
        curves = self.curves[record.chain]
        far = [_distance(holes, record.params, params) for params, _ in curves]
        return curves[far.index(min(far))][1]


def quantile(hole: Hole, value: Value) -> float:
    """Where a value stands within its hole, from 0 to 1.

    >>> quantile(Hole("optim/lr", Log(0.01, 1.0)), 0.1)
    0.5
    """
    domain = hole.domain
    if isinstance(domain, Choice):
        return position(domain, value) / max(1, len(domain.options) - 1)
    assert isinstance(value, int | float)
    low, high, at = float(domain.low), float(domain.high), float(value)
    if isinstance(domain, Log):
        low, high, at = math.log(low), math.log(high), math.log(at)
    return (at - low) / (high - low) if high > low else 0.0


def _distance(holes: Sequence[Hole], one: dict[str, Value], other: dict[str, Value]) -> float:
    """Squared, over the holes open in either; one that is open in one alone counts 1."""
    return math.fsum(
        (quantile(hole, one[hole.column]) - quantile(hole, other[hole.column])) ** 2
        if hole.column in one and hole.column in other
        else float(hole.column in one or hole.column in other)
        for hole in holes
    )


def _whole(reports: Mapping[int, Mapping[str, Any]]) -> bool:
    """Whether a trial ran all its epochs and every report of it is there."""
    if not reports or len(reports) != max(reports):
        return False
    last = reports[max(reports)]
    return bool(last["done"]) and not last["diverged"]
