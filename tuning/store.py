"""The study folder: manifest, labels, tables and the best weights, each written whole.

A reader at any moment finds the old file or the new one (`tuning.places`). The journal
(`tuning.journal`) is the truth; everything here except the manifest and the labels can be written
again from it.
"""

import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from trainables.errors import ConfigError
from tuning import claims, journal, tables
from tuning.places import Place, children, make, reach, reason, remove, sync, write
from tuning.population import rows as stages
from tuning.study import Record

Array = Sequence[Any] | NDArray[Any]


def next_life(folder: Place) -> int:
    """Claim tune/life-k for Tune, and return k; ConfigError where another driver claims it now."""
    lives = [place.name.removeprefix("life-") for place in children(folder / "tune", "life-*")]
    life = max((int(life) for life in lives if life.isdecimal()), default=0) + 1
    claimed = folder / "tune" / f"life-{life}"
    if not isinstance(claimed, Path):
        write(claimed / ".claimed", b"")  # a prefix without objects would not be there
        return life
    try:
        claimed.mkdir(parents=True)
    except FileExistsError as error:
        raise ConfigError(f"{folder}: another process is resuming it; wait or end it") from error
    return life


class Store:
    """One study's folder."""

    def __init__(self, folder: Place) -> None:
        self.folder = folder

    def create(self) -> None:
        """Make the folder and try to write into it; ConfigError where it exists or cannot be."""
        with _told(self.folder):
            if isinstance(self.folder, Path):
                _made(self.folder)
            else:
                reach(self.folder)
                if not _unborn(self.folder):
                    told = f"{self.folder}: {_there(self.folder)}"
                    raise ConfigError(f"{told}, or choose another name")
            try:
                write(self.folder / "probe", b"0" * 4096)
                remove(self.folder / "probe")
            except OSError:
                remove(self.folder)  # nothing stands in the way of a second try
                raise

    def discard(self) -> None:
        """Remove the folder of a study that could not begin; one that began stays."""
        journal = children(self.folder / "journal", "*.jsonl")
        if not any(b'"suggest"' in segment.read_bytes() for segment in journal):
            remove(self.folder)

    @classmethod
    def open(cls, folder: Place) -> "Store":
        """The store of a study begun earlier; ConfigError where there is none."""
        with _told(folder, "read"):
            reach(folder)
        for place in (folder, folder / "manifest.json"):
            with _told(folder, "read"):
                there = place.exists()
            if not there:
                raise ConfigError(f"{folder} is no study: {place} is not there; give another")
        return cls(folder)

    @contextmanager
    def claimed(self) -> Iterator[claims.Claim]:
        """Keep other drivers out of the study; a kill gives it free.

        Raises:
            ConfigError: another driver is at it.
        """
        with claims.claimed(self.folder) as claim:
            if isinstance(self.folder, Path):
                best, old = self.folder / "best", self.folder / ".best.old"
                if old.exists() and not best.exists():
                    old.rename(best)  # a driver died between two renames
            yield claim

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Write a JSON file such as the manifest; NaN and infinity are refused."""
        text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        with _told(self.folder):
            write(self.folder / name, text.encode())

    def read_json(self, name: str) -> dict[str, Any]:
        """Read what `write_json` wrote; ConfigError where it is missing or damaged."""
        path = self.folder / name
        try:
            return dict(json.loads(path.read_text(encoding="utf-8"), parse_constant=journal.refuse))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise ConfigError(f"{path}: cannot be read ({error}); restore it") from error

    def write_labels(self, index: Array, clean: Array | None, given: Array, split: Array) -> None:
        """Write labels.parquet: one row per example of the training source, noise in `given`.

        Each is (N,); `clean` is the true class where known, `split` "train", "validation" or
        "trusted".
        """
        known = [None] * len(index) if clean is None else clean
        columns = [*(pa.array(x, pa.int32()) for x in (index, known, given)), pa.array(split)]
        table = pa.table(columns, names=["index", "clean", "given", "split"])
        with _told(self.folder):
            self._write_table("labels.parquet", table)

    def write_trials(self, records: Iterable[Record], columns: Mapping[str, pa.DataType]) -> None:
        """Write trials.parquet, one row per trial; `columns` types the open hyperparameters."""
        rows = [tables.trial_row(record) for record in records]
        self._write_table("trials.parquet", tables.table(rows, {**tables.TRIAL, **columns}))

    def write_schedule(self, records: Iterable[Record], columns: Mapping[str, pa.DataType]) -> None:
        """Write schedule.parquet: the values of each member of a population, from which epoch."""
        self._write_table(
            "schedule.parquet", tables.table([*stages(records)], {**tables.STAGE, **columns})
        )

    def add_history(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add reports, each with its `trial` and `chain`, as the next part under history/."""
        folder = self.folder / "history"
        make(folder)
        part = max((int(p.stem) for p in children(folder, "[0-9]*.parquet")), default=0) + 1
        self._write_table(f"history/{part:06d}.parquet", tables.history(list(rows)))

    def drop_history(self) -> None:
        """Forget all parts of the history, which the journal can give again."""
        remove(self.folder / "history")

    def finish_history(self, records: Iterable[Record]) -> None:
        """Write history.parquet, one row per (trial, report) in order; the parts then go."""
        rows = [
            {**report, "trial": record.name, "chain": record.chain, "report": number}
            for record in sorted(records, key=lambda record: record.name)
            for number, report in sorted(record.reports.items())
        ]
        self._write_table("history.parquet", tables.history(rows))
        self.drop_history()

    def write_best(
        self, config: Mapping[str, Any], metrics: Mapping[str, Any], weights: Place | None
    ) -> None:
        """Replace best/ as a whole: config.yaml, metrics.json and, if there are any, model.pt.

        An object store replaces single objects only: there metrics.json, which names the trial, is
        written last.
        """
        files = {} if weights is None else {"model.pt": weights.read_bytes()}
        files["config.yaml"] = yaml.safe_dump(dict(config), sort_keys=False).encode()
        files["metrics.json"] = (json.dumps(metrics, indent=2) + "\n").encode()
        if not isinstance(self.folder, Path):
            for name, data in files.items():
                write(self.folder / "best" / name, data)
            return
        best, new, old = (self.folder / name for name in ("best", ".best.new", ".best.old"))
        remove(new)
        new.mkdir()
        for name, data in files.items():
            (new / name).write_bytes(data)
            sync(new / name)
        # No rename replaces a folder that holds files: for a moment there is none, never a mix.
        remove(old)
        if best.exists():
            best.rename(old)
        new.rename(best)
        remove(old)

    def _write_table(self, name: str, table: pa.Table) -> None:
        buffer = io.BytesIO()
        pq.write_table(table, buffer)
        write(self.folder / name, buffer.getvalue())


