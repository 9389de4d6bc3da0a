"""Searches on a Ray that somebody else started, of several nodes."""

import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from trainables.errors import ConfigError
from tuning import session

# three nodes of one core in a process of their own; it is told to lose or add one, or nothing, and
# answers on how many nodes actors have run, after making sure that all nodes live
NODES = """
import sys
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100_000_000}
cluster = Cluster(initialize_head=True, head_node_args=node)
added = [cluster.add_node(**node) for _ in range(2)]
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    if line == "lose\\n":
        cluster.remove_node(added.pop(), allow_graceful=False)
    if line == "add\\n":
        added.append(cluster.add_node(**node))
    cluster.wait_for_nodes(timeout=30)
    actors = cluster.global_state.actor_table(None).values()
    print(len({actor["Address"]["NodeID"] for actor in actors}), flush=True)
cluster.shutdown()
"""
ASK = """
import sys, time
from trainables.errors import ConfigError
from tuning.session import cluster, quieten

quieten()
import ray

began = time.monotonic()
try:
    cluster(sys.argv[1]).__enter__()
except ConfigError as error:
    print(time.monotonic() - began)
    print(error)
"""
DATA = """
import os, sys
from tuning.session import cluster, quieten

quieten()
import ray

with cluster(sys.argv[1]):
    look = ray.remote(scheduling_strategy="SPREAD")(lambda: os.environ.get("NOISETUNE_DATA"))
    print(*ray.get([look.remote() for _ in range(3)]), sep="\\n")
"""
LONG = ("--searcher", "random", "--scheduler", "fifo", "--set", "epochs=12")
SAME = ["trial", "chain", "status", "score", "last", "epoch", "epochs", "optim/lr"]


