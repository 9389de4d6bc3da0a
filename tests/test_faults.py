"""What ends trials and studies: told apart, answered, and survived.

The slow ones run real studies. A disk that is full is a file's presence: every process of such a
study has a `sitecustomize` whose `os.fsync` fails where the file says so. So is an actor that dies
as it turns to its next trial.
"""

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest
from ray import tune
from rich.console import Console

from benchmarks.soak import family, title
from benchmarks.tornado import actors, battered, repeated, start, wrong
from tuning import faults, journal
from tuning.allocate import Equal
from tuning.commandline import parse, where
from tuning.holes import Hole, Log
from tuning.interrupts import Interrupt
from tuning.journal import Journal
from tuning.progress import Promise
from tuning.resources import Resources
from tuning.run import EndedError, Life
from tuning.schedulers import FIFO
from tuning.searchers import Problem, Random
from tuning.space import ChainSpace
from tuning.store import Store
from tuning.study import Lane, Study
from tuning.tuner import Decider, Watcher

LIMIT = 300.0  # seconds of a child process
# As Ray 2.60 and torch 2.15 wrote them, cut
HEAD = "Failure # 1 (occurred at 2026-11-21_10-00-00)\n"
TASK = (
    HEAD + "ray::ResourceTrainable.train() (pid=7, ip=192.0.2.2)\n  File a.py, line 3, in train\n"
)
KILLED = (
    "The actor died unexpectedly before finishing this task.\n\tpid: 4178\nThe actor is dead "
    "because its worker process has died. Worker exit type: SYSTEM_ERROR Worker exit detail: Worker"
    " unexpectedly exits with a connection error code 2. End of file. Some common causes include: "
    "(1) the process was killed by the OOM killer due to high memory usage, (2) ray stop --force"
)
MONITOR = (
    "1 worker(s) were killed due to the node running low on memory. Memory on the node was 6.14GB "
    "used / 23.54GB limit (0.260635)\nOOM kill reason: Memory usage exceeded threshold\nSet "
    "max_restarts and max_task_retries to enable retry when the task crashes due to OOM."
)
NODE = (
    "The actor died unexpectedly before finishing this task.\nThe actor died because its node has "
    "died. Node Id: 0f\n\tthe actor's node was terminated unexpectedly: health check failed"
)
CUDA = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 GiB. GPU 0 has 8 GiB."
CPU = (
    "RuntimeError: [enforce fail at alloc_cpu.cpp:121] data. DefaultCPUAllocator: can't allocate "
    "memory: you tried to allocate 10240000000000 bytes. Error code 12 (Cannot allocate memory)"
)
DISK = "OSError: [Errno 28] Error writing bytes to file. Detail: [errno 28] No space left on device"
TOLD = {
    "gpu": (TASK + CUDA, f"out of GPU memory: {CUDA} (", "--gpus 0.5", False),
    "cpu": (TASK + CPU, f"out of memory: {CPU[:200]} (", "--concurrency", False),
    "numpy": (
        TASK + "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8 TiB",
        "out of memory: numpy",
        "optim.batch",
        False,
    ),
    "monitor": (HEAD + MONITOR, "ended by Ray, as its machine ran out", "--concurrency", True),
    "killed": (HEAD + KILLED, "its process was killed (", "--max-failures", True),
    "node": (HEAD + NODE, "its machine went away (", "--retry-failed", True),
    "disk": (TASK + DISK, f"storage: {DISK} (", "put that right", True),
}


@pytest.mark.parametrize("name", TOLD)
def test_what_is_no_bug_is_told_with_what_would_help(name: str) -> None:
    text, begins, cure, heals = TOLD[name]
    line = faults.told(text)
    assert line.startswith(begins)
    assert cure in line[len(begins) :]
    assert "\n" not in line
    assert len(line) < faults.LENGTH
    fault = faults.fault_of(text)
    assert fault is not None
    assert fault.heals is heals
    assert (fault is faults.STORAGE) == (name == "disk")
    # an earlier failure of the trial says nothing of the last one
    later = text + "\n" + TASK.replace("# 1", "# 2") + "ValueError: loss is 3\n"
    assert faults.told(later) == "ValueError: loss is 3"
    assert faults.fault_of(later) is None


