"""Ray's schedulers that stop the losers early: asynchronous successive halving, the median rule.

A scheduler is rebuilt after a crash by asking it about the journal's reports again, in order.
"""

from dataclasses import dataclass, field
from typing import Any

from tuning.schedulers.base import Decision


@dataclass(frozen=True)
class Named:
    """All that Ray's scheduler needs of a trial; equal in every life of a study."""

    trial_id: str


class NoController:
    """Stands for Tune, which the scheduler asks about other trials only to pause them."""

    def get_live_trials(self) -> list[Any]:
        return []

    def get_trials(self) -> list[Any]:
        return []


@dataclass
class Told:
    """One of Ray's schedulers, told of each ended epoch of each trial once.

    Attributes:
        inner: the scheduler, whose time is `epoch` and whose metric is `score`.
        epochs: of a whole trial.
        seen: the last epoch each trial was asked about.
    """

    inner: Any
    epochs: int
    seen: dict[str, float] = field(default_factory=dict)

    def decide(self, name: str, epoch: float, score: float) -> Decision:
        trial = Named(name)
        if name not in self.seen:
            self.inner.on_trial_add(NoController(), trial)
        elif epoch <= self.seen[name]:
            return "CONTINUE"  # trained again after a crash; the scheduler knows it already
        self.seen[name] = epoch
        result = {"epoch": epoch, "score": score}
        if epoch >= self.epochs:  # asked like the others, it might stop what is over
            self.inner.on_trial_complete(NoController(), trial, result)
            return "CONTINUE"
        decision = self.inner.on_trial_result(NoController(), trial, result)
        return "STOP" if decision == "STOP" else "CONTINUE"


class ASHA:
    """Asynchronous successive halving, Ray's, of the kind that stops and never pauses.

    Of the trials that reach a rung (grace, grace x factor, ...), one in `factor` goes on; the first
    at a rung always does.

    Args:
        epochs: of a whole trial.
        mode: `max` or `min`, of the score.
        grace: share of the epochs before the first rung.
        factor: how many compete for one place.
    """

    def __init__(
        self, epochs: int, *, mode: str, grace: float, factor: int, interval: float = 0.1
    ) -> None:
        from ray.tune.schedulers import AsyncHyperBandScheduler  # after `session.quieten`

        self.inner = AsyncHyperBandScheduler(
            time_attr="epoch",
            metric="score",
            mode=mode,
            max_t=epochs,
            grace_period=max(1, round(grace * epochs)),
            reduction_factor=factor,
            brackets=1,
        )
        self.told = Told(self.inner, epochs)
        self.sign = 1.0 if mode == "max" else -1.0

    def decide(self, name: str, epoch: float, score: float) -> Decision:
        return self.told.decide(name, epoch, score)

    def rungs(self) -> dict[float, dict[str, float]]:
        """The scores at each rung, by milestone and trial."""
        # Ray holds scores negated where less is better
        (bracket,) = self.inner._brackets
        return {
            float(milestone): {trial: self.sign * float(score) for trial, score in scores.items()}
            for milestone, scores in bracket._rungs
        }


class Median:
    """The median stopping rule of Vizier, Ray's.

    After the grace period, a trial is stopped whose best score so far is worse than the median over
    the others of their mean score, from the grace period up to the same epoch. At least three
    others must have come so far. Arguments as for `ASHA`.
    """

    def __init__(
        self, epochs: int, *, mode: str, grace: float, factor: int, interval: float = 0.1
    ) -> None:
        from ray.tune.schedulers import MedianStoppingRule

        self.inner = MedianStoppingRule(
            time_attr="epoch",
            metric="score",
            mode=mode,
            grace_period=max(1, round(grace * epochs)),
            min_samples_required=3,
            min_time_slice=float("inf"),  # else it pauses trials while others wait
        )
        self.told = Told(self.inner, epochs)

    def decide(self, name: str, epoch: float, score: float) -> Decision:
        return self.told.decide(name, epoch, score)
