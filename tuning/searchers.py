"""What to try next. Suggestion n of a chain is a pure function of (seed, chain, n, records known).

No sampler lives longer than one suggestion and none is saved: after a crash the records alone give
the same suggestions again.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.trial import TrialState

from trainables.rng import seed_of
from tuning.holes import Choice, Hole, Int, Log, Value, fill, position, walk

RANDOM_FIRST = 10  # suggestions before TPE begins to model, start points among them


class Known(Protocol):
    """What a searcher may know of a trial."""

    @property
    def params(self) -> dict[str, Value]: ...
    @property
    def status(self) -> str: ...
    @property
    def score(self) -> float | None: ...
    @property
    def diverged(self) -> bool: ...
    @property
    def curve(self) -> list[tuple[float, float]]: ...


class Searcher(Protocol):
    """Suggests values for the holes of one chain."""

    def suggest(self, n: int, records: Sequence[Known]) -> dict[str, Value]:
        """The values of trial n, by column, given the trials before it as they are known now."""
        ...


class Random:
    """Independent draws.

    Args:
        holes: of the chain.
        chain: its name, which keeps chains of one seed apart.
        seed: of the search.
        mode: `max` or `min`, of the score.
        starts: the first trials' values; holes they do not name are searched.
    """

    def __init__(
        self,
        holes: tuple[Hole, ...],
        *,
        chain: str,
        seed: int,
        mode: str,
        starts: Sequence[dict[str, Value]],
    ) -> None:
        self.holes, self.chain, self.seed, self.starts = holes, chain, seed, starts

    def suggest(self, n: int, records: Sequence[Known]) -> dict[str, Value]:
        start = self.starts[n] if n < len(self.starts) else {}
        key = seed_of("random", self.seed, self.chain, n)
        draws = np.random.Generator(np.random.Philox(key=key))

        def ask(hole: Hole) -> Value:
            u = draws.random()  # also where a start decides: the other draws stay
            return start[hole.column] if hole.column in start else _at(hole, u)

        return fill(self.holes, ask)


def _at(hole: Hole, u: float) -> Value:
    """The value of a hole at the quantile u in [0, 1)."""
    domain = hole.domain
    if isinstance(domain, Choice):
        return domain.options[int(u * len(domain.options))].value
    if isinstance(domain, Int):
        return domain.low + int(u * (domain.high - domain.low + 1))
    if isinstance(domain, Log):
        value = math.exp(math.log(domain.low) * (1 - u) + math.log(domain.high) * u)
    else:
        value = domain.low * (1 - u) + domain.high * u
    return min(max(value, domain.low), domain.high)


class Facts(optuna.storages.InMemoryStorage):
    """Holds what was tried and what came of it, and nothing that samplers scribble beside it."""

    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        pass

    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        pass

    def set_trial_param(
        self,
        trial_id: int,
        param_name: str,
        param_value_internal: float,
        distribution: BaseDistribution,
    ) -> None:
        value = param_value_internal
        if isinstance(distribution, FloatDistribution):
            value = _cut(value, distribution.low, distribution.high)
        super().set_trial_param(trial_id, param_name, value, distribution)


@dataclass
class Held:
    """A trial of the live study: its values, its handle, the status and score told of it."""

    params: dict[str, Value]
    trial: optuna.Trial
    told: tuple[str, float | None] | None = None


class TPE:
    """Tree-structured Parzen estimators, Optuna's, over all holes jointly.

    The live study is only a cache of the records: it grows with them and is built anew when they
    are not a continuation of what it holds. Arguments as for `Random`.
    """

    def __init__(
        self,
        holes: tuple[Hole, ...],
        *,
        chain: str,
        seed: int,
        mode: str,
        starts: Sequence[dict[str, Value]],
    ) -> None:
        self.holes, self.chain, self.seed, self.starts = holes, chain, seed, starts
        self.direction = optuna.study.StudyDirection["MAXIMIZE" if mode == "max" else "MINIMIZE"]
        self._renew()

    def suggest(self, n: int, records: Sequence[Known]) -> dict[str, Value]:
        self._sync(records[:n])
        seed = seed_of("tpe", self.seed, self.chain, n) % 2**32
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            self.study.sampler = (
                optuna.samplers.RandomSampler(seed=seed)
                if n < max(RANDOM_FIRST, len(self.starts))
                else optuna.samplers.TPESampler(
                    seed=seed,
                    multivariate=True,
                    group=True,
                    constant_liar=True,
                    n_startup_trials=1,
                )
            )
        return self._ask(self.starts[n] if n < len(self.starts) else {})

    def _renew(self) -> None:
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self.study = optuna.create_study(storage=Facts(), direction=self.direction)
        self.held: list[Held] = []

    def _sync(self, records: Sequence[Known]) -> None:
        """Make the study hold exactly these records."""
        grown = len(self.held) <= len(records) and all(
            held.params == record.params and held.told in (None, (record.status, record.score))
            for held, record in zip(self.held, records, strict=False)
        )
        if not grown:
            self._renew()
        self.study.sampler = optuna.samplers.RandomSampler(seed=0)  # every value is given
        for number, record in enumerate(records):
            if number == len(self.held):
                self._ask(record.params)
            held = self.held[number]
            if held.told is None and record.status in ("done", "stopped", "failed"):
                self._tell(held.trial, record)
                held.told = (record.status, record.score)

    def _ask(self, given: dict[str, Value]) -> dict[str, Value]:
        """One more trial of the study, with the given values where there are any."""
        self.study.enqueue_trial(
            {
                hole.column: _index(hole, given[hole.column])
                for hole in walk(self.holes)
                if hole.column in given
            }
        )
        trial = self.study.ask()

        def suggest(hole: Hole) -> Value:
            value = _suggested(trial, hole)
            return given.get(hole.column, value)  # to the last digit, which the study cuts

        params = fill(self.holes, suggest)
        self.held.append(Held(params, trial))
        return params

    def _tell(self, trial: optuna.Trial, record: Known) -> None:
        if record.status == "done" and record.score is not None and not record.diverged:
            self.study.tell(trial, record.score)
            return
        if record.status != "failed":  # stopped early, or diverged after a good beginning
            for epoch, score in record.curve:
                trial.report(score, int(epoch))
        # FAIL would teach TPE nothing: a region that always fails would be asked for again
        self.study.tell(trial, state=TrialState.PRUNED)


def _suggested(trial: optuna.Trial, hole: Hole) -> Value:
    """The study's value of a hole; a choice is stored by its position, where True is not 1."""
    domain = hole.domain
    if isinstance(domain, Choice):
        position = trial.suggest_categorical(hole.column, list(range(len(domain.options))))
        return domain.options[position].value
    if isinstance(domain, Int):
        return trial.suggest_int(hole.column, domain.low, domain.high)
    value = trial.suggest_float(hole.column, domain.low, domain.high, log=isinstance(domain, Log))
    return _cut(value, domain.low, domain.high)


def _index(hole: Hole, value: Value) -> Value:
    """A value as the study stores it."""
    if not isinstance(hole.domain, Choice):
        return value
    return position(hole.domain, value)


def _cut(value: float, low: float, high: float) -> float:
    """Ten digits of a value, within its hole; below that, processors differ."""
    return min(max(float(f"{value:.9e}"), low), high)


SEARCHERS: dict[str, type[Random] | type[TPE]] = {"tpe": TPE, "random": Random}
