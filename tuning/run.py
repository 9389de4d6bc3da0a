"""One life of a study: a search that finishes, is interrupted or runs out of time."""

import logging
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from rich.console import Console

from tuning import checkpoints
from tuning.board import Board
from tuning.holes import Hole
from tuning.progress import Progress, Promise, view
from tuning.resources import Resources
from tuning.store import Store, column_types, next_life
from tuning.study import ENDED, Record, Study

TABLE_SECONDS = 3.0  # between two writings of the tables while a study runs
SIGNALS = (signal.SIGINT, signal.SIGTERM)
log = logging.getLogger(__name__)


@dataclass
class Interrupt:
    """Ctrl-C and SIGTERM: the first one ends the run cleanly, the second at once."""

    raised: bool = False

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if self.raised:
            raise KeyboardInterrupt
        self.raised = True

    def listen(self) -> None:
        """Take the signals, also from whoever took them meanwhile; in the main thread."""
        for number in SIGNALS:
            signal.signal(number, self)


@contextmanager
def interruptible() -> Iterator[Interrupt]:
    """Catch Ctrl-C and SIGTERM until the end of the block."""
    flag = Interrupt()
    before = {number: signal.getsignal(number) for number in SIGNALS}
    flag.listen()
    try:
        yield flag
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


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
        flush: puts on disk what has waited for a second.
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
    flush: Callable[[], None] = lambda: None
    began: float | None = None  # time.monotonic() of the first report
    written: float = 0.0  # when the tables were last written
    fresh: list[dict[str, Any]] = field(default_factory=list)  # reports in no table yet
    best: str | None = None  # the trial in best/
    warned: bool = False  # of tables or weights that could not be written

    def __post_init__(self) -> None:
        self.columns = column_types(self.holes)
        self.board = Board(self.store.folder / "tensorboard", list(self.columns), self.task)
        self.progress = Progress(self.console, plan=self.promise)
        self.trained = sum(record.epoch for record in self.study.records.values())
        self.take_over()

    def take_over(self) -> None:
        """Put in order what an earlier life left half done; the journal says what is true."""
        with self.spared():
            self.store.drop_history()
        for record in self.study.records.values():
            for number in sorted(record.reports):
                self.fresh.append(_row(record, record.reports[number]))
        with self.spared():
            for record in self.study.records.values():
                if record.status in ENDED:
                    self.strip(record)
            self.crown()

    def run(self, resources: Resources) -> None:
        """Search until nothing is left to do; the study's records then tell what came of it.

        Raises:
            Exception: whatever ended Tune's run; the journal holds everything up to then.
        """
        from ray import tune  # ours, quietened, by now

        from trainables.trial import Trial
        from tuning.tuner import Asker, Decider, Until, Watcher

        folder = self.store.folder
        life = next_life(folder)
        decider = Decider(self.study)
        watcher = Watcher(
            self.study,
            decider,
            on_report=self.on_report,
            on_end=self.on_end,
            on_tick=self.on_tick,
        )
        tuner = tune.Tuner(
            tune.with_resources(
                self.trainable or Trial, {"cpu": resources.cpus, "gpu": resources.gpus}
            ),
            param_space={},
            tune_config=tune.TuneConfig(
                search_alg=Asker(
                    self.study, lambda name: checkpoints.newest(folder, name), self.labels
                ),
                scheduler=decider,
                num_samples=-1,
                max_concurrent_trials=resources.concurrency,
                reuse_actors=True,
                trial_name_creator=lambda trial: str(trial.config["trial"]["name"]),
                trial_dirname_creator=lambda trial: str(trial.config["trial"]["name"]),
            ),
            run_config=tune.RunConfig(
                name=f"tune/life-{life}",
                storage_path=str(folder),
                stop=Until(self.over),
                callbacks=[watcher],
                failure_config=tune.FailureConfig(max_failures=2),
                checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
                verbose=0,
            ),
        )
        try:
            tuner.fit()
        except RuntimeError as error:  # as Tune wraps all that ends it, a full memory for one
            cause = str(error.__cause__ or error).strip().splitlines()[-1]
            raise EndedError(
                f"Ray ended the search: {cause}; nothing is lost, go on with --resume {folder}"
            ) from error
        finally:
            self.finish()

    def finish(self) -> None:
        """Leave the folder as a reader wants it; with everything ended, history in one file."""
        self.progress.stop()
        self.board.close()
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
        return self.interrupt.raised or self.out_of_time or self.broken()

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

    def on_end(self, record: Record) -> None:
        self.board.end(record)
        with self.spared():
            self.strip(record)
            self.crown()

    def strip(self, record: Record) -> None:
        """Keep the weights of an ended trial if it is one of the best, and of none it displaces."""
        ranking = self.study.ranking()
        keep = max(1, self.keep)  # best/ is made of the first one's
        kept = {winner.name for winner in ranking[:keep]}
        for other in (record, *ranking[keep : keep + 1]):
            last = max(other.reports, default=0)
            checkpoints.strip(self.store.folder, other.name, other.name in kept, last)

    def crown(self) -> None:
        """Put the best trial's config, metrics and selected weights into best/."""
        best = next(iter(self.study.ranking()), None)
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
        file = checkpoints.weights(self.store.folder, best.name)
        self.store.write_best(best.config, metrics, file if file.exists() else None)
        if file.exists():
            self.best = best.name

    def on_tick(self) -> None:
        self.flush()
        if self.progress.due and self.began is not None:
            self.progress.update(self.view())
        if time.monotonic() - self.written >= TABLE_SECONDS:
            self.tables()

    def view(self) -> Any:
        """What the display shows."""
        records = self.study.records.values()
        return view(records, self.promise, self.seconds, self.study.ranking, self.trained)

    def tables(self) -> None:
        """Bring the tables up to date."""
        with self.spared():
            self.store.write_trials(self.study.records.values(), self.columns)
            if self.fresh:
                self.store.add_history(self.fresh)
                self.fresh = []
        self.written = time.monotonic()


def _row(record: Record, report: dict[str, Any]) -> dict[str, Any]:
    return {"trial": record.name, "chain": record.chain, **report}
