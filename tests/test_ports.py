"""Every port that a local search opens: who can do what there without the token, and for how long.

Ray binds its ports on all interfaces and cannot be told otherwise, so what is shown is that they
answer nobody who has no token.
"""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex

import grpc
import pytest

LISTEN, LOOPBACK = "0A", ("0100007F", "00000000000000000000000001000000")
MARK = "NOISETUNE_PORTS_TEST"  # in the environment of the driver and of all that it starts
PATIENCE = 240.0  # seconds until the first report, on a busy machine
# Calls that only look, of each of Ray's services, and the one that runs code in a worker.
LOOKS = (
    "NodeInfoGcsService/CheckAlive",
    "NodeInfoGcsService/GetAllNodeInfo",
    "InternalKVGcsService/InternalKVKeys",
    "JobInfoGcsService/GetAllJobInfo",
    "ActorInfoGcsService/GetAllActorInfo",
    "autoscaler.AutoscalerStateService/GetClusterStatus",
    "NodeManagerService/GetNodeStats",
    "NodeManagerService/GetSystemConfig",
    "ObjectManagerService/Pull",
    "CoreWorkerService/GetCoreWorkerStats",
    "ReporterService/HealthCheck",
    "LogService/ListLogs",
)
RUNS = ("CoreWorkerService/PushTask", "JobInfoGcsService/AddJob", "NodeManagerService/DrainRaylet")
PAGES = (
    ("GET", "/"),
    ("GET", "/metrics"),
    ("GET", "/api/version"),
    ("POST", "/get_runtime_envs_info"),
    ("POST", "/get_or_create_runtime_env"),
)


@dataclass
class Port:
    """One port, and what it answered.

    Attributes:
        process: the name of who listens.
        open: whether beyond this machine's loopback.
        host: by which it is reached from here.
        calls: a gRPC status for each call, by whom and what.
        pages: an HTTP status for each page.
    """

    number: int
    process: str
    open: bool
    host: str
    calls: dict[tuple[str, str], str] = field(default_factory=dict)
    pages: dict[str, int] = field(default_factory=dict)


def family(driver: int, mark: str) -> set[int]:
    """The driver, all that it started and all with the mark in their environment.

    Ray's agents write their titles over theirs, and outlive their parents.
    """
    parents, found = {}, {driver}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            if f"{MARK}={mark}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
        except OSError:  # ended meanwhile
            continue
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening(family: set[int]) -> list[Port]:
    """The ports on which those processes listen."""
    sockets = {}
    for name in ("tcp", "tcp6"):
        for line in Path("/proc/net", name).read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            address, _, port = local.partition(":")
            if state == LISTEN:
                sockets[f"socket:[{inode}]"] = (address, int(port, 16))
    found = {}
    for process in sorted(family):
        folder = Path("/proc", str(process))
        try:
            words = (folder / "cmdline").read_bytes().decode().replace("\0", " ").split()
            links = [os.readlink(link) for link in (folder / "fd").iterdir()]
        except OSError:
            continue
        name = words[0].rpartition("/")[2] if words else "?"
        if name.startswith("python"):
            name = next((w for w in words if w.endswith(".py") or w.startswith("tuning.")), name)
        for address, port in (sockets[link] for link in links if link in sockets):
            found[port] = Port(port, name, address not in LOOPBACK, reached(address))
    return [found[port] for port in sorted(found)]


def reached(address: str) -> str:
    """Where a socket of /proc/net/tcp can be reached from here."""
    if not int(address, 16) or len(address) > 8:
        return "127.0.0.1"
    return socket.inet_ntoa(bytes.fromhex(address)[::-1])


def call(channel: grpc.Channel, method: str, token: str | None) -> str:
    """The status of a call with an empty message."""
    sent = [] if token is None else [("authorization", f"Bearer {token}")]
    try:
        channel.unary_unary(f"/ray.rpc.{method}")(b"", timeout=5, metadata=sent)
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


def page(port: Port, method: str, path: str) -> int:
    """The HTTP status of a page; 0 where nothing speaks HTTP."""
    connection = http.client.HTTPConnection(port.host, port.number, timeout=3)
    try:
        connection.request(method, path, body=b"" if method == "POST" else None)
        return connection.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
    finally:
        connection.close()


