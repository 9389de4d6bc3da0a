"""The study folder: written whole or not at all, and typed."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from trainables.errors import ConfigError
from tuning.holes import Choice, Hole, Int, Log, Option, Uniform
from tuning.store import Store, next_life
from tuning.study import Record
from tuning.tables import column_type, column_types


def report(number: int, **more: Any) -> dict[str, Any]:
    common = {"report": number, "epoch": number / 2, "step": 10 * number, "scored": number % 2}
    common |= {"score": 0.5 + number / 100, "last": 0.4, "kept": 0, "diverged": 0, "done": False}
    return common | {"val/acc": 0.4, "seconds": 1.5 * number, "decision": "CONTINUE"} | more


def record(name: str, reports: int = 0, **more: Any) -> Record:
    chain, _, n = name.rpartition("-")
    fields: dict[str, Any] = {"params": {"optim/lr": 0.1}, "config": {"epochs": 8}}
    fields |= {"status": "running", "reports": {i: report(i) for i in range(1, reports + 1)}}
    return Record(name=name, chain=chain, n=int(n), **{"error": None, **fields, **more})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    store = Store(tmp_path / "results" / "study")
    store.create()
    return store


def refuse(*args: Any, **kwargs: Any) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def options(*values: Any) -> Choice:
    return Choice(tuple(Option(value, ()) for value in values))


@pytest.mark.parametrize(
    ("domain", "expected"),
    [
        (Uniform(0.0, 1.0), pa.float64()),
        (Log(0.1, 1.0), pa.float64()),
        (Int(1, 3), pa.int64()),
        (options(1, 2), pa.int64()),
        (options(0.5, 1), pa.float64()),
        (options(True, False), pa.bool_()),
        (options("cosine", None), pa.string()),
        (options(0.5, "auto"), pa.string()),
        (options(True, 1), pa.string()),
        (options(None), pa.string()),
    ],
)
def test_column_types(domain: Any, expected: pa.DataType) -> None:
    assert column_type(Hole("mr/x", domain)) == expected


def test_a_folder_is_created_once(store: Store) -> None:
    assert list(store.folder.iterdir()) == []
    (store.folder / "labels.parquet").touch()  # left by a driver that was killed at once
    store.create()
    store.write_json("manifest.json", {})
    with pytest.raises(ConfigError, match=r"results/study: exists already; .*--resume"):
        store.create()


def test_a_folder_with_other_things_is_left_alone(store: Store) -> None:
    (store.folder / "notes.txt").touch()
    with pytest.raises(ConfigError, match=r"study: exists already and is no study, or choose"):
        store.create()
    assert [path.name for path in store.folder.iterdir()] == ["notes.txt"]


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").write_text("")
    for folder in (tmp_path / "results", tmp_path / "results" / "a" / "b"):
        with pytest.raises(ConfigError, match=r"results: is a file where a folder must go"):
            Store(folder).create()


@pytest.mark.parametrize("where", ["mkdir", "fsync"])
def test_a_refusing_file_system_is_told(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(Path if where == "mkdir" else os, where, refuse)
        with pytest.raises(ConfigError, match=r"x: cannot be written \(No space left.*--storage"):
            Store(tmp_path / "x").create()
    Store(tmp_path / "x").create()  # nothing is left behind that would be in the way


def test_only_a_study_opens(store: Store) -> None:
    with pytest.raises(ConfigError, match=r"study is no study: .*manifest.json is not there"):
        Store.open(store.folder)
    store.write_json("manifest.json", {})
    assert Store.open(store.folder).read_json("manifest.json") == {}
    with pytest.raises(ConfigError, match="elsewhere is no study"):
        Store.open(store.folder / "elsewhere")


def test_json_is_replaced_whole_or_not_at_all(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.write_json("manifest.json", {"command": "søk", "lives": [1]})
    assert (store.folder / "manifest.json").read_text("utf-8").startswith('{\n  "command": "søk"')
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(ConfigError, match="No space left"):
            store.write_json("manifest.json", {"lives": [1, 2]})
    with pytest.raises(ValueError, match="JSON"):
        store.write_json("manifest.json", {"score": float("nan")})
    assert store.read_json("manifest.json")["lives"] == [1]
    assert [path.name for path in store.folder.iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("text", ["", "{", "3"])
def test_a_damaged_manifest_is_told(text: str, store: Store) -> None:
    (store.folder / "manifest.json").write_text(text)
    with pytest.raises(ConfigError, match=r"manifest.json: cannot be read"):
        store.read_json("manifest.json")


@pytest.mark.parametrize("clean", [None, [0, None, 2], np.array([0, 1, 2])])
def test_labels(clean: Any, store: Store) -> None:
    split = ["train", "validation", "train"]
    store.write_labels(np.arange(3), clean, np.array([2, 1, 2]), np.array(split))
    table = pq.read_table(store.folder / "labels.parquet")
    assert table.schema.types == [pa.int32(), pa.int32(), pa.int32(), pa.string()]
    expected = [None] * 3 if clean is None else list(clean)
    assert table.to_pydict() == {
        "index": [0, 1, 2],
        "clean": expected,
        "given": [2, 1, 2],
        "split": split,
    }


def test_trials_are_one_typed_row_each(store: Store) -> None:
    ended = record(
        "mr-0000",
        3,
        status="done",
        params={"optim/lr": 1, "mr/losses": "eval", "mr/mixed": True, "mr/period": None},
    )
    ended.reports[3]["reset/count"] = 2
    failed = record("ce-0001", status="failed", error="out of memory", params={"optim/lr": 0.5})
    columns = {"optim/lr": pa.float64(), "mr/losses": pa.string(), "mr/mixed": pa.string()}
    store.write_trials([ended, failed], {**columns, "mr/period": pa.int64()})
    table = pq.read_table(store.folder / "trials.parquet")
    names = "trial chain status score last epoch epochs diverged resets seconds error"
    assert " ".join(table.column_names).startswith(names + " optim/lr ")
    assert {name: table.schema.field(name).type for name in columns} == columns
    assert table.schema.field("diverged").type == pa.bool_()
    first, second = table.to_pylist()
    assert first["trial"] == "mr-0000"
    assert (first["epoch"], first["epochs"], first["resets"], first["seconds"]) == (1.5, 8, 2, 4.5)
    assert (first["score"], first["last"], first["diverged"]) == (0.53, 0.4, False)
    assert (first["optim/lr"], first["mr/losses"], first["mr/mixed"]) == (1.0, "eval", "true")
    assert first["mr/period"] is None
    assert (second["status"], second["error"], second["mr/losses"]) == (
        "failed",
        "out of memory",
        None,
    )
    assert (second["score"], second["seconds"], second["resets"]) == (None, None, 0)


def test_history_grows_by_parts_and_ends_as_one_file(store: Store) -> None:
    records = [record("mr-0001", 2), record("ce-0000", 11), record("mr-0002")]
    records[0].reports[2]["mr/ess"] = 0.25
    for number in (1, 2):
        store.add_history([{**report(number), "trial": "mr-0001", "chain": "mr"}])
    parts = sorted(path.name for path in (store.folder / "history").iterdir())
    assert parts == ["000001.parquet", "000002.parquet"]
    assert pq.read_table(store.folder / "history").num_rows == 2
    store.finish_history(records)
    assert not (store.folder / "history").exists()
    table = pq.read_table(store.folder / "history.parquet")
    fixed = ["trial", "chain", "report", "epoch", "step", "scored", "score"]
    rest = ["diverged", "done", "kept", "last", "mr/ess", "seconds", "val/acc"]
    assert table.column_names == fixed + rest
    assert {table.schema.field(name).type for name in rest} == {pa.float64()}
    keys = list(zip(table["trial"].to_pylist(), table["report"].to_pylist(), strict=True))
    assert keys == [("ce-0000", i) for i in range(1, 12)] + [("mr-0001", 1), ("mr-0001", 2)]
    assert table["mr/ess"].to_pylist() == [None] * 12 + [0.25]
    assert table["scored"].to_pylist()[:2] == [True, False]


def test_a_study_without_reports_still_has_its_columns(store: Store) -> None:
    store.finish_history([])
    table = pq.read_table(store.folder / "history.parquet")
    assert (table.num_rows, table.num_columns) == (0, 7)


def test_parts_go_on_after_a_resume_or_are_dropped(store: Store) -> None:
    store.drop_history()  # there is none yet
    for life in range(2):
        row = {**report(1), "trial": f"mr-000{life}", "chain": "mr"}
        Store(store.folder).add_history([row])
    assert len(list((store.folder / "history").iterdir())) == 2
    store.drop_history()
    assert not (store.folder / "history").exists()


def test_lives_count_up_over_gaps(store: Store) -> None:
    assert next_life(store.folder) == 1
    (store.folder / "tune" / "life-9").mkdir()
    (store.folder / "tune" / "life-of-brian").mkdir()
    assert next_life(store.folder) == 10
    assert (store.folder / "tune" / "life-10").is_dir()


def test_best_is_replaced_as_a_whole(store: Store, tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.write_bytes(b"first")
    store.write_best({"optim": {"lr": 1e-5}}, {"score": 0.9}, weights)
    best = store.folder / "best"
    assert (best / "model.pt").read_bytes() == b"first"
    assert yaml.safe_load((best / "config.yaml").read_text()) == {"optim": {"lr": 1e-5}}
    with pytest.raises(FileNotFoundError):
        store.write_best({"optim": {"lr": 2}}, {"score": 1.0}, tmp_path / "missing")
    assert '"score": 0.9' in (best / "metrics.json").read_text()
    store.write_best({"optim": {"lr": 2}}, {"score": 1.0}, None)
    assert sorted(path.name for path in best.iterdir()) == ["config.yaml", "metrics.json"]
    assert [path.name for path in store.folder.iterdir()] == ["best"]


def test_best_survives_a_driver_that_died_while_replacing_it(store: Store) -> None:
    store.write_json("manifest.json", {})
    (store.folder / "journal").mkdir()
    store.write_best({"optim": {"lr": 2}}, {"score": 1.0}, None)
    (store.folder / "best").rename(store.folder / ".best.old")
    with Store.open(store.folder).claimed():
        assert (store.folder / "best" / "config.yaml").exists()


def test_two_drivers_cannot_run_one_study(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with (
        store.claimed(),
        pytest.raises(ConfigError, match="another process is running this study"),
        Store(tmp_path).claimed(),
    ):
        pass
    with store.claimed():  # free again
        assert (tmp_path / ".lock").exists()


def test_a_column_of_several_chains_holds_the_values_of_all() -> None:
    whole = Hole("mr/period", Choice((Option(1), Option(2))))
    parts = Hole("mr/period", Choice((Option(0.5), Option(1))))
    words = Hole("mr/period", Choice((Option("often"),)))
    assert column_types([parts, whole]) == {"mr/period": pa.float64()}
    assert column_types([whole, parts]) == {"mr/period": pa.float64()}
    assert column_types([whole, words]) == {"mr/period": pa.string()}
