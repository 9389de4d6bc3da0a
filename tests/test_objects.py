"""Whole studies in an object store: a local server that speaks S3, stopped for a while, too."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pyarrow import fs
from toys import WHOLE

from tuning import journal
from tuning.places import Remote, children, place_of

pytestmark = pytest.mark.slow
# trials that keep states from their first epoch on; what they try depends on no order
STUDY: tuple[str, ...] = ("--method", "mr+reset", "--trials", "4", "--concurrency", "2")
STUDY += ("--searcher", "random", "--scheduler", "fifo")
STUDY += ("--set", "epochs=16", "--set", "optim.batch=64")
LIMIT = 300  # seconds of a child process
AWAY = 20  # seconds
# its objects live in its memory, so it closes its port and opens it again
SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer

logging.getLogger("werkzeug").setLevel(logging.ERROR)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
port = server.get_host_and_port()[1]
print(port, flush=True)
for line in sys.stdin:
    if line.strip() == "stop":
        server.stop()
    else:
        server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
        server.start()
    print("done", flush=True)
"""


@dataclass
class Server:
    """An S3 that can go away and come back."""

    process: subprocess.Popen[str]
    port: int

    def place(self, path: str) -> Remote:
        place = place_of(self.uri(path), "--storage")
        assert isinstance(place, Remote)
        return place

    def uri(self, path: str) -> str:
        return f"s3://studies/{path}?endpoint_override=127.0.0.1:{self.port}&scheme=http"

    def tell(self, word: str) -> None:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("AWS_")]:
            patch.delenv(name)
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            patch.setenv(name, "none")
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=pipe, stdout=pipe, text=True
        )
        assert process.stdout
        found = Server(process, int(process.stdout.readline()))
        system = fs.S3FileSystem(
            endpoint_override=f"127.0.0.1:{found.port}", scheme="http", allow_bucket_creation=True
        )
        system.create_dir("studies")
        yield found
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def env(server: Server, ray_env: dict[str, str]) -> dict[str, str]:
    return ray_env | {name: text for name, text in os.environ.items() if name.startswith("AWS_")}


def start(env: dict[str, str], *flags: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tuning.search", *flags],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def ended(process: subprocess.Popen[str]) -> str:
    """What it said; it must have ended well."""
    said, _ = process.communicate(timeout=LIMIT)
    assert process.returncode == 0, said
    return said


@pytest.fixture(scope="module")
def alone(env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same study in a folder on a disk, left alone."""
    folder = tmp_path_factory.mktemp("studies")
    ended(start(env, *STUDY, "--storage", str(folder), "--name", "alone"))
    return folder / "alone"


def tables(folder: Any) -> list[list[dict[str, Any]]]:
    """Both tables without measured times."""
    found = []
    for name, times in (("trials", ["seconds"]), ("history", ["seconds", "seconds/epoch"])):
        with (
            folder.fs.open_input_file(str((folder / f"{name}.parquet").key))
            if isinstance(folder, Remote)
            else open(folder / f"{name}.parquet", "rb")
        ) as file:
            rows = pq.read_table(file).drop_columns(times).to_pylist()
        found.append(sorted(rows, key=lambda row: (row["trial"], row.get("report", 0))))
    return found


def entries(folder: Remote) -> list[dict[str, Any]]:
    return list(journal.read(folder / "journal"))


def underway(folder: Remote, process: subprocess.Popen[str]) -> None:
    """Return once a running trial has kept two states, so one is in the store."""
    end = time.monotonic() + LIMIT
    while True:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end
        found = entries(folder)
        over = {entry["trial"] for entry in found if entry["kind"] == "end"}
        kept = Counter(x["trial"] for x in found if x["kind"] == "report" and x["kept"])
        if any(count > 1 for trial, count in kept.items() if trial not in over):
            return
        time.sleep(0.1)


def test_a_study_in_an_object_store_is_that_of_a_folder(
    server: Server, env: dict[str, str], alone: Path
) -> None:
    """With the store away for a while in the middle, and the driver killed after that."""
    place = server.place("a/one")
    process = start(env, *STUDY, "--storage", server.uri("a"), "--name", "one")
    underway(place, process)
    server.tell("stop")
    time.sleep(AWAY)
    server.tell("start")
    known = len(entries(place))
    end = time.monotonic() + LIMIT
    while process.poll() is None and len(entries(place)) < known + 3:
        assert time.monotonic() < end
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    second = start(env, "--resume", server.uri("a/one"), "--concurrency", "2")
    said = ended(second)
    assert "s3://studies/a/one" in said
    found = entries(place)
    assert [x["trial"] for x in found if x["kind"] == "suggest"] == [
        f"mr+reset-{n:04d}" for n in range(4)
    ]
    assert tables(place) == tables(alone)
    names = {child.name for child in children(place)}
    assert names == WHOLE
    assert (place / "best" / "model.pt").read_bytes() == (alone / "best/model.pt").read_bytes()
    assert json.loads((place / "best" / "metrics.json").read_text())["trial"]
    runs = children(place / "tensorboard" / "mr+reset")
    assert [run.name for run in runs] == [f"mr+reset-{n:04d}" for n in range(4)]
    assert all(file.read_bytes() for run in runs for file in children(run))
