"""TensorBoard: every trial's curves, and HPARAMS from its first report on.

Each trial is a run of its own, `<folder>/<chain>/<trial>`. TensorBoard believes the first
`experiment` summary it meets and would hide the hyperparameters of every other chain and study;
so none is written, and it builds the union of what the trials' own start summaries hold. The
metrics of a row are the run's newest scalars, so they are there before the trial ends.
"""

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.plugins.hparams.summary import session_end_pb, session_start_pb
from torch.utils.tensorboard import SummaryWriter

from tuning.study import Record

log = logging.getLogger(__name__)

NO_CURVE = frozenset({"report", "step", "scored", "kept", "done"})


class Board:
    """Writes the event files of one study, one open file per running trial.

    Nothing it cannot write raises: a picture must never end a search. The first such failure is
    logged; the tables hold everything that a run would have shown.

    Args:
        folder: the study's tensorboard folder.
        columns: the open hyperparameters, as the tables name them.
        task: the name of the task, shown beside the chain, so that studies can be told apart.
    """

    def __init__(self, folder: Path, columns: Iterable[str], task: str) -> None:
        self.folder = folder
        self.columns = tuple(columns)
        self.task = task
        self.writers: dict[str, SummaryWriter] = {}
        self.warned = False

    def start(self, record: Record) -> None:
        """Nothing to draw yet: a run without a report would be an empty row."""

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

    def _draw(self, record: Record, report: Mapping[str, Any]) -> None:
        writer = self._writer(record, report["step"])
        for key, value in report.items():
            number = isinstance(value, int | float) and key not in NO_CURVE
            if number and (key != "score" or report["scored"]):
                writer.add_scalar(key, value, report["step"])

    def _close(self, record: Record) -> None:
        writer = self._writer(record, None)
        del self.writers[record.name]
        status = STATUS_FAILURE if record.status == "failed" else STATUS_SUCCESS
        try:
            writer._get_file_writer().add_summary(session_end_pb(status))
        finally:
            writer.close()

    def _writer(self, record: Record, step: int | None) -> SummaryWriter:
        """The trial's open file; a new one begins with its hyperparameters.

        After a resume the trial goes on in a second file, and what an earlier life drew at `step`
        or later is hidden (`purge_step`): those reports come again.
        """
        if record.name not in self.writers:
            values = {name: record.params.get(name) for name in self.columns}
            shown = {name: value for name, value in values.items() if value is not None}
            writer = SummaryWriter(
                str(self.folder / record.chain / record.name),
                purge_step=step,
                max_queue=1000,  # a slow disk shall not hold up the driver
                flush_secs=2,
            )
            writer._get_file_writer().add_summary(
                session_start_pb({"chain": record.chain, "task": self.task, **shown})
            )
            self.writers[record.name] = writer
        return self.writers[record.name]

    def _guarded(self, write: Callable[[], None]) -> None:
        try:
            write()
        except Exception as error:  # the writer's thread hands on whatever its file system raised
            if not self.warned:
                log.warning("%s: TensorBoard files are incomplete (%s)", self.folder, error)
            self.warned = True