def test_a_message_cut_by_odd_line_ends_is_told_all_the_same() -> None:
    assert faults.told("OSError: a\x0c AWS Error x").startswith("storage: AWS Error x (")


@pytest.mark.parametrize("text", ["", HEAD])
def test_a_failure_that_said_nothing(text: str) -> None:
    assert faults.told(text) == "ended without a message"


def test_failures_are_counted_by_kind() -> None:
    texts = [TASK + CUDA, HEAD + KILLED, TASK + CUDA, "trainables.errors.ConfigError: noise: 3"]
    errors = [*map(faults.told, texts), None]
    records: Any = [SimpleNamespace(status="failed", error=error) for error in errors]
    records.append(SimpleNamespace(status="done", error=None))
    assert faults.counted(records) == (
        "failed: 2 out of GPU memory, 1 its process was killed, 1 ConfigError, 1 no message"
    )
    assert faults.counted(records[-1:]) == ""


# What a life does about them


class Written:
    """A journal in memory."""

    def __init__(self) -> None:
        self.entries: list[dict[str, Any]] = []

    def __call__(self, entry: dict[str, Any], flush: bool) -> None:
        self.entries.append(entry)


@pytest.fixture
def life(tmp_path: Path) -> Life:
    lane = Lane("mr", rule=FIFO(9, mode="max", grace=0.2, factor=3), config=dict)
    chain = ChainSpace("mr", {"optim": {"lr": {"log": [0.01, 1.0]}}})
    dealer = Equal([chain], trials=2, make=lambda *of: Random(Problem(*of)))
    study = Study([lane], dealer=dealer, epochs=9, mode="max", select="last", write=Written())
    return Life(
        study=study,
        store=Store(tmp_path),
        holes=[Hole("optim/lr", Log(0.01, 1.0))],
        task="digits",
        keep=1,
        promise=Promise("name", "val/acc", {"mr": 2}, 9),
        console=Console(file=StringIO(), width=80),
        interrupt=Interrupt(),
    )


@pytest.fixture
def watcher(life: Life) -> Watcher:
    return Watcher(
        life.study,
        Decider(life.study),
        on_report=life.on_report,
        on_end=life.on_end,
        on_tick=life.on_tick,
        on_retry=life.note,
        on_fault=life.on_fault,
        starts=Counter(),
    )


def tunes(life: Life, tmp_path: Path, text: str, failures: int = 1) -> Any:
    """A trial of Tune's that has failed with a text."""
    record = life.study.next()
    assert record is not None
    file = tmp_path / "error.txt"
    file.write_text(text)
    config = {"trial": {"name": record.name}}
    return SimpleNamespace(
        error_file=str(file),
        config=config,
        num_failures=failures,
        max_failures=5,
        status="PENDING",
    )


def report(number: int, **more: Any) -> dict[str, Any]:
    told: dict[str, Any] = {"report": number, "epoch": float(number), "step": 9 * number}
    told |= {"scored": 1, "score": 0.5, "last": 0.5, "kept": 0, "diverged": 0, "done": False}
    return told | {"seconds": 1.0, **more}


def test_a_bug_ends_the_trial_and_a_full_disk_the_life(
    life: Life, watcher: Watcher, tmp_path: Path
) -> None:
    """What the storage did is no trial's fault: the next life finds it unfinished."""
    watcher.on_trial_error(1, [], tunes(life, tmp_path, TASK + "ValueError: loss is 3"))
    record = life.study.records["mr-0000"]
    assert (record.status, record.error) == ("failed", "ValueError: loss is 3")
    assert not life.over()
    watcher.on_trial_error(1, [], tunes(life, tmp_path, TASK + DISK))
    assert life.study.records["mr-0001"].status == "pending"
    assert life.over()
    assert life.fault is not None
    assert "No space left on device" in life.fault


