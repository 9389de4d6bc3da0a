"""TensorBoard: every trial's curves, and HPARAMS from its first report on.

Each trial is a run of its own, `<folder>/<chain>/<trial>`. TensorBoard believes the first
`experiment` summary it meets and would hide the hyperparameters of every other chain and study;
so none is written, and it builds the union of what the trials' own start summaries hold. The
metrics of a row are the run's newest scalars, so they are there before the trial ends.

What the noise did to the labels is a picture in a run of its own, `<folder>/labels`. It holds no
hyperparameter and no scalar, so it is no row in HPARAMS.

An object store cannot append: there the files are written on this machine and copied as wholes,
those that grew since the last time.
"""

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.plugin_data_pb2 import (
    HParamsPluginData,
    SessionEndInfo,
    SessionStartInfo,
)
from torch.utils.tensorboard import FileWriter

from tuning.holes import Value
from tuning.picture import png, transition_picture
from tuning.places import Place, Remote, write
from tuning.study import Record

log = logging.getLogger(__name__)

WRITERS = "tensorboard.summary.writer.event_file_writer"  # whose threads write event files
NO_CURVE = frozenset({"report", "step", "scored", "kept", "done", "last"})  # last: the metric again
# Ungrouped keys, by the group that shows them; HPARAMS lists metrics by name, the score first.
TAGS = {"score": "best/score", "epoch": "run/epoch", "lr": "run/lr", "diverged": "run/diverged"}
TAGS |= {"seconds": "run/seconds", "seconds/epoch": "run/seconds per epoch"}


@contextmanager
def quiet_threads() -> Iterator[None]:
    """Print nothing of a file system's fault in a thread that writes event files.

    TensorBoard hands the same fault on at the next flush, where it is told in one line.
    """
    before = threading.excepthook

    def hook(told: threading.ExceptHookArgs) -> None:
        ours = told.thread is not None and type(told.thread).__module__ == WRITERS
        if not (ours and isinstance(told.exc_value, OSError)):
            before(told)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = before


class Board:
    """Writes the event files of one study, one open file per running trial.

    Nothing it cannot write raises: a picture must never end a search. The first such failure is
    logged; the tables hold everything that a run would have shown.

    Args:
        folder: the study's tensorboard folder.
        columns: the open hyperparameters, as the tables name them.
        task: the name of the task, shown beside the chain, so that studies can be told apart.
    """

    def __init__(self, folder: Place, columns: Iterable[str], task: str) -> None:
        self.target = folder
        self.scratch: tempfile.TemporaryDirectory[str] | None = None
        if isinstance(folder, Remote):
            self.scratch = tempfile.TemporaryDirectory(prefix="noisetune-board-")
            folder = Path(self.scratch.name)
        self.folder = folder
        self.grown: set[Path] = set()  # folders with something to copy
        self.columns = tuple(columns)
        self.task = task
        self.writers: dict[str, FileWriter] = {}
        self.warned = False

    def labels(self, counts: npt.NDArray[np.int64], classes: Sequence[str]) -> None:
        """Draw what became of each class's labels; once, however many lives a study has.

        Args:
            counts: (K, K), row = clean class, column = given class.
            classes: K names.
        """
        if not (self.target / "labels").exists():
            folder = self.folder / "labels"
            self._guarded(lambda: self._show(folder, counts, classes))

    def report(self, record: Record, report: Mapping[str, Any]) -> None:
        """Draw one report at its optimizer step; the score only where it was measured."""
        self._guarded(lambda: self._draw(record, report))

    def end(self, record: Record) -> None:
        """Note how the trial ended and close its file; without any report there is no run."""
        if record.reports or record.name in self.writers:
            self._guarded(lambda: self._close(record))

    def close(self) -> None:
        """Close the files of trials that are still running, as an interrupted driver does."""
        for name in list(self.writers):
            self._guarded(self.writers.pop(name).close)

    def copy(self) -> None:
        """Copy what has grown into the object store, if that is where the study lies."""
        if self.scratch is None:
            return
        for folder in list(self.grown):
            self._guarded(partial(self._copy, folder))
            if folder.name not in self.writers:
                self.grown.discard(folder)

    def _copy(self, folder: Path) -> None:
        if folder.name in self.writers:
            self.writers[folder.name].flush()
        for file in folder.iterdir():
            to = self.target
            for name in file.relative_to(self.folder).parts:
                to = to / name
            write(to, file.read_bytes())

    def _show(self, folder: Path, counts: npt.NDArray[np.int64], classes: Sequence[str]) -> None:
        image = transition_picture(counts, classes, self.task)
        shown = Summary.Image(
            height=image.height, width=image.width, colorspace=3, encoded_image_string=png(image)
        )
        writer = FileWriter(str(folder))
        self.grown.add(folder)
        try:
            writer.add_summary(Summary(value=[Summary.Value(tag="clean to given", image=shown)]), 0)
        finally:
            writer.close()

    def _draw(self, record: Record, report: Mapping[str, Any]) -> None:
        hidden = NO_CURVE if report["scored"] else NO_CURVE | {"score"}
        points = [
            Summary.Value(tag=TAGS.get(key, key), simple_value=value)
            for key, value in report.items()
            if type(value) in (int, float) and key not in hidden
        ]
        step = int(report["step"])
        self._writer(record, step).add_summary(Summary(value=points), step)

    def _close(self, record: Record) -> None:
        writer = self._writer(record, None)
        del self.writers[record.name]
        try:
            writer.add_summary(_end(record.status == "failed"))
        finally:
            writer.close()

    def _writer(self, record: Record, step: int | None) -> FileWriter:
        """The trial's open file; a new one begins with its hyperparameters.

        After a resume the trial goes on in a second file, whose first entry hides what an earlier
        life drew at `step` or later: those reports come again.
        """
        if record.name not in self.writers:
            # With a thread and a long queue, a slow disk does not hold up the driver.
            folder = self.folder / record.chain / record.name
            self.grown.add(folder)
            writer = FileWriter(str(folder), max_queue=1000, flush_secs=2)
            if step is not None:
                writer.add_event(Event(session_log=SessionLog(status=SessionLog.START)), step)
            hparams = {name: record.params.get(name) for name in self.columns}
            writer.add_summary(_start(hparams | {"chain": record.chain, "task": self.task}))
            self.writers[record.name] = writer
        return self.writers[record.name]

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:  # the writer's thread hands on whatever its file system raised
            if not self.warned:
                log.warning("%s: TensorBoard files are incomplete (%s)", self.target, error)
            self.warned = True


def _start(hparams: Mapping[str, Value]) -> Summary:
    """A run's hyperparameters; one that is None, or not open in this run, is an empty cell.

    Not by `torch.utils.tensorboard.summary.hparams`, which writes a bool as a number, nor by the
    plugin's own `summary` module, which needs TensorFlow.
    """
    info = SessionStartInfo(start_time_secs=time.time())
    for name, value in hparams.items():
        if isinstance(value, bool):
            info.hparams[name].bool_value = value
        elif isinstance(value, str):
            info.hparams[name].string_value = value
        elif value is not None:
            info.hparams[name].number_value = value
    return _summary(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=info))


def _end(failed: bool) -> Summary:
    status = STATUS_FAILURE if failed else STATUS_SUCCESS
    info = SessionEndInfo(status=status, end_time_secs=time.time())
    return _summary(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=info))


def _summary(tag: str, data: HParamsPluginData) -> Summary:
    described = metadata.create_summary_metadata(data)
    return Summary(value=[Summary.Value(tag=tag, metadata=described)])
