"""When to stop a trial early: Ray's schedulers, one per chain, behind one question.

Only ended epochs are asked about, at their epoch, never at Tune's count of reports. A scheduler is
rebuilt after a crash by asking it about the journal's reports again, in order.
"""

from dataclasses import dataclass
from typing import Any, Literal, Protocol

Decision = Literal["CONTINUE", "STOP"]


class Rule(Protocol):
    """Stops the losers of one chain."""

    def decide(self, name: str, epoch: float, score: float) -> Decision:
        """Take in a trial's score at the end of an epoch; say whether it goes on."""
        ...


class FIFO:
    """Lets every trial run to its end."""

    def __init__(self, epochs: int, *, mode: str, grace: float, factor: int) -> None:
        pass

    def decide(self, name: str, epoch: float, score: float) -> Decision:
        return "CONTINUE"


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

    def __init__(self, epochs: int, *, mode: str, grace: float, factor: int) -> None:
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
        self.epochs, self.sign = epochs, 1.0 if mode == "max" else -1.0
        self.seen: dict[str, float] = {}  # the last epoch each trial was asked about

    def decide(self, name: str, epoch: float, score: float) -> Decision:
        trial = Named(name)
        if name not in self.seen:
            self.inner.on_trial_add(NoController(), trial)
        elif epoch <= self.seen[name]:
            return "CONTINUE"  # trained again after a crash; the rungs know it already
        self.seen[name] = epoch
        result = {"epoch": epoch, "score": score}
        if epoch >= self.epochs:  # on_trial_result would say STOP and forget the score
            self.inner.on_trial_complete(NoController(), trial, result)
            return "CONTINUE"
        decision = self.inner.on_trial_result(NoController(), trial, result)
        return "STOP" if decision == "STOP" else "CONTINUE"

    def rungs(self) -> dict[float, dict[str, float]]:
        """The scores at each rung, by milestone and trial."""
        # Ray holds scores negated where less is better
        (bracket,) = self.inner._brackets
        return {
            float(milestone): {trial: self.sign * float(score) for trial, score in scores.items()}
            for milestone, scores in bracket._rungs
        }


SCHEDULERS: dict[str, type[FIFO] | type[ASHA]] = {"asha": ASHA, "fifo": FIFO}
