"""What to try next. Suggestion n of a chain is a pure function of (seed, chain, n, records known).

No sampler lives longer than one suggestion and none is saved: after a crash the records alone give
the same suggestions again.
"""

import math
import warnings
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from trainables.rng import seed_of
from tuning.holes import Choice, Hole, Int, Log, Value, fill

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
    """Holds what was tried and what came of it, and nothing that samplers scribble beside it.

    Floats are cut to ten digits, below which processors differ.
    """

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
            value = min(max(float(f"{value:.9e}"), distribution.low), distribution.high)
        super().set_trial_param(trial_id, param_name, value, distribution)


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
        self.asked: list[dict[str, Value]] = []
        self.told: dict[int, tuple[str, float | None]] = {}

    def _sync(self, records: Sequence[Known]) -> None:
        """Make the study hold exactly these records."""
        ended = ("done", "stopped", "failed")
        changed = any(
            number >= len(records) or (records[number].status, records[number].score) != outcome
            for number, outcome in self.told.items()
        )
        if changed or self.asked != [record.params for record in records[: len(self.asked)]]:
            self._renew()
        self.study.sampler = optuna.samplers.RandomSampler(seed=0)  # every value is given
        for number, record in enumerate(records):
            if number == len(self.asked):
                self._ask(record.params)
            if record.status in ended and number not in self.told:
                self._tell(number, record)
                self.told[number] = (record.status, record.score)

    def _ask(self, given: dict[str, Value]) -> dict[str, Value]:
        """One more trial of the study, with the given values where there are any."""
        internal = {
            hole.column: _index(hole, given[hole.column])
            for hole in _open(self.holes, given)
            if hole.column in given
        }
        if internal:
            self.study.enqueue_trial(internal)
        trial = self.study.ask()

        def suggest(hole: Hole) -> Value:
            value = trial._suggest(hole.column, _distribution(hole))
            if isinstance(hole.domain, Choice):
                return hole.domain.options[int(value)].value
            stored = trial.storage.get_trial(trial._trial_id).params[hole.column]
            return int(stored) if isinstance(hole.domain, Int) else float(stored)

        values = fill(self.holes, suggest)
        self.asked.append(values)
        return values

    def _tell(self, number: int, record: Known) -> None:
        trial_id = self.study._storage.get_trial_id_from_study_id_trial_number(
            self.study._study_id, number
        )
        if record.status == "done" and record.score is not None:
            self.study.tell(number, record.score)
            return
        if record.status == "stopped":
            for epoch, score in record.curve:
                self.study._storage.set_trial_intermediate_value(trial_id, int(epoch), score)
        # FAIL would teach TPE nothing: a region that always fails would be asked for again
        self.study._storage.set_trial_state_values(trial_id, TrialState.PRUNED)


def _open(holes: Sequence[Hole], given: dict[str, Value]) -> list[Hole]:
    """The holes that the given choices open, as far as they are given."""
    found = []
    for hole in holes:
        found.append(hole)
        if isinstance(hole.domain, Choice) and hole.column in given:
            index = _index(hole, given[hole.column])
            found += _open(hole.domain.options[int(index)].holes, given)
    return found


def _index(hole: Hole, value: Value) -> Any:
    """A value as Optuna holds it: a choice by its position, since True would become 1."""
    if not isinstance(hole.domain, Choice):
        return value
    for index, option in enumerate(hole.domain.options):
        if type(option.value) is type(value) and option.value == value:
            return index
    raise ValueError(f"{hole.column} = {value!r} is no option")


def _distribution(hole: Hole) -> BaseDistribution:
    domain = hole.domain
    if isinstance(domain, Choice):
        return CategoricalDistribution(list(range(len(domain.options))))
    if isinstance(domain, Int):
        return IntDistribution(domain.low, domain.high)
    return FloatDistribution(domain.low, domain.high, log=isinstance(domain, Log))


SEARCHERS: dict[str, type[Random] | type[TPE]] = {"tpe": TPE, "random": Random}