def try_all(port: Port, token: str) -> None:
    """Call and ask for everything, as a stranger, with a wrong token and with the right one."""
    options = [("grpc.enable_http_proxy", 0)]
    with grpc.insecure_channel(f"{port.host}:{port.number}", options=options) as channel:
        first = call(channel, LOOKS[0], None)
        port.calls["stranger", LOOKS[0]] = first
        if first not in ("UNAVAILABLE", "DEADLINE_EXCEEDED"):
            for method in (*LOOKS, *RUNS):
                port.calls["stranger", method] = call(channel, method, None)
                port.calls["wrong", method] = call(channel, method, token_hex(32))
            for method in LOOKS:
                port.calls["ours", method] = call(channel, method, token)
    port.pages = {f"{method} {path}": page(port, method, path) for method, path in PAGES}


def shown(port: Port) -> str:
    """A line of the table."""
    where = "loopback" if not port.open else "all" if port.host == "127.0.0.1" else port.host
    said = [
        f"{who} {told.lower()} {count}"
        for (who, told), count in sorted(
            Counter((who, told) for (who, _), told in port.calls.items()).items()
        )
        if told != "UNIMPLEMENTED"
    ]
    pages = sorted({str(status) for status in port.pages.values() if status})
    told = ", ".join(said) + f"; pages {', '.join(pages) or 'none'}"
    return f"{port.number:>5} {port.process:<32} {where:<14} {told}"


@dataclass
class Watched:
    """A search that runs, and its ports as strangers found them.

    Attributes:
        after: listening once it had ended.
    """

    ports: list[Port]
    after: list[Port]
    code: int


@pytest.fixture(scope="module")
def watched(ray_env: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Watched:
    folder, mark = tmp_path_factory.mktemp("ports"), token_hex(8)
    env = ray_env | {MARK: mark}
    run = [sys.executable, "-m", "tuning.search", "--method", "ce", "--trials", "2"]
    run += ["--set", "epochs=5000", "--storage", str(folder), "--name", "ports"]
    log = folder / "log"
    with log.open("wb") as file:
        driver = subprocess.Popen(
            run, env=env, cwd=folder, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        end = time.monotonic() + PATIENCE
        journal = folder / "ports" / "journal" / "000001.jsonl"
        while not (journal.exists() and b'"report"' in journal.read_bytes()):
            assert driver.poll() is None, log.read_text()
            assert time.monotonic() < end, log.read_text()
            time.sleep(0.2)
        known = family(driver.pid, mark)
        ports = listening(known)
        token = (Path(env["NOISETUNE_HOME"]) / "ray_token").read_text()
        for port in ports:
            try_all(port, token)
        driver.send_signal(signal.SIGINT)
        code = driver.wait(timeout=60)
        end = time.monotonic() + 15
        while (after := listening(known | family(driver.pid, mark))) and time.monotonic() < end:
            time.sleep(0.2)
    finally:
        for process in family(driver.pid, mark) - {driver.pid}:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        driver.kill()
        driver.wait()
    print(*map(shown, ports), sep="\n")
    return Watched(ports, after, code)


def refused(port: Port, who: str) -> dict[str, str]:
    """The calls that were not refused."""
    fine = ("UNAUTHENTICATED", "UNIMPLEMENTED", "UNAVAILABLE", "DEADLINE_EXCEEDED")
    return {m: told for (its, m), told in port.calls.items() if its == who and told not in fine}


@pytest.mark.slow
def test_every_port_refuses_whoever_has_no_token(watched: Watched) -> None:
    assert {"gcs_server", "raylet"} <= {port.process for port in watched.ports}
    for who in ("stranger", "wrong"):
        assert {
            shown(port): refused(port, who) for port in watched.ports if refused(port, who)
        } == {}


@pytest.mark.slow
def test_the_calls_that_are_refused_are_there_for_us(watched: Watched) -> None:
    """Else a misspelt call would pass for a refused one."""
    served = {m for port in watched.ports for (who, m), told in port.calls.items() if told == "OK"}
    assert {method.partition("/")[0] for method in served} >= {
        "NodeInfoGcsService",
        "NodeManagerService",
        "CoreWorkerService",
    }


@pytest.mark.slow
def test_no_page_is_shown_and_no_environment_made(watched: Watched) -> None:
    shown_pages = {
        (port.process, name): status
        for port in watched.ports
        for name, status in port.pages.items()
        if status not in (0, 401, 403)
    }
    assert shown_pages == {}


@pytest.mark.slow
def test_whatever_is_beyond_loopback_asks_for_the_token(watched: Watched) -> None:
    """So none of it is a server of ours, which would know nothing of Ray's token."""
    silent = [
        shown(port)
        for port in watched.ports
        if port.open and "UNAUTHENTICATED" not in port.calls.values()
        if 401 not in port.pages.values()
    ]
    assert silent == []


@pytest.mark.slow
def test_all_are_closed_at_the_end(watched: Watched) -> None:
    assert watched.code == 130
    assert watched.after == []
