"""TensorBoard files, read back the way TensorBoard reads them."""

import errno
import io
import logging
import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_FAILURE, STATUS_SUCCESS
from tensorboard.summary.writer.record_writer import RecordWriter

from tuning.board import Board, quiet_threads
from tuning.picture import NAMED, colours, transition_picture
from tuning.study import Record

COLUMNS = ["optim/lr", "mr/eta", "mr/exact", "optim/schedule"]


def report(number: int, **more: Any) -> dict[str, Any]:
    common = {"report": number, "epoch": float(number), "step": 10 * number, "scored": 1}
    common |= {"score": number / 10, "last": 0.1, "kept": 1, "diverged": 0, "done": False}
    return common | {"val/acc": number / 20, "mr/ess": 0.5, "decision": "STOP"} | more


def record(name: str = "mr-0000", /, **params: Any) -> Record:
    chain, _, n = name.rpartition("-")
    fields: dict[str, Any] = {"params": params, "config": {}, "status": "running", "error": None}
    return Record(name=name, chain=chain, n=int(n), reports={}, **fields)


def draw(board: Board, trial: Record, *reports: dict[str, Any]) -> None:
    for one in reports:
        trial.reports[one["report"]] = one
        board.report(trial, one)


def read(folder: Path) -> EventAccumulator:
    return EventAccumulator(str(folder)).Reload()


def points(folder: Path, tag: str) -> list[tuple[int, Any]]:
    return [(x.step, pytest.approx(x.value)) for x in read(folder).Scalars(tag)]


def hparams(folder: Path) -> dict[str, Any]:
    content = read(folder).PluginTagToContent(metadata.PLUGIN_NAME)
    assert metadata.EXPERIMENT_TAG not in content
    start = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    return {name: getattr(x, x.WhichOneof("kind")) for name, x in start.hparams.items()}


def status(folder: Path) -> Any:
    content = read(folder).PluginTagToContent(metadata.PLUGIN_NAME)[metadata.SESSION_END_INFO_TAG]
    return metadata.parse_session_end_info_plugin_data(content).status


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "tensorboard", COLUMNS, "digits")


def test_curves_are_drawn_over_steps_and_scores_where_measured(board: Board) -> None:
    trial = record()
    draw(board, trial, report(1, scored=0), report(2), report(3))
    board.end(trial)
    run = board.folder / "mr" / "mr-0000"
    assert points(run, "val/acc") == [(10, 0.05), (20, 0.1), (30, 0.15)]
    assert points(run, "best/score") == [(20, 0.2), (30, 0.3)]
    tags = ["best/score", "mr/ess", "run/diverged", "run/epoch", "val/acc"]
    assert sorted(read(run).Tags()["scalars"]) == tags


def test_each_chain_shows_its_own_hyperparameters(board: Board) -> None:
    first = record("mr+mixup-0003", **{"optim/lr": 0.1, "mr/eta": 1, "mr/exact": True, "x": 1})
    second = record("ce-0000", **{"optim/lr": 0.2, "optim/schedule": "cosine", "mr/eta": None})
    for trial in (first, second):
        draw(board, trial, report(1))
    first.status, second.status = "stopped", "failed"
    for trial in (first, second):
        board.end(trial)
    one, two = board.folder / "mr+mixup" / "mr+mixup-0003", board.folder / "ce" / "ce-0000"
    common = {"task": "digits"}
    assert hparams(one) == common | {
        "chain": "mr+mixup",
        "optim/lr": 0.1,
        "mr/eta": 1.0,
        "mr/exact": True,
    }
    assert hparams(two) == common | {"chain": "ce", "optim/lr": 0.2, "optim/schedule": "cosine"}
    assert (status(one), status(two)) == (STATUS_SUCCESS, STATUS_FAILURE)


def test_hyperparameters_are_there_before_the_end(board: Board) -> None:
    trial = record("mr-0000", **{"optim/lr": 0.1})
    draw(board, trial, report(1))
    board.writers["mr-0000"].flush()
    run = board.folder / "mr" / "mr-0000"
    assert hparams(run)["optim/lr"] == 0.1
    assert points(run, "best/score") == [(10, 0.1)]


