"""Ray, started the way this platform needs it: quiet, authenticated, without telemetry.

Ray's ports bind on all interfaces; a token in a file that only its owner can read is what keeps
others from running code through them.
"""

import os
import secrets
import socket
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainables.data.cache import home
from trainables.errors import ConfigError

# read by Ray when it is imported, so set before that
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # search.py has its own
    "TUNE_GLOBAL_CHECKPOINT_S": "86400",  # our journal is the truth, not Tune's snapshots
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "TUNE_WARN_SLOW_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "86400",
    "TUNE_PRINT_ALL_TRIAL_ERRORS": "0",  # the driver notes each retry
    "TUNE_RESULT_BUFFER_LENGTH": "0",
}
Node = tuple[float, float]  # CPUs and GPUs of one machine
STORE_BYTES = 200_000_000  # nothing large travels through Ray's object store
STARTS = 2  # tries of a local Ray, whose own processes wait for each other for 15 s only

CONNECT_SECONDS = 5.0  # to the head of a running cluster
ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"  # the one call that any head answers at once
ANSWERS = {
    "UNAUTHENTICATED": "its token is another",
    "PERMISSION_DENIED": "its token is another",
    "DEADLINE_EXCEEDED": "what listens there says nothing for {:g} s",
}


def quieten() -> None:
    """Set the environment that Ray reads; what the user has set stays."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    if not any(os.environ.get(name) for name in ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_file())


def token_file() -> Path:
    """The token of the Rays we start, made on first use, readable by its owner alone."""
    path = home() / "ray_token"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            number, draft = tempfile.mkstemp(prefix=".ray_token.", dir=path.parent)  # 0600
            with open(number, "w") as file:
                file.write(secrets.token_hex(32))
            try:
                os.link(draft, path)  # whoever comes second uses the first one's
            except FileExistsError:
                pass
            finally:
                os.unlink(draft)
        path.chmod(0o600)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror}); set NOISETUNE_HOME to a folder that can"
        ) from error
    return path


def refuse_token() -> None:
    """Refuse a user's own token file that cannot be read; Ray would try for long, and tell little.

    Raises:
        ConfigError: one line with the variable, the file and the cure.
    """
    path = os.environ.get("RAY_AUTH_TOKEN_PATH")
    if not path or os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_MODE") != "token":
        return
    told = f"RAY_AUTH_TOKEN_PATH {path}"
    cure = "name the file with the cluster's token, or unset it to have one made"
    try:
        if not Path(path).read_text(encoding="utf-8").strip():
            raise ConfigError(f"{told}: is empty ({cure})")
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "is no text"
        raise ConfigError(f"{told}: cannot be read: {reason} ({cure})") from error


class NotStartedError(OSError):
    """No local Ray came up; the message is one line."""


@contextmanager
def cluster(address: str | None) -> Iterator[list[Node]]:
    """A Ray to search on: a new local one, or a running one at `address`; gives its resources.

    `quieten` must have been called before anything imported Ray.

    Raises:
        ConfigError: nothing answers at the address, or not with our token, or there is none.
        NotStartedError: no local Ray came up.
    """
    refuse_token()
    import ray

    if address is None:
        _start()
    else:
        try:
            ray.init(
                address=answering(address),
                runtime_env=_taken_along(),
                log_to_driver=False,
                logging_level="ERROR",
            )
        except (OSError, ValueError, RuntimeError) as error:
            raise _refused(address, error) from error
    try:
        found = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        yield [(node.get("CPU", 0.0), node.get("GPU", 0.0)) for node in found]
    finally:
        ray.shutdown()


def reachable(address: str) -> None:
    """Find out within seconds, before any work, that a search could use the Ray at an address.

    Raises:
        ConfigError: nothing answers at the address, or not with our token.
    """
    try:
        answering(address)
    except (OSError, ValueError) as error:
        raise _refused(address, error) from error


def _refused(address: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"--address {address}: no Ray that lets us in ({_reason(error)}); give host:port of a "
        "running head, and RAY_AUTH_TOKEN_PATH of its token"
    )


def _start() -> None:
    """Start a local Ray; once more where one of its processes was late, as on a busy machine."""
    import ray

    for attempt in range(STARTS):
        try:
            ray.init(
                address="local",
                num_cpus=cores(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=STORE_BYTES,
            )
            return
        except Exception as error:  # as bare as Ray raises it
            ray.shutdown()
            if attempt == STARTS - 1:
                raise NotStartedError(
                    f"Ray did not start on this machine, tried {STARTS} times ({_reason(error)}); "
                    "stop other work and try again"
                ) from error


def _reason(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _taken_along() -> dict[str, Any] | None:
    """Of this process's environment, what those on other machines need: where data lie."""
    folder = os.environ.get("NOISETUNE_DATA")  # set by --data-root, too
    return {"env_vars": {"NOISETUNE_DATA": folder}} if folder else None


def answering(address: str) -> str:
    """The host:port of an address, where a Ray lets us in; `ray.init` would try for 20 s or ever.

    Raises:
        OSError: nothing answers, it is no Ray, its token is another, or `auto` finds no Ray here.
        ValueError: not an address.
    """
    from ray._private.services import canonicalize_bootstrap_address

    if "://" in address or address == "local":
        raise ValueError("not HOST:PORT or auto")
    found: str = canonicalize_bootstrap_address(address)
    host, _, port = found.rpartition(":")
    socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_SECONDS).close()
    _greet(found)
    return found


def _greet(address: str) -> None:
    """Ask a head whether it lives, once; OSError says why it does not say so."""
    import grpc  # type: ignore[import-untyped]
    from ray._private.grpc_utils import init_grpc_channel  # with our token, and TLS where it is on

    try:
        with init_grpc_channel(address) as channel:
            channel.unary_unary(ALIVE)(b"", timeout=CONNECT_SECONDS)
    except grpc.RpcError as error:
        told = ANSWERS.get(error.code().name, "what listens there is no Ray")
        raise ConnectionError(told.format(CONNECT_SECONDS)) from error


def cores() -> int:
    """Cores this process may use."""
    affine = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(affine or 1, quota()))


def quota() -> int:
    """Cores that a container's CPU quota comes to; very many where there is none."""
    try:
        most, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return int(most) // int(period)
    except (OSError, ValueError):  # no such file, or "max"
        return sys.maxsize
