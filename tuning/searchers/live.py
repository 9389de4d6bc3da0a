"""A live study of Optuna's that holds what the records hold, and no more.

It is only a cache: it grows with the records and is built anew when they are not a continuation of
what it holds. Samplers are made for one suggestion each, with a seed of their own.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.distributions import BaseDistribution, FloatDistribution

from tuning.holes import Choice, Hole, Int, Log, Value, fill, position, walk
from tuning.searchers.base import Known

Direction = Literal["maximize", "minimize"]
Tell = Callable[[optuna.Study, optuna.Trial, Known], None]


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


class Live:
    """The study.

    Args:
        holes: that its trials fill.
        directions: of each value of a trial.
    """

    def __init__(self, holes: Sequence[Hole], directions: Sequence[Direction]) -> None:
        self.holes, self.directions = holes, directions
        self._renew()

    def sync(self, records: Sequence[Known], tell: Tell) -> None:
        """Make the study hold exactly these records; `tell` ends a trial of it."""
        grown = len(self.held) <= len(records) and all(
            held.params == record.params and held.told in (None, (record.status, record.score))
            for held, record in zip(self.held, records, strict=False)
        )
        if not grown:
            self._renew()
        self.study.sampler = optuna.samplers.RandomSampler(seed=0)  # every value is given
        for number, record in enumerate(records):
            if number == len(self.held):
                self.ask(record.params)
            held = self.held[number]
            if held.told is None and record.status in ("done", "stopped", "failed"):
                tell(self.study, held.trial, record)
                held.told = (record.status, record.score)

    def ask(self, given: dict[str, Value]) -> dict[str, Value]:
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

    def _renew(self) -> None:
        # not even that a package is missing with which the GP would be a third faster
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self.study = optuna.create_study(storage=Facts(), directions=self.directions)
        self.held: list[Held] = []


def direction(mode: str) -> Direction:
    """Optuna's word for `max` or `min`."""
    return "maximize" if mode == "max" else "minimize"


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