def test_a_trial_without_a_report_is_no_run(board: Board) -> None:
    trial = record()
    trial.status = "failed"
    board.end(trial)
    assert not board.folder.exists()


def test_a_second_life_hides_what_it_repeats(tmp_path: Path) -> None:
    trial = record()
    for life in ([1, 2, 3], [2, 3, 4]):
        board = Board(tmp_path, COLUMNS, "digits")
        draw(board, trial, *(report(i, score=len(life) * i) for i in life))
        board.close()
    run = tmp_path / "mr" / "mr-0000"
    assert points(run, "val/acc") == [(10, 0.05), (20, 0.1), (30, 0.15), (40, 0.2)]
    assert hparams(run)["chain"] == "mr"
    assert board.writers == {}


def test_a_trial_that_ends_right_after_a_resume_is_ended(board: Board) -> None:
    trial = record()
    trial.reports[1] = report(1)
    board.end(trial)
    assert status(board.folder / "mr" / "mr-0000") == STATUS_SUCCESS


def test_only_running_trials_hold_a_file(board: Board) -> None:
    trials = [record(f"mr-{i:04d}") for i in range(3)]
    for trial in trials:
        draw(board, trial, report(1))
    board.end(trials[1])
    assert sorted(board.writers) == ["mr-0000", "mr-0002"]


def test_a_folder_that_cannot_be_written_is_told_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "tensorboard").write_text("")
    board, trial = Board(tmp_path / "tensorboard", COLUMNS, "digits"), record()
    with caplog.at_level(logging.WARNING, "tuning.board"):
        draw(board, trial, report(1), report(2))
        board.end(trial)
    assert len(caplog.records) == 1
    assert "TensorBoard files are incomplete" in caplog.text


def test_labels_are_one_picture_however_many_lives(tmp_path: Path) -> None:
    for _ in range(2):
        board = Board(tmp_path / "tensorboard", COLUMNS, "digits")
        board.labels(np.array([[3, 1], [2, 2]]), ["cat", "dog"])
        board.close()
    (file,) = (tmp_path / "tensorboard" / "labels").iterdir()
    found = read(file.parent)
    (shown,) = found.Images("clean to given")
    image = Image.open(io.BytesIO(shown.encoded_image_string))
    assert image.size == (shown.width, shown.height)
    assert found.Tags()["scalars"] == []
    with pytest.raises(KeyError):  # else it were a row in HPARAMS
        found.PluginTagToContent(metadata.PLUGIN_NAME)


def test_a_picture_that_cannot_be_drawn_ends_no_search(
    board: Board, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*args: Any) -> None:
        raise OSError("cannot open font")

    monkeypatch.setattr("tuning.board.transition_picture", broken)
    with caplog.at_level(logging.WARNING, "tuning.board"):
        board.labels(np.eye(2, dtype=int), ["cat", "dog"])
    assert "cannot open font" in caplog.text


@pytest.mark.parametrize("classes", [2, 10, 100, 1500])
def test_each_cell_has_the_colour_of_its_share(classes: int) -> None:
    counts = np.diag(np.full(classes, 3))
    counts[:, 0] += 1  # a quarter, but for the first row
    counts[1] = 0  # a class without images
    names = [f"class number {i}, and more" for i in range(classes)]
    image = transition_picture(counts, names, "task")
    found = {tuple(pixel) for pixel in np.asarray(image).reshape(-1, 3).tolist()}
    assert set(map(tuple, colours(np.array([1.0, 0.75, 0.25, 0.0])).tolist())) <= found
    assert max(image.size) < 2000
    assert min(image.size) >= NAMED * min(classes, 100)


def test_a_full_disk_prints_nothing_from_the_writers_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: RecordWriter, data: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def lost() -> None:
        raise OSError("ours")

    monkeypatch.setattr(RecordWriter, "write", full)
    monkeypatch.setattr(threading, "excepthook", lambda told: seen.append(told.exc_value))
    seen: list[object] = []
    with quiet_threads():
        board = Board(tmp_path, COLUMNS, "digits")
        draw(board, record(), report(1), report(2))
        board.close()
        assert board.warned
        assert seen == []
        other = threading.Thread(target=lost)
        other.start()
        other.join()
    assert [str(error) for error in seen] == ["ours"]