@pytest.fixture(scope="module")
def nodes(ray_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator["Nodes"]:
    token = tmp_path_factory.mktemp("token") / "token"
    token.touch(0o600)
    token.write_text("0123456789abcdef" * 4)
    env = ray_env | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
    env["RAY_USAGE_STATS_ENABLED"] = "0"
    pipe = subprocess.PIPE
    run = [sys.executable, "-c", NODES]
    with subprocess.Popen(run, env=env, stdin=pipe, stdout=pipe, text=True) as process:
        try:
            assert process.stdout is not None
            yield Nodes(process, process.stdout.readline().strip(), env)
            assert process.stdin is not None
            process.stdin.close()
            assert process.wait(timeout=30) == 0
        finally:
            process.kill()


class Nodes:
    """A running Ray of three nodes, of another process."""

    def __init__(self, process: subprocess.Popen[str], address: str, env: dict[str, str]) -> None:
        self.process, self.address, self.env = process, address, env

    def used(self, change: str = "") -> int:
        """On how many nodes actors have run, after losing or adding one, if told to."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{change}\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def search(
    env: dict[str, str], folder: Path, address: str, *more: str
) -> subprocess.CompletedProcess[str]:
    run = command(folder, address, *more)
    return subprocess.run(run, env=env, cwd=folder, capture_output=True, text=True, timeout=300)


def command(folder: Path, address: str, *more: str) -> list[str]:
    run = [sys.executable, "-m", "tuning.search", "--method", "ce", "--address", address]
    return [*run, "--storage", str(folder), *more]


def reported(study: Path) -> set[str]:
    """Trials of which the journal holds a report."""
    lines = [line for part in study.glob("journal/*.jsonl") for line in part.open()]
    entries = [json.loads(line) for line in lines if line.endswith("\n")]
    return {entry["trial"] for entry in entries if entry.get("kind") == "report"}


@pytest.mark.slow
def test_a_search_loses_nothing_with_a_node_and_leaves_ray_running(
    nodes: Nodes, tmp_path: Path
) -> None:
    """One is killed and another added while three trials run; all ends as in an undisturbed run."""
    long = (*LONG, "--trials", "4", "--json", "--name")
    run = command(tmp_path, nodes.address, *long, "lost")
    out = tmp_path / "out"
    with out.open("w") as file, subprocess.Popen(run, env=nodes.env, stdout=file) as process:
        while len(reported(tmp_path / "lost")) < 3:
            assert process.poll() is None, out.read_text()
            time.sleep(0.2)
        nodes.used("lose")
        nodes.used("add")
        assert process.wait(timeout=300) == 0, out.read_text()
    calm = search(nodes.env, tmp_path, nodes.address, *long, "calm")
    assert calm.returncode == 0, calm.stderr
    assert nodes.used() > 2  # it fails if a node has died
    assert json.loads(out.read_text().splitlines()[-1])["done"] == 4
    assert table(tmp_path / "lost/trials.parquet", SAME) == table(
        tmp_path / "calm/trials.parquet", SAME
    )
    columns = ["trial", "report", "epoch", "score", "val/acc"]
    lost = table(tmp_path / "lost/history.parquet", columns)
    assert lost == table(tmp_path / "calm/history.parquet", columns)
    assert len({row[:2] for row in lost}) == len(lost) == 4 * 12


def table(path: Path, columns: list[str]) -> list[tuple[Any, ...]]:
    """The rows of a table, sorted; what is random is not among the columns."""
    return sorted(tuple(row.values()) for row in pq.read_table(path, columns=columns).to_pylist())


@pytest.mark.slow
def test_another_token_is_refused_at_once(nodes: Nodes, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("fedcba9876543210" * 4)
    env = nodes.env | {"RAY_AUTH_TOKEN_PATH": str(token)}
    asked = subprocess.run(
        [sys.executable, "-c", ASK, nodes.address], env=env, capture_output=True, text=True
    )
    seconds, told = asked.stdout.splitlines()
    assert told.startswith(f"--address {nodes.address}: no Ray that lets us in (its token is ano")
    assert "RAY_AUTH_TOKEN_PATH" in told
    assert float(seconds) < 5
    assert asked.stderr == ""  # Ray's C++ has lines of its own, which nothing silences


@pytest.mark.slow
def test_nodes_look_for_data_where_the_search_does(nodes: Nodes, tmp_path: Path) -> None:
    env = nodes.env | {"NOISETUNE_DATA": str(tmp_path)}
    asked = subprocess.run(
        [sys.executable, "-c", DATA, nodes.address], env=env, capture_output=True, text=True
    )
    assert asked.stdout.splitlines() == [str(tmp_path)] * 3, asked.stderr


@pytest.mark.slow
def test_where_nobody_answers_it_is_one_line(ray_env: dict[str, str], tmp_path: Path) -> None:
    ran = search(ray_env, tmp_path, "127.0.0.1:9", "--trials", "1")
    assert ran.returncode == 2
    assert "error: --address 127.0.0.1:9: no Ray that lets us in" in ran.stderr
    assert "refused" in ran.stderr
    assert ran.stderr.count("\n") == 1, ran.stderr


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_a_port_where_nothing_listens_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=r"no Ray .*(refused|assign|not supported)"):
        session.reachable(f"{host}:9")


@pytest.mark.parametrize(
    ("reply", "told"), [(None, "says nothing"), (b"HTTP/1.1 400 Bad\r\n\r\n", "is no Ray")]
)
def test_what_listens_but_is_no_ray_is_told(
    reply: bytes | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "CONNECT_SECONDS", 0.5)
    kept = []  # else they are closed

    def serve() -> None:
        while True:
            try:
                kept.append(server.accept()[0])
            except OSError:  # closed
                return
            if reply:
                kept[-1].sendall(reply)
                kept.pop().close()

    with socket.create_server(("", 0)) as server:  # Ray makes the host's address of loopback
        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        with pytest.raises(ConfigError, match=told):
            session.reachable(f"127.0.0.1:{server.getsockname()[1]}")
        server.shutdown(socket.SHUT_RDWR)
        thread.join(timeout=5)