@pytest.mark.parametrize(("name", "most"), [("gpu", 1), ("cpu", 1), ("killed", 5), ("disk", 5)])
def test_what_will_not_heal_is_tried_once_more_only(
    name: str, most: int, life: Life, watcher: Watcher, tmp_path: Path
) -> None:
    trial = tunes(life, tmp_path, TOLD[name][0])
    watcher.on_trial_recover(1, [], trial)
    assert trial.max_failures == most
    assert isinstance(life.console.file, StringIO)
    (line,) = life.console.file.getvalue().splitlines()
    assert line == f"note: mr-0000 is tried again after: {faults.told(TOLD[name][0])}"


def test_a_process_killed_before_its_trial_began_costs_a_failure_and_not_the_trial(
    life: Life, watcher: Watcher, tmp_path: Path
) -> None:
    """Tune gives such a trial up at once; it is issued again when Tune runs again."""
    trial = tunes(life, tmp_path, HEAD + KILLED, failures=4)  # three, the last counted twice
    record = life.study.records["mr-0000"]
    watcher.decider.on_trial_error(None, trial)
    watcher.on_trial_error(1, [], trial)
    assert record.status == "pending"
    other = life.study.next()
    assert other is not None
    assert (other.name, life.study.next()) == ("mr-0001", None)  # not within the same run
    assert life.study.take_late()
    assert life.study.next() is record
    assert not life.study.take_late()
    watcher.on_trial_error(1, [], trial)  # 6 failures of 5
    assert record.status == "failed"
    assert record.error is not None
    assert "its process was killed" in record.error
    assert not life.study.take_late()


def test_a_trial_that_ran_and_used_up_its_failures_gets_no_more(
    life: Life, watcher: Watcher, tmp_path: Path
) -> None:
    trial = tunes(life, tmp_path, HEAD + KILLED, failures=6)  # of 5
    trial.status = "RUNNING"
    watcher.decider.on_trial_error(None, trial)
    watcher.on_trial_error(1, [], trial)
    assert life.study.records["mr-0000"].status == "failed"
    assert not life.study.take_late()


@pytest.mark.parametrize("text", [TASK + "ValueError: loss is 3", TASK + CPU, TASK + CUDA])
def test_what_would_fail_again_is_not_tried_later(
    text: str, life: Life, watcher: Watcher, tmp_path: Path
) -> None:
    trial = tunes(life, tmp_path, text)
    watcher.decider.on_trial_error(None, trial)
    watcher.on_trial_error(1, [], trial)
    assert life.study.records["mr-0000"].status == "failed"
    assert not life.study.take_late()


@pytest.mark.parametrize(("number", "told"), [(5, "it went on from report 4"), (1, "it started")])
def test_a_trial_that_fell_back_is_told_of(life: Life, number: int, told: str) -> None:
    record = life.study.next()
    assert record is not None
    for known in range(1, 8):
        life.study.report(record.name, report(known))
    life.study.report(record.name, report(number, fell_back=1))
    life.on_report(record)
    life.study.report(record.name, report(number + 1))
    life.on_report(record)
    assert isinstance(life.console.file, StringIO)
    (line,) = life.console.file.getvalue().splitlines()
    assert line.startswith(f"note: mr-0000: its newest checkpoint was not whole; {told}")


