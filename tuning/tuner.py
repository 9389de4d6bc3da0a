"""Thin adapters between Tune's hooks and a `Study`, which decides everything.

Tune calls its scheduler, then its callbacks, before it saves a checkpoint: so a report is in the
journal before the checkpoint it asks for exists. A trial that ends itself is seen by callbacks
only.
"""

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.result import AUTO_RESULT_KEYS
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from tuning import faults
from tuning.places import Place, Remote
from tuning.study import Record, Study

PENDING = "PENDING"  # the status of one of Tune's trials that has not begun
TUNES = {*AUTO_RESULT_KEYS, "trial_id", "timesteps_total", "experiment_tag", "hostname"}


def name_of(trial: Any) -> str:
    """Our name of one of Tune's trials; Tune's own ids differ in each life.

    To Tune, each generation of a population's member is a trial, with a folder of its own.
    """
    about = trial.config["trial"]
    name: str = about.get("member", about["name"])
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


def handed(place: Place) -> Any:
    """A checkpoint as Tune hands it to a trial, wherever it runs."""
    if isinstance(place, Remote):
        return tune.Checkpoint(str(place.key), filesystem=place.fs)
    return tune.Checkpoint.from_directory(place)


class Asker(Searcher):
    """Hands the study's suggestions to Tune."""

    def __init__(
        self, study: Study, checkpoint: Callable[[str], Place | None], labels: str | None
    ) -> None:
        super().__init__()
        self.study, self.checkpoint, self.labels = study, checkpoint, labels
        self.out: set[str] = set()  # what Tune has been given and has not completed

    def set_search_properties(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def suggest(self, trial_id: str) -> Any:
        record = self.study.next()
        if record is None:  # None would block Tune while nothing runs
            return None if self.out and self.study.waiting else Searcher.FINISHED
        self.out.add(trial_id)
        about: dict[str, Any] = {"name": record.segment, "labels": self.labels}
        if record.generation:
            about["member"] = record.name
        found = (self.checkpoint(folder) for folder in record.origins)
        if place := next((place for place in found if place), None):
            about["from"] = handed(place)
        return {**record.config, "trial": about}

    def on_trial_complete(self, trial_id: str, result: Any = None, error: bool = False) -> None:
        self.out.discard(trial_id)

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
        self.unbegun: set[str] = set()  # trials that failed before they began

    def set_search_properties(self, *args: Any, **kwargs: Any) -> bool:
        return True

    def on_trial_result(self, controller: Any, trial: Any, result: dict[str, Any]) -> str:
        report = report_of(result)
        self.told[name_of(trial)] = report["report"]
        decision = self.study.report(name_of(trial), report)
        if decision == "CONTINUE":
            return str(TrialScheduler.CONTINUE)
        return str(TrialScheduler.STOP)  # what pauses is saved, too, and goes on as another trial

    def on_trial_error(self, controller: Any, trial: Any) -> None:
        # Tune does not retry one whose actor dies as it turns to it; one that ran is RUNNING here
        (self.unbegun.add if trial.status == PENDING else self.unbegun.discard)(name_of(trial))

    def __getstate__(self) -> dict[str, Any]:
        return {}


class Watcher(tune.Callback):
    """Tells the study of trials that end, and the rest of the platform of everything.

    Args:
        study: whose trials these are.
        decider: through which most reports come.
        on_report, on_end: called after the study has taken it in.
        on_tick: called several times a second.
        on_retry: called with a line when a trial that failed is tried again.
        on_fault: called with a line when a trial failed for the storage's sake, which the next life
            tries again.
        starts: how often each trial failed in runs of Tune that gave it up before it began.
    """

    def __init__(
        self,
        study: Study,
        decider: Decider,
        *,
        on_report: Callable[[Record], None],
        on_end: Callable[[Record], None],
        on_tick: Callable[[], None],
        on_retry: Callable[[str], None],
        on_fault: Callable[[str], None],
        starts: Counter[str],
    ) -> None:
        self.study, self.decider, self.starts = study, decider, starts
        self.on_report, self.on_end, self.on_tick = on_report, on_end, on_tick
        self.on_retry, self.on_fault = on_retry, on_fault

    def on_trial_result(
        self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **info: Any
    ) -> None:
        report = report_of(result)
        name = name_of(trial)
        if report["done"] and self.decider.told.get(name) != report["report"]:
            self.study.report(name, report)
        self.on_report(self.study.records[name])

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        _forget(trial)
        if not self.study.stands(name_of(trial)):
            self._end(trial, self.study.ended_as(name_of(trial)))

    def on_trial_recover(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        written = _written(trial)
        self.on_retry(f"{name_of(trial)} is tried again after: {faults.told(written)}")
        fault = faults.fault_of(written)
        if fault and not fault.heals:  # once more, as another trial may have had the memory
            trial.max_failures = trial.num_failures

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        name, written = name_of(trial), _written(trial)
        fault = faults.fault_of(written)
        if fault is faults.STORAGE:
            self.on_fault(f"{name}: {faults.told(written)}")
        elif fault and fault.heals and self._may_start(trial):
            self.study.put_off(name)
            self.on_retry(f"{name} is tried again later, after: {faults.told(written)}")
        else:
            self._end(trial, "failed", faults.told(written))

    def _may_start(self, trial: Any) -> bool:
        """Whether a trial that Tune gives up had not begun, and may fail once more."""
        name = name_of(trial)
        if name not in self.decider.unbegun:
            return False
        # Tune may count the last of them twice, as its actor's and as its own
        self.starts[name] += max(1, trial.num_failures - 1)
        return self.starts[name] <= int(trial.max_failures)

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


def _forget(trial: Any) -> None:
    """Drop what Tune holds of each ended trial and nobody reads, in memory and on this machine.

    In memory 50 KiB of running statistics, and its newest results, which Tune also keeps as text;
    on disk its empty folder in Ray's session.
    """
    held = trial.run_metadata
    held.metric_analysis.clear()
    held.metric_n_steps.clear()
    held.last_result = {}
    for saved in getattr(held.checkpoint_manager, "_checkpoint_results", ()):  # private to Tune
        saved.metrics.clear()
    with suppress(OSError):  # not there, or not empty
        Path(trial.storage.trial_driver_staging_path).rmdir()
    with suppress(OSError):
        Path(trial.storage.trial_working_directory).rmdir()


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


def _written(trial: Any) -> str:
    """What Tune wrote of all failures of a trial."""
    try:
        return Path(trial.error_file).read_text(errors="replace")
    except (OSError, TypeError):
        return ""
