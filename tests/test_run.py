"""A life of a study on a disk that fails: tables may wait, the search goes on."""

import logging
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ray import tune
from rich.console import Console

from tuning.allocate import Equal
from tuning.holes import Hole, Log
from tuning.interrupts import Interrupt
from tuning.progress import Promise
from tuning.resources import Resources
from tuning.run import EndedError, Life
from tuning.schedulers import FIFO
from tuning.searchers import Problem, Random
from tuning.space import ChainSpace
from tuning.store import Store
from tuning.study import Lane, Record, Study

HOLE = Hole("optim/lr", Log(0.01, 1.0))


@pytest.fixture
def life(tmp_path: Path) -> Life:
    lane = Lane(
        chain="mr",
        rule=FIFO(1, mode="max", grace=0.2, factor=3),
        config=lambda params: {"epochs": 1, "optim": {"lr": params["optim/lr"]}},
    )
    chain = ChainSpace("mr", {"optim": {"lr": {"log": [0.01, 1.0]}}})
    dealer = Equal([chain], trials=2, make=lambda *of: Random(Problem(*of)))
    study = Study(
        [lane], dealer=dealer, epochs=1, mode="max", select="last", write=lambda entry, flush: None
    )
    return Life(
        study=study,
        store=Store(tmp_path),
        holes=[HOLE],
        task="digits",
        keep=1,
        promise=Promise("name", "val/acc", {"mr": 2}, 1),
        console=Console(file=StringIO()),
        interrupt=Interrupt(),
    )


def trained(life: Life, score: float) -> Record:
    """A trial that Tune has started, reported of and ended, as its hooks tell it."""
    record = life.study.next()
    assert record
    report: dict[str, Any] = {"report": 1, "epoch": 1.0, "step": 9, "scored": 1, "score": score}
    report |= {"last": score, "kept": 0, "diverged": 0, "done": True, "seconds": 1.0}
    life.study.report(record.name, report)
    life.on_report(record)
    life.study.end(record.name, "done")
    life.on_end(record)
    return record


@pytest.mark.parametrize(
    "method", ["write_trials", "add_history", "write_best", "finish_history", "drop_history"]
)
def test_what_the_journal_can_give_again_ends_no_search(
    life: Life, method: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    with caplog.at_level(logging.WARNING), monkeypatch.context() as broken:
        broken.setattr(life.store, method, full)
        life.take_over()
        trained(life, 0.5)
        life.on_tick()
        trained(life, 0.4)
        life.finish()
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(life.store.folder) in line
    assert "No space left on device" in line
    assert "--resume" in line
    life.on_end(life.study.records["mr-0000"])  # the disk has room again
    life.finish()
    found = pq.read_table(life.store.folder / "trials.parquet").to_pylist()
    assert [row["score"] for row in found] == [0.5, 0.4]
    assert pq.read_table(life.store.folder / "history.parquet").num_rows == 2
    assert (life.store.folder / "best" / "config.yaml").exists()


@pytest.mark.parametrize("reason", ["interrupt", "journal", "time"])
def test_what_ends_a_run_before_its_trials(life: Life, reason: str) -> None:
    assert not life.over()
    if reason == "interrupt":
        life.interrupt(2, None)
        with pytest.raises(KeyboardInterrupt):  # the second ends it at once
            life.interrupt(2, None)
    elif reason == "journal":
        life.broken = lambda: True
    else:
        life.promise = Promise("name", "val/acc", {"mr": 2}, 1, 0.001)
        assert not life.over()  # it counts from the first report
        trained(life, 0.5)
        assert life.began is not None
        life.began -= 1.0
    assert life.over()


def test_what_ends_tune_is_told_in_one_line(life: Life, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing:
        def __init__(self, *args: Any, **settings: Any) -> None: ...

        def fit(self) -> None:
            raise RuntimeError("The Ray Tune run failed.") from MemoryError("a\nnode is full")

    monkeypatch.setattr(tune, "Tuner", Failing)
    with pytest.raises(EndedError, match="Ray ended the search: node is full; nothing") as told:
        life.run(Resources(1, 0, 1))
    assert str(told.value).endswith(f"--resume {life.store.folder}")
    assert (life.store.folder / "trials.parquet").exists()
