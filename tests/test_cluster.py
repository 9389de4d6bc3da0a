"""cluster.yaml as Ray's launcher reads it, and searches on a Ray that somebody else started."""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

ROOT = Path(__file__).parents[1]
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
AUTH = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.cache/noisetune/ray_token;"

# two nodes of one core in a process of their own; at each line it is sent, it tells on how many
# nodes actors have run, after making sure that both nodes live
NODES = """
import sys
from ray.cluster_utils import Cluster

node = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 100_000_000}
cluster = Cluster(initialize_head=True, head_node_args=node)
cluster.add_node(**node)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
for line in sys.stdin:
    cluster.wait_for_nodes(timeout=10)
    actors = cluster.global_state.actor_table(None).values()
    print(len({actor["Address"]["NodeID"] for actor in actors}), flush=True)
cluster.shutdown()
"""


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return loaded


def check(config: dict[str, Any]) -> dict[str, Any]:
    prepared: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def ray_start(config: dict[str, Any], key: str) -> str:
    (command,) = [line for line in config[key] if "ray start" in line]
    return str(command)


def test_ray_accepts_it(config: dict[str, Any]) -> None:
    prepared = check(config)
    assert prepared["available_node_types"]["gpu"]["min_workers"] == config["max_workers"]


def unknown_key(config: dict[str, Any]) -> None:
    config["worker_count"] = 2


def no_head(config: dict[str, Any]) -> None:
    del config["head_node_type"]


def another_head(config: dict[str, Any]) -> None:
    config["head_node_type"] = "chief"


def half_a_gpu(config: dict[str, Any]) -> None:
    config["available_node_types"]["gpu"]["resources"]["GPU"] = 0.5


def too_many(config: dict[str, Any]) -> None:
    config["max_workers"] = 1


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (unknown_key, jsonschema.ValidationError),
        (no_head, ValueError),
        (another_head, ValueError),
        (half_a_gpu, jsonschema.ValidationError),
        (too_many, ValueError),
    ],
)
def test_ray_refuses_a_broken_one(
    config: dict[str, Any], spoil: Callable[[dict[str, Any]], None], error: type[Exception]
) -> None:
    broken = copy.deepcopy(config)
    spoil(broken)
    with pytest.raises(error):
        check(broken)


def test_ray_accepts_machines_of_ones_own(config: dict[str, Any]) -> None:
    """As the comment at the top of the file says to change it."""
    dropped = ("available_node_types", "head_node_type", "head_setup_commands")
    own = {key: value for key, value in config.items() if key not in dropped}
    own["provider"] = {"type": "local", "head_ip": "10.0.0.1", "worker_ips": ["10.0.0.2"]}
    own["max_workers"] = 1
    assert check(own)["head_node_type"] == "local.cluster.node"


def test_every_node_gets_the_ray_of_the_constraints(config: dict[str, Any]) -> None:
    (version,) = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    prepared = check(config)
    for key in ("head_setup_commands", "worker_setup_commands"):
        (install,) = [line for line in prepared[key] if "ray[tune]" in line]
        assert f"'ray[tune]=={version}'" in install
        assert "-c constraints.txt" in install
        assert "-e ." in install
    assert "nightly" not in json.dumps(prepared)
    assert "latest/ray" not in json.dumps(prepared)  # the wheel of Ray's own setup commands


@pytest.mark.parametrize("key", STARTS)
def test_nodes_ask_for_the_token_and_send_nothing_home(config: dict[str, Any], key: str) -> None:
    before, start = ray_start(config, key).split("~/venv/bin/ray start")
    assert f"export {AUTH}" in before
    assert "--disable-usage-stats" in start
    assert "0.0.0.0" not in start


def test_the_head_starts_workers_and_no_dashboard(config: dict[str, Any]) -> None:
    command = ray_start(config, "head_start_ray_commands")
    assert "--include-dashboard=false" in command
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in command
    assert command.index("export RAY_enable_autoscaler_v2=0;") < command.index("ray start")


def test_nodes_get_the_project_and_the_token_but_no_secret_in_the_file(
    config: dict[str, Any],
) -> None:
    mounts = config["file_mounts"]
    token = "~/.cache/noisetune/ray_token"
    assert mounts == {"~/noisetune": ".", token: token}
    assert {".git", ".venv", "results"} <= set(config["rsync_exclude"])
    assert not re.search(r"[0-9a-f]{32}|AKIA|PRIVATE KEY", (ROOT / "cluster.yaml").read_text())


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
    """A running Ray of two nodes, of another process."""

    def __init__(self, process: subprocess.Popen[str], address: str, env: dict[str, str]) -> None:
        self.process, self.address, self.env = process, address, env

    def used(self) -> int:
        """On how many nodes actors have run; fails unless both nodes live."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return int(self.process.stdout.readline())


def search(
    env: dict[str, str], folder: Path, address: str, *more: str
) -> subprocess.CompletedProcess[str]:
    run = [sys.executable, "-m", "tuning.search", "--method", "ce", "--address", address]
    run += ["--storage", str(folder), *more]
    return subprocess.run(run, env=env, cwd=folder, capture_output=True, text=True, timeout=100)


@pytest.mark.slow
def test_a_search_uses_all_nodes_of_a_running_ray_and_leaves_it_running(
    nodes: Nodes, tmp_path: Path
) -> None:
    small = ("--trials", "4", "--set", "epochs=2", "--set", "optim.batch=256", "--json")
    ran = search(nodes.env, tmp_path, nodes.address, *small)
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert told["done"] + told["stopped"] == told["trials"] == 4
    assert nodes.used() == 2  # it fails if a node has died


@pytest.mark.slow
def test_another_token_is_refused(nodes: Nodes, tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    token.write_text("fedcba9876543210" * 4)
    env = nodes.env | {"RAY_AUTH_TOKEN_PATH": str(token)}
    ran = search(env, tmp_path, nodes.address, "--trials", "1")
    assert ran.returncode == 2
    *rays, ours = ran.stderr.splitlines()
    assert ours.startswith(f"error: --address {nodes.address}: no Ray that lets us in")
    assert "RAY_AUTH_TOKEN_PATH" in ours
    # Ray's C++ adds its own line, which nothing silences
    assert all("InvalidAuthToken" in line for line in rays), rays


@pytest.mark.slow
def test_where_nobody_answers_it_says_so_at_once(ray_env: dict[str, str], tmp_path: Path) -> None:
    ran = search(ray_env, tmp_path, "127.0.0.1:9", "--trials", "1")
    assert ran.returncode == 2
    assert "error: --address 127.0.0.1:9: no Ray that lets us in" in ran.stderr
    assert "refused" in ran.stderr
    assert ran.stderr.count("\n") == 1, ran.stderr
