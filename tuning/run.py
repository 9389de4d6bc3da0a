"""One life of a study: a search that finishes, is interrupted or runs out of time."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from tuning import checkpoints, faults
from tuning.board import Board
from tuning.holes import Hole
from tuning.interrupts import Interrupt
from tuning.launch import launch
from tuning.places import Remote, remove
from tuning.progress import Progress, Promise, view
from tuning.resources import Resources
from tuning.store import Store
from tuning.study import ENDED, Record, Study
from tuning.tables import column_types

TABLE_SECONDS = 3.0  # between two writings of the tables while a study runs
MAX_FAILURES = 2  # of a trial, after which it is tried again from its last checkpoint
REMOTE_SECONDS = 20.0  # the same in an object store, where each writing is a request or more
LOOK_SECONDS = 10.0  # between two looks whether Ray still has a machine
log = logging.getLogger(__name__)


class EndedError(Exception):
    """The search ended before it was over; the message is one line."""


@dataclass
class Life:
    """Runs a study until it is done, its time is over or somebody interrupts it.

    Attributes:
        study: what decides.
        store: where everything goes.
        holes: of all chains, for the tables' columns.
        task: its name, for TensorBoard.
        keep: how many of the best trials keep their weights.
        promise: for the display.
        console: of the display.
        interrupt: set when a person wants it to end.
        labels: hash that the labels must have on every machine.
        trainable: runs the trials, in place of `Trial`.
        broken: whether the journal takes no more entries; Tune does not hand on all errors.
        held: whether the study is still this driver's; if not, it writes no tables.
        flush: puts on disk what has waited for a second.
        max_failures: of a trial, after which it is tried again; None for `MAX_FAILURES`.
        fault: of the storage or of Ray, which ended the run; one line.
        looked: when it was last asked whether Ray has a machine.
    """

    study: Study
    store: Store
    holes: Sequence[Hole]
    task: str
    keep: int
    promise: Promise
    console: Console
    interrupt: Interrupt
    labels: str | None = None
    images: dict[str, Any] = field(default_factory=dict)  # what the networks are given
    trainable: type[Any] | None = None
    broken: Callable[[], bool] = bool
    held: Callable[[], bool] = lambda: True
    flush: Callable[[], None] = lambda: None
    max_failures: int | None = None
    fault: str | None = None
    looked: float = 0.0
    began: float | None = None  # time.monotonic() of the first report
    written: float = 0.0  # when the tables were last written
    fresh: list[dict[str, Any]] = field(default_factory=list)  # reports in no table yet
    best: str | None = None  # the trial in best/
    warned: bool = False  # of tables or weights that could not be written

    def __post_init__(self) -> None:
        self.columns = column_types(self.holes)
        remote = isinstance(self.store.folder, Remote)
        self.pause = REMOTE_SECONDS if remote else TABLE_SECONDS
        self.board = Board(self.store.folder / "tensorboard", list(self.columns), self.task)
        self.progress = Progress(self.console, plan=self.promise)
        self.trained = sum(record.epoch for record in self.study.records.values())

    def take_over(self) -> None:
        """Put in order what an earlier life left half done; the journal says what is true."""
        with self.spared():
            self.store.drop_history()
            remove(self.store.folder / "history.parquet")  # of a study that goes on after its end
        for record in self.study.records.values():
            for number in sorted(record.reports):
                self.fresh.append(_row(record, record.reports[number]))
        ranking = self.study.ranking()
        with self.spared():
            for record in self.study.records.values():
                if record.status in ENDED:
                    self.strip(record, ranking)
            self.crown(ranking)

    def run(self, resources: Resources) -> None:
        """Search until nothing is left to do; the study's records then tell what came of it.

        Tune runs once, and again for trials whose process died as it turned to them from the one
        before: Tune itself gives those up, however many failures they are allowed.

        Raises:
            Exception: whatever ended Tune's run; the journal holds everything up to then.
        """
        from ray.tune.error import TuneError

        folder = self.store.folder
        starts: Counter[str] = Counter()
        self.take_over()
        try:
            self.tune(resources, starts)
            while self.study.take_late() and not self.over():
                self.tune(resources, starts)
        except (RuntimeError, TuneError) as error:  # as Tune wraps what ends it, or some of it
            cause = str(error.__cause__ or error).strip().splitlines()[-1]
            raise EndedError(
                f"Ray ended the search: {cause}; nothing is lost, go on with --resume {folder}"
            ) from error
        finally:
            self.finish()
        if self.fault and not self.broken():
            raise EndedError(f"{self.fault}, then go on with --resume {folder}")

    def tune(self, resources: Resources, starts: Counter[str]) -> None:
        """Run Tune once; `starts` as for `tuning.tuner.Watcher`."""
        from tuning.tuner import Decider, Watcher  # Ray's import, quietened by now

        decider = Decider(self.study)
        watcher = Watcher(
            self.study,
            decider,
            on_report=self.on_report,
            on_end=self.on_end,
            on_tick=self.on_tick,
            on_retry=self.note,
            on_fault=self.on_fault,
            starts=starts,
        )
        launch(
            watcher,
            resources,
            self.store.folder,
            over=self.over,
            labels=self.labels,
            trainable=self.trainable,
            failures=MAX_FAILURES if self.max_failures is None else self.max_failures,
        )

    def finish(self) -> None:
        """Leave the folder as a reader wants it; with everything ended, history in one file."""
        self.progress.stop()
        self.board.close()
        if self.broken() or not self.owned():
            return  # the next life writes them
        self.sweep()
        self.tables()
        if self.study.count(*ENDED) == self.study.trials:
            with self.spared():
                self.store.finish_history(self.study.records.values())

    @contextmanager
    def spared(self) -> Iterator[None]:
        """Let no full disk end a search for a table's sake: the journal can give it again."""
        try:
            yield
        except OSError as error:
            if not self.warned:
                told = "%s: tables or weights are out of date (%s); --resume writes them again"
                log.warning(told, self.store.folder, error.strerror or error)
            self.warned = True

    def over(self) -> bool:
        """Whether the run shall end before its trials do."""
        return self.interrupt.raised or self.out_of_time or self.broken() or bool(self.fault)

    @property
    def seconds(self) -> float:
        """Since this life's first report."""
        return 0.0 if self.began is None else time.monotonic() - self.began

    @property
    def out_of_time(self) -> bool:
        limit = self.promise.time_limit
        return limit is not None and self.seconds >= limit

    def on_report(self, record: Record) -> None:
        if self.began is None:
            self.began = time.monotonic()
        self.fresh.append(_row(record, record.newest))
        self.board.report(record, record.newest)
        if record.newest.get("fell_back"):
            self.note(faults.fallen(record))

    def note(self, told: str) -> None:
        self.console.print(f"note: {told}", soft_wrap=True, highlight=False, markup=False)

    def on_fault(self, told: str) -> None:
        self.fault = self.fault or told

    def on_end(self, record: Record) -> None:
        self.board.end(record)
        ranking = self.study.ranking()
        with self.spared():
            self.strip(record, ranking)
            self.crown(ranking)

    def strip(self, record: Record, ranking: Sequence[Record]) -> None:
        """Keep the weights of an ended trial if it is one of the best, and of none it displaces."""
        keep = max(1, self.keep)  # best/ is made of the first one's
        kept = {winner.name for winner in ranking[:keep]}
        for other in (record, *ranking[keep : keep + 1]):
            last = max(other.reports, default=0)
            checkpoints.strip(self.store.folder, other.segment, other.name in kept, last)

    def crown(self, ranking: Sequence[Record]) -> None:
        """Put the best trial's config, metrics and selected weights into best/."""
        best = next(iter(ranking), None)
        if best is None or best.name == self.best:
            return
        metrics = {
            "trial": best.name,
            "score": best.score,
            "last": best.last,
            "epoch": best.epoch,
            "selected": self.study.selected(best),
            "images": self.images,
        }
        file = checkpoints.weights(self.store.folder, best.segment)
        self.store.write_best(best.config, metrics, file if file.exists() else None)
        if file.exists():
            self.best = best.name

    def sweep(self) -> None:
        """Drop the checkpoints that no member of a population can go on from any more."""
        stale = self.study.generations.stale
        with self.spared():
            while stale:
                checkpoints.strip(self.store.folder, stale.pop(), False, 0)

    def owned(self) -> bool:
        """Whether the study is this driver's, as far as its store tells."""
        try:
            return self.held()
        except OSError:
            return False

    def on_tick(self) -> None:
        self.flush()
        self.sweep()
        if self.progress.due and self.began is not None:
            self.progress.update(self.view())
        if time.monotonic() - self.written >= self.pause and self.owned():
            self.tables()
        if time.monotonic() - self.looked >= LOOK_SECONDS:
            self.looked = time.monotonic()
            if not faults.standing():
                self.on_fault("Ray: none of its machines is left; see what killed it")

    def view(self) -> Any:
        """What the display shows."""
        records = self.study.records.values()
        return view(records, self.promise, self.seconds, self.study.ranking, self.trained)

    def tables(self) -> None:
        """Bring the tables up to date."""
        with self.spared():
            self.store.write_trials(self.study.records.values(), self.columns)
            if self.study.generations.lanes:
                self.store.write_schedule(self.study.records.values(), self.columns)
            if self.fresh:
                self.store.add_history(self.fresh)
                self.fresh = []
            self.board.copy()
        self.written = time.monotonic()


def _row(record: Record, report: dict[str, Any]) -> dict[str, Any]:
    return {"trial": record.name, "chain": record.chain, **report}
