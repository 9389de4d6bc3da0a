"""Would `ray up` take this file, and would what it starts be as closed as a Ray of ours?

Ray's launcher says nothing of keys below `provider` and `node_config`, of a Ray without a token or
of words left to be changed; this does, before a machine is paid for. It reads the file and starts
nothing.
"""

import contextlib
import io
import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tuning.findings import Finding, fail, ok, warn

STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
TOKEN = ("RAY_AUTH_MODE=token", "RAY_AUTH_TOKEN_PATH=")
QUIET = ("--disable-usage-stats", "RAY_USAGE_STATS_ENABLED=0")
HERE = ("127.0.0.1", "localhost", "::1")


def examine(path: str) -> Iterator[Finding]:
    """What is wrong with a file for `ray up`, one finding for each thing looked at."""
    try:
        config = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        yield fail("cluster file", f"{path}: {error.strerror or error}", "name another")
        return
    except (yaml.YAMLError, UnicodeError) as error:
        yield fail("cluster file", f"{path}: {_one_line(error)}", "mend what it names")
        return
    if not isinstance(config, dict) or "provider" not in config:
        told = f"{path}: has no provider, so it is no file for ray up"
        yield fail("cluster file", told, "name one like cluster.yaml")
        return
    refused = _refused(config)
    if refused:
        yield fail("cluster file", f"{path}: {refused}", "mend it: ray up would refuse it")
        return
    provider = config["provider"].get("type")
    yield ok("cluster file", f"{path}: ray up takes it, provider {provider}")
    yield _changes(config)
    yield _version(config)
    for name in STARTS:
        yield from _start(name, config)
    yield _mounted(config)


def _refused(config: dict[str, Any]) -> str | None:
    """What Ray's own check says against it; None for nothing."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        logging.disable()  # of what Ray fills in
        try:
            validate_config(prepare_config(config))
        except Exception as error:  # of jsonschema, click or Ray, or bare
            where = ".".join(str(part) for part in getattr(error, "absolute_path", ()))
            told = _one_line(error) or _one_line(printed.getvalue())
            return f"{where}: {told}" if where else told
        finally:
            logging.disable(logging.NOTSET)
    return None


def _changes(config: dict[str, Any]) -> Finding:
    left = sorted({path for path, text in _texts(config) if "CHANGE" in text})
    if left:
        return fail("words to change", f"CHANGE stands in {', '.join(left)}", "put in your own")
    return ok("words to change", "none left; lines marked # CHANGE are for you to look at")


def _version(config: dict[str, Any]) -> Finding:
    """Nodes must have one Ray, and this machine's is the one that was tested."""
    from importlib.metadata import version

    mine = version("ray")
    found = {
        match
        for path, text in _texts(config)
        if "setup_commands" in path
        for match in re.findall(r"ray(?:\[[\w,-]+\])?==([\w.]+)", text)
    }
    if not found:
        cure = f"install 'ray[tune]=={mine}' in setup_commands: Ray's own install a nightly build"
        return fail("Ray of the nodes", "no setup command names a version", cure)
    if found != {mine}:
        cure = f"name {mine} there, or install the other here"
        told = f"{', '.join(sorted(found))} there, {mine} here"
        return fail("Ray of the nodes", told, cure)
    return ok("Ray of the nodes", f"{mine}, as here")


def _start(name: str, config: dict[str, Any]) -> Iterator[Finding]:
    """The commands that start Ray on the head, or on the workers."""
    lines = [line for line in config.get(name) or [] if "ray start" in line]
    if len(lines) != 1:
        cure = "start Ray there once, as cluster.yaml does: Ray's own commands ask for no token"
        yield fail(name, f"{len(lines)} of its commands start Ray", cure)
        return
    (line,) = lines
    missing = [part for part in TOKEN if part not in line.split("ray start")[0]]
    if missing:
        cure = "export it in the command that starts Ray"
        told = f"no {' and no '.join(missing)}: whoever reaches its ports could run code there"
        yield fail(name, told, cure)
    elif not any(part in line for part in QUIET):
        yield fail(name, "Ray would send usage statistics home", f"add {QUIET[0]}")
    elif open_to := [host for host in _dashboard(line) if host not in HERE]:
        cure = "leave it out, or name 127.0.0.1 and look at it through an ssh tunnel"
        yield fail(name, f"the dashboard would listen on {open_to[0]}", cure)
    elif _stuck(name, line, config):
        cure = "export RAY_enable_autoscaler_v2=0 before it (ray-project/ray#57153)"
        yield fail(name, "autoscaler 2 never starts the workers of provider local", cure)
    else:
        yield ok(name, "with a token, without telemetry")


def _dashboard(line: str) -> list[str]:
    return re.findall(r"--dashboard-host[= ]\s*(\S+)", line)


def _stuck(name: str, line: str, config: dict[str, Any]) -> bool:
    local = config["provider"].get("type") == "local" and name == STARTS[0]
    return local and "RAY_enable_autoscaler_v2=0" not in line.split("ray start")[0]


def _mounted(config: dict[str, Any]) -> Finding:
    """Is the token that the start commands name brought there, from a file that is closed here?"""
    wanted = {
        path.replace("$HOME", "~")
        for name in STARTS
        for line in config.get(name) or []
        for path in re.findall(r"RAY_AUTH_TOKEN_PATH=([^\s;]+)", line)
    }
    mounts = config.get("file_mounts") or {}
    for there in sorted(wanted):
        if there not in mounts:
            cure = "add it to file_mounts, from the file that tuning.session.token_file() names"
            return fail("token", f"{there} is not among file_mounts", cure)
        here = Path(mounts[there]).expanduser()
        if not here.is_file():
            cure = "make it: python -c 'from tuning.session import token_file; print(token_file())'"
            return fail("token", f"{here} is not there", cure)
        if here.stat().st_mode & 0o077:
            return warn("token", f"{here} can be read by others", f"chmod 600 {here}")
    return ok("token", "brought to every node" if wanted else "none asked for")


def _texts(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every text in a nested value, with the path of keys to it."""
    if isinstance(value, str):
        yield path, value
    items = value.items() if isinstance(value, dict) else ()
    for key, inner in items:
        yield from _texts(inner, f"{path}.{key}" if path else str(key))
    if isinstance(value, list):
        for inner in value:
            yield from _texts(inner, path)


def _one_line(told: object) -> str:
    lines = [line.strip() for line in str(told).splitlines() if line.strip()]
    return lines[0] if lines else ""
