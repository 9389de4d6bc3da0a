"""The doctor's checks of what is reached over the network: Ray's ports, a cluster elsewhere."""

import importlib
import platform
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

from tuning.findings import Finding, fail, ok, warn

RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
TRIED = 8  # ports, about as many as a small Ray opens
PATIENCE, START = 2.0, 120.0  # seconds: of a connection to this machine; of a cluster's first tasks
APART = 5.0  # seconds between two machines' clocks


def own_address() -> str:
    """The address that Ray will give its processes: where the way out of this machine begins."""
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
        way.connect(("8.8.8.8", 53))  # of a datagram socket: nothing is sent
        return str(way.getsockname()[0])
    with suppress(OSError):
        return socket.gethostbyname(socket.gethostname())
    return "127.0.0.1"


def ports() -> Iterator[Finding]:
    """Can Ray's processes listen on all interfaces, and reach each other by its address?"""
    here = own_address()
    try:
        low, high = RANGE.read_text().split()
        where = f"{low} to {high}"
    except (OSError, ValueError):
        where = "the system's range"
    try:
        with ExitStack() as stack:
            for _ in range(TRIED):
                server = stack.enter_context(socket.create_server(("", 0)))
                port = server.getsockname()[1]
    except OSError as error:
        told = f"none is free in {where} ({error.strerror})"
        yield fail("ports", told, "end what holds them, or widen net.ipv4.ip_local_port_range")
        return
    try:
        with socket.create_server(("", 0)) as server:
            port = server.getsockname()[1]
            socket.create_connection((here, port), timeout=PATIENCE).close()
    except OSError as error:
        told = f"this machine does not reach itself at {here}:{port} ({error.strerror or error})"
        cure = "let this machine talk to itself in the firewall, or leave the VPN"
        yield fail("ports", told, cure)
        return
    yield ok("ports", f"Ray's lie in {where}, on all interfaces; {here} reaches itself")


def cluster(address: str) -> Iterator[Finding]:
    """Does a Ray answer at `--address` and let us in, and are its nodes like this one?"""
    from tuning.session import cluster, quieten

    quieten()
    with cluster(address) as nodes:
        cpus, gpus = (sum(kind) for kind in zip(*nodes, strict=True))
        many = f"{len(nodes)} node{'s' * (len(nodes) != 1)}"
        yield ok("cluster", f"{address}: lets us in; {many}, {cpus:g} CPUs, {gpus:g} GPUs")
        yield from nodes_like_this()


def nodes_like_this() -> Iterator[Finding]:
    """Python, Ray, torch and clock of every node of the cluster that this process is in."""
    ray = importlib.import_module("ray")
    tactics = importlib.import_module("ray.util.scheduling_strategies")

    def facts() -> dict[str, Any]:
        import platform
        import time
        from importlib import metadata, util

        found: dict[str, Any] = {"Python": platform.python_version(), "clock": time.time()}
        for name in ("ray", "torch"):
            found[name] = metadata.version(name) if util.find_spec(name) else None
        found["noisetune"] = util.find_spec("trainables") is not None
        return found

    here = {name: metadata.version(name) for name in ("ray", "torch")}
    here["Python"] = platform.python_version()
    alike = 0
    for node in ray.nodes():
        if not node["Alive"]:
            continue
        at = node["NodeManagerAddress"]
        there = tactics.NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)
        asked = ray.remote(num_cpus=0, scheduling_strategy=there)(facts)
        try:
            before = time.time()
            told = ray.get(asked.remote(), timeout=START)
            after = time.time()
        except Exception as error:  # as Ray raises what befalls a task
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            yield fail(f"node {at}", f"ran no task: {line}", "look at Ray's logs on that node")
            continue
        other = [f"{x} {told[x]}, here {here[x]}" for x in here if told[x] != here[x]]
        apart = max(before - told["clock"], told["clock"] - after, 0.0)
        if not told["noisetune"]:
            yield fail(f"node {at}", "has no noisetune", "install it there as here")
        elif other:
            yield fail(f"node {at}", "; ".join(other), "install the same there as here")
        elif apart > APART:
            told = f"its clock is {apart:.0f} s from this one"
            yield warn(f"node {at}", told, "set both: timedatectl set-ntp true")
        else:
            alike += 1
    if alike:
        shown = ", ".join(f"{name} {version}" for name, version in sorted(here.items()))
        yield ok("nodes", f"{alike} with {shown}, as here; clocks agree")
