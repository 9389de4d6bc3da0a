"""Whole studies through the command: what is left behind, and what kills and signals change.

Every comparison is between a disturbed study and one of the same command left alone: the tables are
equal in each column but measured time.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from toys import WHOLE

from trainables.config import Config
from trainables.loop import Loop
from tuning import journal
from tuning.study import ENDED

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[1]
LIMIT = 300  # seconds of a child process; they take 15 to 20 on two free cores
PLAIN: tuple[str, ...] = ("--method", "mr", "--trials", "6", "--keep", "2", "--concurrency", "1")
PLAIN += ("--select", "last", "--set", "epochs=3", "--set", "optim.batch=256", "--json")
# its trials keep states from their first epoch on; what it tries depends on no order
RESETS: tuple[str, ...] = ("--method", "mr+reset", "--trials", "4", "--concurrency", "2")
RESETS += ("--searcher", "random", "--scheduler", "fifo")
RESETS += ("--set", "epochs=16", "--set", "optim.batch=64")
TIMES = ("seconds", "seconds/epoch")


@dataclass
class Driver:
    """A running `python -m tuning.search`."""

    process: subprocess.Popen[bytes]
    folder: Path  # of its study
    log: Path

    def wait(self) -> int:
        try:
            return self.process.wait(timeout=LIMIT)
        finally:
            self.process.kill()

    def when(self, ready: Callable[["Story"], bool]) -> None:
        """Return once the journal says so; fail if the study ends before."""
        end = time.monotonic() + LIMIT
        while not ready(Story.read(self.folder)):
            assert self.process.poll() is None, f"ended before it could be disturbed\n{self.said}"
            assert time.monotonic() < end
            time.sleep(0.02)

    @property
    def said(self) -> str:
        return self.log.read_text()


@dataclass
class Story:
    """What a journal tells."""

    suggested: list[str]
    reports: list[dict[str, Any]]
    ended: list[str]
    lives: list[int]  # how many reports there were at the beginning of each life

    @classmethod
    def read(cls, folder: Path) -> "Story":
        story = cls([], [], [], [])
        for entry in journal.read(folder / "journal"):
            kind = entry["kind"]
            if kind == "suggest":
                story.suggested.append(entry["trial"])
            elif kind == "report":
                story.reports.append(entry)
            elif kind == "end":
                story.ended.append(entry["trial"])
            else:
                story.lives.append(len(story.reports))
        return story

    def kept_twice(self) -> bool:
        """Whether a running trial has a checkpoint: Tune had saved one before the second report."""
        kept = Counter(report["trial"] for report in self.reports if report["kept"])
        return any(count > 1 for trial, count in kept.items() if trial not in self.ended)


class Studies:
    """Starts studies in a folder of their own."""

    def __init__(self, env: dict[str, str], folder: Path) -> None:
        self.env, self.folder = env, folder

    def start(self, name: str, *command: str, **env: str) -> Driver:
        log = self.folder / f"{name}.log"
        run = [sys.executable, "-m", "tuning.search", *command]
        if "--resume" not in command:
            run += ["--storage", str(self.folder), "--name", name]
        with log.open("wb") as file:
            process = subprocess.Popen(
                run,
                env=self.env | env,
                cwd=self.folder,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # so that a signal to its group is like Ctrl-C
            )
        return Driver(process, self.folder / name, log)

    def run(self, name: str, *command: str, code: int = 0, **env: str) -> Driver:
        driver = self.start(name, *command, **env)
        assert driver.wait() == code, driver.said
        return driver

    def resume(self, name: str, *command: str, code: int = 0) -> Driver:
        return self.run(name, "--resume", str(self.folder / name), *command, code=code)


@pytest.fixture(scope="module")
def studies(ray_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Studies:
    return Studies(ray_env, tmp_path_factory.mktemp("studies"))


@pytest.fixture(scope="module")
def plain(studies: Studies) -> Driver:
    return studies.run("plain", *PLAIN)


@pytest.fixture(scope="module")
def alone(studies: Studies) -> Path:
    """The study that the disturbed ones are compared to."""
    return studies.run("alone", *RESETS).folder


def rows(folder: Path, table: str, key: Callable[[dict[str, Any]], Any]) -> list[dict[str, Any]]:
    """A table without measured times, in one order."""
    found = pq.read_table(folder / table).drop_columns([*TIMES[: 1 if "trials" in table else 2]])
    return sorted(found.to_pylist(), key=key)


def tables(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """trials.parquet and history.parquet without measured times."""
    return (
        rows(folder, "trials.parquet", lambda row: row["trial"]),
        rows(folder, "history.parquet", lambda row: (row["trial"], row["report"])),
    )


def files(folder: Path, pattern: str) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.glob(pattern))


# One study, left alone


def test_a_study_leaves_its_whole_folder(plain: Driver) -> None:
    folder = plain.folder
    assert {path.name for path in folder.iterdir() if not path.name.startswith(".")} == WHOLE
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {"format", "command", "plan", "data", "noise", "split", "versions", "device"} <= {
        *manifest
    }
    assert manifest["command"][: len(PLAIN)] == list(PLAIN)
    assert manifest["versions"]["ray"]
    assert [life["how"] for life in manifest["lives"]] == ["finished"]
    labels = pq.read_table(folder / "labels.parquet")
    wrong = np.mean(labels["clean"].to_numpy() != labels["given"].to_numpy())
    assert wrong == pytest.approx(manifest["noise"]["realised"])
    assert Counter(labels["split"].to_pylist()) == Counter(manifest["split"])
    assert len(files(folder, "tensorboard/mr/mr-*/events.*")) == 6


def test_the_last_line_is_machine_readable(plain: Driver) -> None:
    told = json.loads(plain.said.splitlines()[-1])
    assert told["study"] == str(plain.folder)
    assert (told["how"], told["trials"], told["failed"]) == ("finished", 6, 0)
    assert told["done"] + told["stopped"] == 6
    best = json.loads((plain.folder / "best" / "metrics.json").read_text())
    assert told["best"].pop("params").keys() == {"optim/lr", "mr/eta", "mr/period"}
    assert best.items() >= told["best"].items()


def test_the_tables_have_typed_columns_and_a_row_for_everything(plain: Driver) -> None:
    trials = pq.read_table(plain.folder / "trials.parquet")
    kinds = {field.name: str(field.type) for field in trials.schema}
    assert kinds["optim/lr"] == kinds["mr/eta"] == kinds["score"] == "double"
    assert kinds["epochs"] == "int64"
    assert kinds["diverged"] == "bool"
    found = trials.to_pylist()
    assert [row["trial"] for row in found] == [f"mr-{n:04d}" for n in range(6)]
    assert {row["status"] for row in found} <= {"done", "stopped"}
    assert all(row["seconds"] > 0 for row in found)
    story = Story.read(plain.folder)
    history = pq.read_table(plain.folder / "history.parquet").to_pylist()
    assert [(row["trial"], row["report"], row["score"]) for row in history] == sorted(
        (report["trial"], report["report"], report["score"]) for report in story.reports
    )
    ended = {row["trial"]: row for row in history}  # the last report of each
    for row in found:
        assert row["score"] == ended[row["trial"]]["score"]
        assert row["epoch"] == ended[row["trial"]]["epoch"]


def test_the_authors_points_come_first(plain: Driver) -> None:
    first = pq.read_table(plain.folder / "trials.parquet").to_pylist()[:2]
    points = [{"optim/lr": 0.1, "mr/eta": 0.01, "mr/period": 1}]
    points += [{"optim/lr": 0.05, "mr/eta": 0.1, "mr/period": 1}]
    for row, point in zip(first, points, strict=True):
        assert {name: row[name] for name in point} == point


def test_the_best_weights_reproduce_their_score(plain: Driver) -> None:
    best = plain.folder / "best"
    config = yaml.safe_load((best / "config.yaml").read_text())
    told = json.loads((best / "metrics.json").read_text())
    entries = journal.read(plain.folder / "journal")
    written = next(e for e in entries if e.get("trial") == told["trial"])
    assert config == written["config"]
    loop = Loop(Config.parse(config), device="cpu")
    loop.model.load_state_dict(torch.load(best / "model.pt", weights_only=True))
    assert loop.validate().acc == told["score"] == told["last"]
    images = told["images"]  # as the README says
    model = Config.parse(config).make_model().build(tuple(images["shape"]), len(images["classes"]))
    model.load_state_dict(torch.load(best / "model.pt", weights_only=True))
    raw = loop.data.validation(slice(None))
    mean, std = (torch.tensor(images[name])[:, None, None] for name in ("mean", "std"))
    hits = model.eval()((raw / 255 - mean) / std).argmax(1) == loop.data.validation_labels
    assert float(hits.float().mean()) == pytest.approx(told["score"], abs=0.004)


def test_only_the_best_keep_weights_and_nobody_a_checkpoint(plain: Driver) -> None:
    trials = pq.read_table(plain.folder / "trials.parquet").to_pylist()
    whole = [row for row in trials if row["epoch"] == row["epochs"]]  # --select last
    ranked = sorted(whole, key=lambda row: -row["score"])
    kept = sorted(f"tune/life-1/{row['trial']}/weights.pt" for row in ranked[:2])
    assert files(plain.folder, "tune/**/*.pt") == kept
    assert files(plain.folder, "tune/**/checkpoint_*") == []


def test_test_labels_change_nothing(studies: Studies, plain: Driver, tmp_path: Path) -> None:
    """They lie in a file of their own; a study with garbage there is the same study."""
    home = tmp_path / "home"
    shutil.copytree(studies.env["NOISETUNE_HOME"], home)
    sealed = home / "sealed" / "digits.npy"
    before = np.load(sealed)
    garbage = np.random.default_rng(0).integers(0, 10, before.shape)
    np.save(sealed, garbage.astype(before.dtype))
    other = studies.run("garbage", *PLAIN, NOISETUNE_HOME=str(home))
    assert np.array_equal(np.load(sealed), garbage)  # and nobody put them right
    assert tables(other.folder) == tables(plain.folder)


def test_several_chains_get_equal_trials_in_turn(studies: Studies) -> None:
    chains = ("ce", "mr", "mr+mixup+reset")
    small = ("--set", "epochs=2", "--set", "optim.batch=256", "--json")
    driver = studies.run("several", "--method", ",".join(chains), "--trials", "5", *small)
    story = Story.read(driver.folder)
    assert story.suggested == [f"{chain}-{n:04d}" for n in range(2) for chain in chains]
    found = pq.read_table(driver.folder / "trials.parquet").to_pylist()
    assert Counter(row["chain"] for row in found) == dict.fromkeys(chains, 2)
    for row in found:
        assert (row["mr/eta"] is None) == (row["chain"] == "ce")
        assert row["optim/lr"] is not None
    for chain in chains:  # the summary has a line for each
        assert re.search(rf"^ *{re.escape(chain)} ", driver.said, re.MULTILINE), driver.said
    assert {path.name for path in (driver.folder / "tensorboard").iterdir()} == {*chains, "labels"}


# Kills and signals


def test_a_killed_driver_is_resumed_as_if_nothing_had_happened(
    studies: Studies, alone: Path
) -> None:
    driver = studies.start("killed", *RESETS)
    driver.when(lambda story: bool(story.ended) and story.kept_twice())
    os.kill(driver.process.pid, signal.SIGKILL)
    driver.wait()
    before = Story.read(driver.folder)
    assert not (driver.folder / "history.parquet").exists()
    studies.resume("killed")
    after = Story.read(driver.folder)
    assert len(after.lives) == 2
    assert len(set(after.suggested)) == len(after.suggested) == 4  # none twice
    assert sorted(after.ended) == sorted(after.suggested)
    assert tables(driver.folder) == tables(alone)
    first: dict[str, int] = {}  # where each trial that was cut began in its second life
    for report in after.reports[after.lives[1] :]:
        first.setdefault(report["trial"], report["report"])
    cut = {report["trial"] for report in before.reports} - {*before.ended}
    assert any(first[trial] > 1 for trial in cut)  # it went on from a checkpoint
    assert files(driver.folder, "tune/**/checkpoint_*") == []
    assert (driver.folder / "best/model.pt").read_bytes()


def test_a_finished_study_grows(studies: Studies, plain: Driver) -> None:
    folder = studies.folder / "grown"
    shutil.copytree(plain.folder, folder)
    before = Story.read(folder)
    studies.resume("grown", "--trials", str(len(before.suggested) + 2))
    after = Story.read(folder)
    assert len(after.suggested) == len(before.suggested) + 2
    assert sorted(after.ended) == sorted(after.suggested)
    assert after.reports[: len(before.reports)] == before.reports
    for table in ("trials.parquet", "history.parquet"):
        found = pq.read_table(folder / table, columns=["trial"]).column("trial").to_pylist()
        told = after.suggested if "trials" in table else [r["trial"] for r in after.reports]
        assert Counter(found) == Counter(told)
    assert files(folder, "history/*") == files(folder, "tune/**/checkpoint_*") == []
    best = json.loads((folder / "best" / "metrics.json").read_text())
    assert best["trial"] in after.suggested
    assert (folder / "best" / "model.pt").exists()


def test_a_killed_trial_is_tried_again(studies: Studies, alone: Path) -> None:
    driver = studies.start("shot", *RESETS)
    driver.when(Story.kept_twice)
    shot: list[int] = []
    while not shot:  # an actor between two calls is renamed for a moment
        assert driver.process.poll() is None, driver.said
        shot = [pid for pid, title in below(driver.process.pid).items() if "Trainable" in title]
    for pid in shot:
        os.kill(pid, signal.SIGKILL)
    assert len(Story.read(driver.folder).ended) < 4
    assert driver.wait() == 0, driver.said
    assert tables(driver.folder) == tables(alone)


def below(pid: int) -> dict[int, str]:
    """The titles of a process's descendants."""
    parents: dict[int, int] = {}
    titles: dict[int, str] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
            titles[int(folder.name)] = (folder / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue  # it has just ended
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return {child: titles[child] for child in found - {pid} if child in titles}


def test_ctrl_c_and_sigterm_leave_a_study_that_can_be_resumed(
    studies: Studies, alone: Path
) -> None:
    driver = studies.start("stopped", *RESETS, COLUMNS="40")  # the command is not broken
    driver.when(Story.kept_twice)
    os.killpg(driver.process.pid, signal.SIGINT)  # as a terminal sends it
    assert driver.wait() == 130, driver.said
    unfinished(driver)
    (command,) = re.findall(r"python -m tuning\.search (--resume .*)", driver.said)
    again = studies.start("stopped", *shlex.split(command), "--json")
    begun = len(Story.read(driver.folder).reports)
    again.when(lambda story: len(story.reports) > begun)
    os.kill(again.process.pid, signal.SIGTERM)
    assert again.wait() == 130, again.said
    assert json.loads(again.said.splitlines()[-1])["how"] == "interrupted"
    unfinished(again)
    studies.resume("stopped")
    assert tables(driver.folder) == tables(alone)
    manifest = json.loads((driver.folder / "manifest.json").read_text())
    told = [life["how"] for life in manifest["lives"]]
    assert told == ["interrupted", "interrupted", "finished"]


def unfinished(driver: Driver) -> None:
    """Its tables are there, and hold what the journal holds."""
    assert "Traceback" not in driver.said
    story = Story.read(driver.folder)
    trials = pq.read_table(driver.folder / "trials.parquet").to_pylist()
    assert [row["trial"] for row in trials] == sorted(story.suggested)
    assert sum(row["status"] in ENDED for row in trials) == len(story.ended) < 4
    history = pq.read_table(driver.folder / "history").to_pylist()
    assert {(row["trial"], row["report"]) for row in history} == {
        (report["trial"], report["report"]) for report in story.reports
    }


def test_time_ends_a_study_that_can_be_resumed(studies: Studies) -> None:
    quick = ("--searcher", "random", "--set", "epochs=1", "--set", "optim.batch=256", "--json")
    command = ("--method", "ce", "--trials", "500", *quick, "--time", "3")
    driver = studies.run("timed", *command, COLUMNS="40")
    told = json.loads(driver.said.splitlines()[-1])
    assert told["how"] == "out of time"
    assert 0 < told["done"] < 500
    assert re.search(r"--resume \S*timed", driver.said)
    before = pq.read_table(driver.folder / "trials.parquet").to_pylist()
    again = studies.resume("timed", "--time", "1", "--json")
    assert json.loads(again.said.splitlines()[-1])["done"] > told["done"]
    found = pq.read_table(driver.folder / "trials.parquet").to_pylist()
    after = {row["trial"]: row for row in found}
    for row in before:
        if row["status"] == "done":
            assert after[row["trial"]] == row
        assert after[row["trial"]]["optim/lr"] == row["optim/lr"]


# What goes wrong


def test_a_trial_that_cannot_run_is_told_as_failed(studies: Studies) -> None:
    """A network that no memory holds: the study ends with exit code 1 and says why."""
    huge = ("--set", "model={cnn: {width: 4000000}}")
    driver = studies.run("failed", "--method", "ce", "--trials", "1", *huge, "--json", code=1)
    (row,) = pq.read_table(driver.folder / "trials.parquet").to_pylist()
    assert row["status"] == "failed"
    assert re.search(r"RuntimeError.*memory", row["error"])
    assert row["score"] is None
    assert row["optim/lr"] > 0
    told = json.loads(driver.said.splitlines()[-1])
    assert (told["failed"], told["done"], told["best"]) == (1, 0, None)


FULL = """
import errno, os, sys
from types import SimpleNamespace
from tuning import segments
from tuning.search import main

asked = 0

def fsync(number):
    global asked
    asked += 1
    if asked > 8:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(number)

segments.os = SimpleNamespace(fsync=fsync)
sys.exit(main(sys.argv[1:]))
"""


def test_a_journal_that_cannot_be_written_ends_the_study_in_one_line(studies: Studies) -> None:
    """Going on would train what no later life knows of; Tune hides some of such errors."""
    command = [sys.executable, "-c", FULL, "--storage", str(studies.folder), "--name", "full"]
    small = ("--method", "ce", "--set", "epochs=3", "--set", "optim.batch=256", "--trials", "50")
    run = subprocess.run(
        [*command, *small], env=studies.env, capture_output=True, text=True, timeout=LIMIT
    )
    assert run.returncode == 1
    assert run.stderr.count("\n") == 1, run.stderr
    assert "journal/000001.jsonl: cannot be written (No space left on device)" in run.stderr
    assert f"--resume {studies.folder / 'full'}" in run.stderr
    assert 0 < len(Story.read(studies.folder / "full").suggested) < 50


OWN = """
import json, sys
from pathlib import Path

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from trainables.trial import trainable_for

ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=10**8)
tuner = tune.Tuner(
    trainable_for("mr+reset"),
    param_space={
        "methods": {
            "mr": {"eta": tune.loguniform(1e-3, 1.0)},
            "reset": {"r": 0.2, "patience": 0.02},
        },
        "optim": {"lr": tune.loguniform(0.05, 0.3), "batch": 128},
        "epochs": 6,
    },
    tune_config=tune.TuneConfig(
        metric="score",
        mode="max",
        num_samples=3,
        reuse_actors=True,
        scheduler=ASHAScheduler(time_attr="epoch", max_t=6, grace_period=4),
    ),
    run_config=tune.RunConfig(
        name="own",
        storage_path=sys.argv[1],
        checkpoint_config=tune.CheckpointConfig(num_to_keep=2),
        verbose=0,
    ),
)
results = tuner.fit()
best = results.get_best_result()
told = {
    "errors": [str(error) for error in results.errors],
    "config": best.config,
    "score": best.metrics["score"],
    "trials": [
        {
            "epoch": result.metrics["epoch"],
            "report": result.metrics["training_iteration"] == result.metrics["report"],
            "resets": result.metrics["reset/count"],
            "files": sorted(file.name for file in Path(result.checkpoint.path).iterdir()),
            "saved": len(list(Path(result.path).glob("checkpoint_*"))),
        }
        for result in results
    ],
}
print(json.dumps(told))
"""


def test_a_trainable_works_in_a_tuner_of_ones_own(studies: Studies, tmp_path: Path) -> None:
    """As the README shows it, with Ray's own ASHA: resets and checkpoints included."""
    run = subprocess.run(
        [sys.executable, "-c", OWN, str(tmp_path)],
        env=studies.env,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert run.returncode == 0, run.stderr
    told = json.loads(run.stdout.splitlines()[-1])
    assert told["errors"] == []
    assert told["score"] > 0.2  # chance is 0.1
    assert Config.parse({k: v for k, v in told["config"].items() if k != "trial"}).chain
    assert len(told["trials"]) == 3
    assert sum(trial["resets"] for trial in told["trials"]) > 0
    for trial in told["trials"]:
        assert trial["report"]  # a reset turned no clock back
        assert 4 <= trial["epoch"] <= 6
        assert {"weights.pt", "seal.json"} <= {*trial["files"]}
        assert trial["saved"] <= 2
