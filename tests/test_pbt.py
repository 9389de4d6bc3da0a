"""Population based training by the command: every report is what its donors' weights give.

One study is left alone, one is killed on the way; both must end with the same tables.
"""

import json
import os
import signal
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from toys import TIMES, untimed

from benchmarks.soak import actors
from trainables.config import Config
from trainables.data.dataset import prepare
from trainables.loop import Loop
from tuning import journal

pytestmark = pytest.mark.slow
EPOCHS = 4
LIMIT = 300  # seconds of a study; they take about 40 on two free cores
COMMAND = ("--method", "mr", "--scheduler", "pbt", "--interval", "0.25", "--trials", "4")
COMMAND += ("--set", f"epochs={EPOCHS}", "--set", "optim.batch=256", "--concurrency", "2", "--json")


def start(env: dict[str, str], folder: Path, *command: str) -> "subprocess.Popen[bytes]":
    with (folder.parent / f"{folder.name}.log").open("ab") as log:
        return subprocess.Popen(
            [sys.executable, "-m", "tuning.search", *command],
            env=env,
            cwd=folder.parent,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def finished(env: dict[str, str], folder: Path, *command: str) -> bool:
    """Whether a study comes to its end."""
    driver = start(env, folder, *command)
    try:
        return driver.wait(LIMIT) == 0
    finally:
        driver.kill()


def entries(folder: Path) -> list[dict[str, Any]]:
    return list(journal.read(folder / "journal")) if (folder / "journal").exists() else []


def turns(folder: Path) -> list[dict[str, Any]]:
    return [entry for entry in entries(folder) if entry["kind"] == "turn"]


@pytest.fixture(scope="module")
def alone(ray_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pbt") / "alone"
    command = (*COMMAND, "--storage", str(folder.parent), "--name", "alone")
    assert finished(ray_env, folder, *command), _said(folder)
    return folder


def _said(folder: Path) -> str:
    return (folder.parent / f"{folder.name}.log").read_text()


def test_every_report_is_what_the_donors_weights_give(alone: Path) -> None:
    suggested = {e["trial"]: e["config"] for e in entries(alone) if e["kind"] == "suggest"}
    reports = {(e["trial"], e["report"]): e for e in entries(alone) if e["kind"] == "report"}
    takes = {(t["trial"], e["generation"]): t for e in turns(alone) for t in e["takes"]}
    assert len(turns(alone)) == EPOCHS - 1 == len(takes)  # one of four, three times
    data = prepare(Config.parse(suggested["mr-0000"]).task)

    @cache
    def trained(name: str, generation: int) -> tuple[dict[str, Any], dict[str, Any], Any]:
        """State and report at the end of a generation of one epoch, and the config it had."""
        if not generation:
            config = suggested[name]
            loop = Loop(Config.parse(config), data, device="cpu")
        else:
            take = takes.get((name, generation))
            config = take["config"] if take else trained(name, generation - 1)[2]
            loop = Loop(Config.parse(config), data, device="cpu")
            loop.load_state_dict(trained(take["donor"] if take else name, generation - 1)[0])
        report = loop.train()
        return loop.state_dict(), report, config

    for (name, number), told in reports.items():
        expected = untimed(trained(name, number - 1)[1])
        assert {key: told[key] for key in expected} == expected, (name, number)
    assert all(told["step"] == 5 * number for (_, number), told in reports.items())


def test_what_is_left_behind(alone: Path) -> None:
    told = json.loads(_said(alone).splitlines()[-1])
    assert (told["how"], told["done"], told["failed"]) == ("finished", 4, 0)
    last = {t["trial"]: t["params"] for e in turns(alone) for t in e["takes"]}
    for row in pq.read_table(alone / "trials.parquet").to_pylist():
        assert row["epoch"] == EPOCHS
        for column, value in last.get(row["trial"], {}).items():
            assert row[column] == value, (row["trial"], column)
    stages = pq.read_table(alone / "schedule.parquet").to_pylist()
    assert [row["donor"] for row in stages].count(None) == 4
    assert sum(row["epoch"] for row in stages) == 1 + 2 + 3
    assert (alone / "best" / "model.pt").exists()
    assert not list(alone.glob("tune/life-*/*/checkpoint_*"))


def test_a_killed_driver_s_population_goes_on_as_if_nothing_had_happened(
    ray_env: dict[str, str], alone: Path
) -> None:
    folder = alone.parent / "killed"
    driver = start(ray_env, folder, *COMMAND, "--storage", str(folder.parent), "--name", "killed")
    end = time.monotonic() + LIMIT
    while not (turns(folder) and entries(folder)[-1]["kind"] == "report"):  # some have gone on
        assert driver.poll() is None, _said(folder)
        assert time.monotonic() < end
        time.sleep(0.05)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    assert len(turns(folder)) < EPOCHS - 1
    assert finished(ray_env, folder, "--resume", str(folder)), _said(folder)
    assert turns(folder) == turns(alone)
    for table, key in (("trials", "trial"), ("history", "report"), ("schedule", "generation")):
        assert _rows(folder, table, key) == _rows(alone, table, key), table


def test_a_member_whose_process_is_killed_goes_on_as_if_nothing_had_happened(
    ray_env: dict[str, str], alone: Path
) -> None:
    """Tried again, it reports what it had reported, and its generation waits for it."""
    folder = alone.parent / "shot"
    driver = start(ray_env, folder, *COMMAND, "--storage", str(folder.parent), "--name", "shot")
    try:
        end = time.monotonic() + LIMIT
        while not turns(folder) or not (standing := actors(driver.pid)):
            assert driver.poll() is None, _said(folder)
            assert time.monotonic() < end
            time.sleep(0.02)
        os.kill(standing[0], signal.SIGKILL)
        assert driver.wait(LIMIT) == 0, _said(folder)
    finally:
        driver.kill()
    assert "is tried again" in _said(folder)
    assert turns(folder) == turns(alone)
    assert _rows(folder, "history", "report") == _rows(alone, "history", "report")


def _rows(folder: Path, table: str, key: str) -> list[dict[str, Any]]:
    rows = pq.read_table(folder / f"{table}.parquet").to_pylist()
    rows = [{k: v for k, v in row.items() if k not in TIMES} for row in rows]
    return sorted(rows, key=lambda row: (row["trial"], row[key]))
