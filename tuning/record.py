"""One trial of a study, as its journal tells it, and what all trials of a chain share."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tuning.holes import Hole, Value
from tuning.population import Stage, segment
from tuning.schedulers import Decision, Rule

ENDED = ("done", "stopped", "failed")


@dataclass
class Record:
    """One trial, as the journal tells it.

    Attributes:
        name: chain and number, such as `mr-0007`.
        n: number within its chain, from 0.
        params: open hyperparameters by column; of a population, those of its newest stage.
        config: the nested trial config.
        status: pending | running | done | stopped | failed.
        reports: by number, from 1; a redone report replaces the first.
        decisions: on each report; made again after a crash, it gets the same one.
        error: what ended a failed trial, one line.
        generation: of its population, from 0; always 0 where there is none.
        donor: whose state it took over as that generation began; None if it went on with its own.
        since: its last report before that generation.
        before: (epoch, score) of each epoch that had ended by then of the state it went on with.
        stages: its values so far; empty before they first changed.
        place: in the order in which trials, and later generations of them, were to be issued.
    """

    name: str
    chain: str
    n: int
    params: dict[str, Value]
    config: dict[str, Any]
    status: str = "pending"
    reports: dict[int, dict[str, Any]] = field(default_factory=dict)
    decisions: dict[int, Decision] = field(default_factory=dict)
    error: str | None = None
    generation: int = 0
    donor: str | None = None
    since: int = 0
    before: list[tuple[float, float]] = field(default_factory=list)
    stages: list[Stage] = field(default_factory=list)
    place: int = 0

    @property
    def newest(self) -> dict[str, Any]:
        """The last report; empty before the first."""
        return self.reports[max(self.reports)] if self.reports else {}

    @property
    def score(self) -> float | None:
        """The selected epoch's value; None before an epoch has ended."""
        report = self._last_scored
        return None if report is None else float(report["score"])

    @property
    def last(self) -> float | None:
        """The metric at the last epoch that ended."""
        report = self._last_scored
        return None if report is None else float(report["last"])

    def cost(self, second: str) -> float | None:
        """What it took to reach the score; None before an epoch has ended.

        Args:
            second: `epochs` or `seconds`, trained until the epoch that counts had ended.
        """
        column = {"epochs": "epoch", "seconds": "seconds"}[second]
        reached = [report[column] for report in self._scored() if report["score"] == self.score]
        return float(reached[0]) if reached else None

    @property
    def epoch(self) -> float:
        """Epochs trained so far."""
        return float(self.newest.get("epoch", 0.0))

    @property
    def diverged(self) -> bool:
        """Whether its loss became infinite."""
        return bool(self.newest.get("diverged", 0))

    @property
    def curve(self) -> list[tuple[float, float]]:
        """(epoch, score) of each ended epoch, of those who trained what it now has."""
        own = [(r["epoch"], r["score"]) for r in self._scored() if r["report"] > self.since]
        return [*self.before, *own]

    @property
    def paused(self) -> bool:
        """Whether its newest report ends its generation."""
        last = max(self.reports, default=0)
        return last > self.since and self.decisions[last] == "PAUSE"

    @property
    def segment(self) -> str:
        """The name of its folder in this generation."""
        return segment(self.name, self.generation)

    @property
    def origins(self) -> tuple[str, ...]:
        """The folders with a checkpoint that it goes on from, the first that has one."""
        if not self.generation:
            return (self.segment,)
        return self.segment, segment(self.donor or self.name, self.generation - 1)

    def begin(
        self,
        generation: int,
        epoch: float,
        curve: list[tuple[float, float]],
        take: dict[str, Any] | None,
    ) -> None:
        """Go into the next generation, with another member's state and values of its own or as is.

        Args:
            epoch: epochs trained.
            curve: of the state that it goes on with.
            take: `donor`, `params` and `config`; None to go on as is.
        """
        self.generation, self.since, self.before = generation, max(self.reports), curve
        self.donor, self.status = None, "pending"
        if take:
            self.donor = take["donor"]
            self.stages = self.stages or [Stage(0, 0.0, None, self.params)]
            self.params, self.config = take["params"], take["config"]
            self.stages.append(Stage(generation, epoch, take["donor"], self.params))

    @property
    def _last_scored(self) -> dict[str, Any] | None:
        # from the end: a ranking of many trials asks each of them
        numbers = filter(self._is_score, sorted(self.reports, reverse=True))
        return next((self.reports[number] for number in numbers), None)

    def _scored(self) -> list[dict[str, Any]]:
        return [self.reports[number] for number in sorted(self.reports) if self._is_score(number)]

    def _is_score(self, number: int) -> bool:
        return bool(self.reports[number]["scored"])


@dataclass(frozen=True)
class Lane:
    """One chain's trials: what stops them, and how a suggestion becomes a config.

    Attributes:
        holes: those that a population may change.
        seed: of what a population draws.
    """

    chain: str
    rule: Rule
    config: Callable[[dict[str, Value]], dict[str, Any]]
    holes: tuple[Hole, ...] = ()
    seed: int = 0
