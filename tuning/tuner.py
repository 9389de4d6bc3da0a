"""Thin adapters between Tune's hooks and a `Study`, which decides everything.

Tune calls its scheduler, then its callbacks, before it saves a checkpoint: so a report is in the
journal before the checkpoint it asks for exists. A trial that ends itself is seen by callbacks
only.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import AUTO_RESULT_KEYS
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from tuning.study import Record, Study

TUNES = {*AUTO_RESULT_KEYS, "trial_id", "timesteps_total", "experiment_tag", "hostname"}


def name_of(trial: Any) -> str:
    """Our name of one of Tune's trials; Tune's own ids differ in each life."""
    name: str = trial.config["trial"]["name"]
    return name


def report_of(result: dict[str, Any]) -> dict[str, Any]:
    """What the trial itself reported, without what Tune adds."""
    report = {
        key: value
        for key, value in result.items()
        if key not in TUNES and not key.startswith("config/")  # Tune flattens the config in
    }
    report["checkpoint"] = bool(report.pop("should_checkpoint", False))
    return report


class Asker(Searcher):
    """Hands the study's suggestions to Tune."""

    def __init__(
        self, study: Study, checkpoint: Callable[[str], Path | None], labels: str | None
    ) -> None:
        super().__init__()
        self.study, self.checkpoint, self.labels = study, checkpoint, labels

    def set_search_properties(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        record = self.study.next()
        if record is None:
            return Searcher.FINISHED  # None would block Tune while nothing runs
        about: dict[str, Any] = {"name": record.name, "labels": self.labels}
        if path := self.checkpoint(record.name):
            about["from"] = str(path)
        return {**record.config, "trial": about}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass  # the journal rebuilds it

    def restore(self, checkpoint_path: str) -> None:
        pass

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune pickles all it is given; nothing reads it


class Decider(FIFOScheduler):
    """Asks the study about each report."""

    def __init__(self, study: Study) -> None:
        super().__init__()
        self.study = study
        self.told: dict[str, int] = {}  # the last report of each trial that came through here

    def set_search_properties(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        report = report_of(result)
        self.told[name_of(trial)] = report["report"]
        stop = self.study.report(name_of(trial), report) == "STOP"
        return str(TrialScheduler.STOP if stop else TrialScheduler.CONTINUE)

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Watcher(tune.Callback):
    """Tells the study of trials that end, and the rest of the platform of everything.

    Args:
        study: whose trials these are.
        decider: through which most reports come.
        on_report, on_end: called after the study has taken it in.
        on_tick: called several times a second.
    """

    def __init__(
        self,
        study: Study,
        decider: Decider,
        *,
        on_report: Callable[[Record], None],
        on_end: Callable[[Record], None],
        on_tick: Callable[[], None],
    ) -> None:
        self.study, self.decider = study, decider
        self.on_report, self.on_end, self.on_tick = on_report, on_end, on_tick

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        report = report_of(result)
        name = name_of(trial)
        if report["done"] and self.decider.told.get(name) != report["report"]:
            self.study.report(name, report)
        self.on_report(self.study.records[name])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, self.study.ended_as(name_of(trial)))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self._end(trial, "failed", _reason(trial))

    def _end(self, trial: Any, status: str, error: str | None = None) -> None:
        try:
            self.study.end(name_of(trial), status, error)
        except OSError:
            return  # the journal is broken; the next life ends this trial
        self.on_end(self.study.records[name_of(trial)])

    def on_step_end(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.on_tick()

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Until(tune.Stopper):
    """Ends the run when asked."""

    def __init__(self, over: Callable[[], bool]) -> None:
        self.over = over

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self.over()

    def __getstate__(self) -> dict[str, Any]:
        return {}


def _reason(trial: Any) -> str:
    """The last line of a failed trial's traceback."""
    try:
        lines = Path(trial.error_file).read_text().strip().splitlines()
        return lines[-1].strip()[:500]
    except (OSError, TypeError, IndexError):
        return "ended without a message"