def _there(folder: Place) -> str:
    """What is to be said of a folder that cannot be a new study's."""
    if (folder / "manifest.json").exists():
        return f"exists already; continue it with --resume {folder}"
    return "exists already and is no study"


def _unborn(folder: Place) -> bool:
    """Whether all in a folder is what a driver leaves that was killed before its manifest."""
    return {place.name for place in children(folder)} <= {".lock", "lease.json", "labels.parquet"}


def _made(folder: Path) -> None:
    """Make a folder that is not there, or holds no study yet."""
    try:
        folder.mkdir(parents=True)
    except (FileExistsError, NotADirectoryError) as error:
        if folder.is_dir() and _unborn(folder):
            return
        there = next(p for p in (folder, *folder.parents) if p.exists())
        told = "is a file where a folder must go; move it"
        if there == folder and there.is_dir():
            told = _there(folder)
        raise ConfigError(f"{there}: {told}, or choose another folder") from error


@contextmanager
def _told(folder: Place, done: str = "written") -> Iterator[None]:
    """Turn what the file system refuses into one line with the folder and the cure."""
    try:
        yield
    except OSError as error:
        told = f"{folder}: cannot be {done} ({reason(error)})"
        raise ConfigError(f"{told}; mend that, or choose another folder with --storage") from error
