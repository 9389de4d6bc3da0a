"""A Gaussian process, Optuna's: the fewest trials for the most computing."""

import warnings
from collections.abc import Sequence

import optuna
from optuna.trial import TrialState

from trainables.rng import seed_of
from tuning.holes import Value
from tuning.searchers.base import RANDOM_FIRST, Known, Problem
from tuning.searchers.live import Live, direction


class GP:
    """Draws where a Gaussian process expects the most improvement over the best score.

    It models the holes that all trials have; those that an option opens are drawn at random. Only
    whole trials teach it anything, so a stopped one is told as complete with its score, a failed
    or diverged one with the worst score known. The worst may change with any record: the study is
    built anew for each suggestion, which costs little beside the model.
    """

    most = None

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def suggest(self, n: int, records: Sequence[Known]) -> dict[str, Value]:
        problem, known = self.problem, records[:n]
        scores = [score for score in map(_score, known) if score is not None]
        worst = (min if problem.mode == "max" else max)(scores, default=None)

        def tell(study: optuna.Study, trial: optuna.Trial, record: Known) -> None:
            value = _score(record)
            value = worst if value is None else value
            study.tell(trial, value, TrialState.PRUNED if value is None else None)

        self.live = live = Live(problem.holes, [direction(problem.mode)])
        live.sync(known, tell)
        seed = seed_of("gp", problem.seed, problem.chain, n) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            live.study.sampler = (
                optuna.samplers.RandomSampler(seed=seed)
                if n < max(RANDOM_FIRST, len(problem.starts))
                else optuna.samplers.GPSampler(
                    seed=seed, n_startup_trials=1, warn_independent_sampling=False
                )
            )
        return live.ask(problem.start(n))


def _score(record: Known) -> float | None:
    """The score of a trial that ended well; None for all others."""
    ended = record.status in ("done", "stopped") and not record.diverged
    return record.score if ended else None
