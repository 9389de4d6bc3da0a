"""Ray, started the way this platform needs it: quiet, authenticated, without telemetry.

Ray's ports bind on all interfaces; a token in a file that only its owner can read is what keeps
others from running code through them.
"""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
    "TUNE_RESULT_BUFFER_LENGTH": "0",
}
STORE_BYTES = 200_000_000  # nothing large travels through Ray's object store


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
        draft = path.with_name(f".ray_token.{os.getpid()}")
        if not path.exists():
            with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(secrets.token_hex(32))
            try:
                os.link(draft, path)  # whoever comes second uses the first one's
            except FileExistsError:
                pass
            finally:
                draft.unlink()
        path.chmod(0o600)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be written ({error.strerror}); set NOISETUNE_HOME to a folder that can"
        ) from error
    return path


@contextmanager
def cluster(address: str | None) -> Iterator[dict[str, float]]:
    """A Ray to search on: a new local one, or a running one at `address`; gives its resources.

    `quieten` must have been called before anything imported Ray.

    Raises:
        ConfigError: nothing answers at the address, or not with our token.
    """
    import ray

    try:
        if address is None:
            ray.init(
                address="local",
                num_cpus=cores(),
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                object_store_memory=STORE_BYTES,
            )
        else:
            ray.init(address=address, log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError, RuntimeError) as error:
        if address is None:
            raise
        reason = str(error).strip().splitlines()[0]
        raise ConfigError(
            f"--address {address}: no Ray that lets us in ({reason}); give host:port of a running "
            "head, and RAY_AUTH_TOKEN_PATH of its token"
        ) from error
    try:
        yield ray.cluster_resources()
    finally:
        ray.shutdown()


def cores() -> int:
    """Cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
