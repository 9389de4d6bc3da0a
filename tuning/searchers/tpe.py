"""Tree-structured Parzen estimators, Optuna's, over all holes jointly."""

import warnings
from collections.abc import Sequence

import optuna
from optuna.trial import TrialState

from trainables.rng import seed_of
from tuning.holes import Value
from tuning.searchers.base import RANDOM_FIRST, Known, Problem
from tuning.searchers.live import Live, direction


class TPE:
    """Draws where trials with good scores lie close and bad ones do not.

    With a second metric a good trial is one that few others beat in both. Such trials have no
    intermediate values in Optuna, so one that was stopped is told as complete, with what it has.
    """

    most = None

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        directions = [direction(problem.mode)]
        if problem.second != "none":
            directions.append("minimize")
        self.live = Live(problem.holes, directions)

    def suggest(self, n: int, records: Sequence[Known]) -> dict[str, Value]:
        problem = self.problem
        self.live.sync(records[:n], self._tell)
        seed = seed_of("tpe", problem.seed, problem.chain, n) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.live.study.sampler = (
                optuna.samplers.RandomSampler(seed=seed)
                if n < max(RANDOM_FIRST, len(problem.starts))
                else optuna.samplers.TPESampler(
                    seed=seed,
                    multivariate=True,
                    group=True,
                    constant_liar=True,
                    n_startup_trials=1,
                )
            )
        return self.live.ask(problem.start(n))

    def _tell(self, study: optuna.Study, trial: optuna.Trial, record: Known) -> None:
        second = self.problem.second
        whole = record.status == "done" or (second != "none" and record.status == "stopped")
        if whole and record.score is not None and not record.diverged:
            cost = None if second == "none" else record.cost(second)
            study.tell(trial, [record.score] if cost is None else [record.score, cost])
            return
        if second == "none" and record.status != "failed":  # stopped, or diverged late
            for epoch, score in record.curve:
                trial.report(score, int(epoch))
        # FAIL would teach TPE nothing: a region that always fails would be asked for again
        study.tell(trial, state=TrialState.PRUNED)