@pytest.mark.parametrize(("given", "most"), [(None, 2), (0, 0), (7, 7)])
def test_max_failures_are_tunes_and_a_fault_ends_the_life(
    given: int | None, most: int, life: Life, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Failing:
        def __init__(self, *args: Any, run_config: Any, **settings: Any) -> None:
            seen.append(run_config.failure_config.max_failures)

        def fit(self) -> None:
            life.on_fault("mr-0000: storage: full (put that right)")
            life.on_fault("mr-0001: another")

    monkeypatch.setattr(tune, "Tuner", Failing)
    life.max_failures = given
    with pytest.raises(EndedError) as ended:
        life.run(Resources(1, 0, 1))
    line = f"mr-0000: storage: full (put that right), then go on with --resume {life.store.folder}"
    assert str(ended.value) == line
    assert seen == [most]


def test_max_failures_is_of_a_life_and_repeated() -> None:
    assert parse(["--method", "mr"]).max_failures is None
    args = parse(["--resume", "folder", "--max-failures", "0"])
    assert args.max_failures == 0
    assert where(args) == " --max-failures 0"


def test_a_clock_that_jumps_back_changes_nothing(
    life: Life, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour back between any two calls: limits, tables, flushes and entries do not notice."""
    hours = iter(range(10**6))
    clock, now = time.time, time.monotonic()
    monkeypatch.setattr(time, "time", lambda: clock() - 3600 * next(hours))
    monkeypatch.setattr(time, "monotonic", lambda: now)
    book = Journal(tmp_path / "journal")
    life.study.write = lambda entry, flush: book.append(entry, flush=flush)
    life.promise = Promise("name", "val/acc", {"mr": 2}, 9, time_limit=60.0)
    record = life.study.next()
    assert record is not None
    for number in (1, 2):
        now += 20.0
        life.study.report(record.name, report(number))
        life.on_report(record)
        life.on_tick()
        shown = pq.read_table(tmp_path / "trials.parquet").column("epoch").to_pylist()
        assert shown == [record.epoch]
    assert life.seconds == 20.0
    assert not life.over()
    now += 41.0
    assert life.over()
    book.close()
    entries = list(journal.read(tmp_path / "journal"))
    assert [entry.get("report") for entry in entries] == [None, 1, 2]


# Real studies

SMALL = ("--method", "mr+reset", "--trials", "3", "--concurrency", "2", "--scheduler", "fifo")
SMALL += ("--searcher", "random", "--set", "epochs=12", "--set", "optim.batch=64")
SITE = """
import errno, os, sys

real = os.fsync

def fsync(number):
    worker = sys.argv[0].endswith("default_worker.py")
    for name in ("once", "full"):
        if os.path.exists(f"@FOLDER@/{name}") and (worker or name == "full"):
            if name == "once":
                try:
                    os.unlink(f"@FOLDER@/once")
                except FileNotFoundError:
                    continue
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return real(number)

os.fsync = fsync
"""
MORTAL = """
import os, signal, sys, threading, time

def mortal():
    while not hasattr(sys.modules.get("trainables.trial"), "trainable_for"):
        time.sleep(0.01)
    module = sys.modules["trainables.trial"]
    real, made = module.Loop, []

    def loop(*args, **more):
        if made and os.path.exists("@FOLDER@/once"):  # its second trial
            os.unlink("@FOLDER@/once")
            os.kill(os.getpid(), signal.SIGKILL)
        made.append(1)
        return real(*args, **more)

    module.Loop = loop

if sys.argv[0].endswith("default_worker.py"):
    threading.Thread(target=mortal, daemon=True).start()
"""


def until(ready: Callable[[], bool], driver: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + LIMIT
    while not ready():
        assert driver.poll() is None, "it ended before it could be disturbed"
        assert time.monotonic() < end
        time.sleep(0.02)


def entries_of(folder: Path) -> list[dict[str, Any]]:
    return list(journal.read(folder / "journal")) if (folder / "journal").exists() else []


def kept(folder: Path) -> Counter[str]:
    """How many reports of each trial asked for a checkpoint."""
    entries = entries_of(folder)
    return Counter(e["trial"] for e in entries if e["kind"] == "report" and e["kept"])


@pytest.mark.slow
def test_two_drivers_and_two_actors_are_killed(ray_env: dict[str, str], tmp_path: Path) -> None:
    left = Counter({"driver": 2, "actor": 2})
    outcome = battered(tmp_path / "study", ray_env, random.Random(1), left, stride=12)
    assert outcome.wrong == []
    assert outcome.kills == left
    assert outcome.lives == 3


@pytest.mark.slow
def test_an_actor_killed_while_it_turns_to_another_trial_is_no_end_of_it(
    ray_env: dict[str, str], tmp_path: Path
) -> None:
    """Tune alone gives the trial up that the actor was to run next, however many may fail."""
    site, folder = tmp_path / "site", tmp_path / "study"
    site.mkdir()
    (site / "sitecustomize.py").write_text(MORTAL.replace("@FOLDER@", str(site)))
    (site / "once").touch()
    env = ray_env | {"PYTHONPATH": f"{site}:{ray_env['PYTHONPATH']}"}
    driver = start(folder, env, (*SMALL, "--trials", "5", "--concurrency", "1"))
    log = folder.with_suffix(".log")
    try:
        assert driver.wait(timeout=LIMIT) == 0, log.read_text()
    finally:
        driver.kill()
    assert not (site / "once").exists()
    assert "is tried again later, after: its process was killed" in log.read_text()
    assert wrong(folder, entries_of(folder)) == []


@pytest.mark.slow
def test_a_trial_whose_newest_checkpoint_was_cut_goes_on_from_the_one_before(
    ray_env: dict[str, str], tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    driver = start(folder, ray_env, SMALL)
    log = folder.with_suffix(".log")
    try:
        until(lambda: max(kept(folder).values(), default=0) > 2, driver)
        until(lambda: bool(actors(driver.pid)), driver)
        standing = actors(driver.pid)
        for pid in standing:  # so that no newer checkpoint comes
            os.kill(pid, signal.SIGSTOP)
        for trial in (folder / "tune" / "life-1").glob("mr*"):
            checkpoints = sorted(trial.glob("checkpoint_*/state.pt"))
            if checkpoints:
                checkpoints[-1].write_bytes(b"half")
        for pid in standing:
            os.kill(pid, signal.SIGKILL)
        assert driver.wait(timeout=LIMIT) == 0, log.read_text()
    finally:
        driver.kill()
    said = log.read_text()
    assert "its newest checkpoint was not whole; it" in said
    entries = entries_of(folder)
    assert any(entry.get("fell_back") for entry in entries)
    assert repeated(entries), "what was lost came again"
    assert wrong(folder, entries) == []


@pytest.mark.slow
def test_a_ray_that_dies_ends_the_life_in_one_line(ray_env: dict[str, str], tmp_path: Path) -> None:
    """Tune alone would wait for its machine for ever."""
    folder = tmp_path / "study"
    driver = start(folder, ray_env, SMALL)
    try:
        until(lambda: bool(entries_of(folder)[2:]), driver)
        (raylet,) = [pid for pid in family(driver.pid) if "/raylet/raylet" in title(pid)]
        os.kill(raylet, signal.SIGKILL)
        assert driver.wait(timeout=LIMIT) == 1
    finally:
        driver.kill()
    said = folder.with_suffix(".log").read_text().splitlines()
    (line,) = [line for line in said if line.startswith("error: ")]
    assert "none of its machines is left" in line
    assert f"--resume {folder}" in line
    assert not [entry for entry in entries_of(folder) if entry.get("status") == "failed"]


@pytest.mark.slow
def test_a_full_disk_ends_a_life_in_one_line_and_room_finishes_the_study(
    ray_env: dict[str, str], tmp_path: Path
) -> None:
    """First one checkpoint fails, which costs nothing; then nothing can be written at all."""
    site, folder = tmp_path / "site", tmp_path / "study"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE.replace("@FOLDER@", str(site)))
    env = ray_env | {"PYTHONPATH": f"{site}:{ray_env['PYTHONPATH']}"}
    (site / "once").touch()
    driver = start(folder, env, SMALL)
    log = folder.with_suffix(".log")
    try:
        until(lambda: max(kept(folder).values(), default=0) > 1, driver)
        assert not (site / "once").exists(), "a checkpoint has failed"
        (site / "full").touch()
        assert driver.wait(timeout=LIMIT) == 1, log.read_text()
    finally:
        driver.kill()
    said = log.read_text()
    assert "is tried again after: storage: OSError" in said
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert "No space left on device" in line
    assert f"--resume {folder}" in line
    entries = entries_of(folder)
    assert not [entry for entry in entries if entry.get("status") == "failed"]
    if (folder / "trials.parquet").exists():
        assert pq.read_table(folder / "trials.parquet").num_rows <= 3
    (site / "full").unlink()
    again = start(folder, env, SMALL)
    assert again.wait(timeout=LIMIT) == 0, log.read_text()
    assert wrong(folder, entries_of(folder)) == []
    lives = json.loads((folder / "manifest.json").read_text())["lives"]
    assert len(lives) == 2
