"""cluster.yaml and the files in cluster/, as Ray's launcher, SLURM and KubeRay read them."""

import copy
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

from tuning.clusterfile import examine
from tuning.findings import Finding

ROOT = Path(__file__).parents[1]
FILES = ("cluster.yaml", "cluster/onprem.yaml")
STARTS = ("head_start_ray_commands", "worker_start_ray_commands")
AUTH = "RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.cache/noisetune/ray_token;"
(RAY,) = re.findall(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
# what docs/reference/api.md and docs.ray.io's page on token authentication name, of ray.io/v1
JOB = {
    "entrypoint submissionMode shutdownAfterJobFinishes ttlSecondsAfterFinished rayClusterSpec",
    "backoffLimit activeDeadlineSeconds runtimeEnvYAML suspend jobId metadata submitterConfig",
}
CLUSTER = {"rayVersion authOptions headGroupSpec workerGroupSpecs enableInTreeAutoscaling"}
GROUP = {"groupName replicas minReplicas maxReplicas rayStartParams template serviceType"}


@pytest.fixture(params=FILES)
def config(request: pytest.FixtureRequest) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / request.param).read_text())
    return loaded


@pytest.fixture
def aws() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    return loaded


def check(config: dict[str, Any]) -> dict[str, Any]:
    prepared: dict[str, Any] = prepare_config(copy.deepcopy(config))
    validate_config(prepared)
    return prepared


def ray_start(config: dict[str, Any], key: str) -> str:
    (command,) = [line for line in config[key] if "ray start" in line]
    return str(command)


def test_ray_accepts_it_and_starts_every_worker(config: dict[str, Any]) -> None:
    prepared = check(config)
    workers = prepared["available_node_types"].get("gpu")
    own = prepared["available_node_types"].get("local.cluster.node")
    assert (workers or own)["min_workers"] == 2 == prepared["max_workers"]


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
def test_ray_refuses_a_broken_one_and_the_doctor_says_so(
    aws: dict[str, Any],
    spoil: Callable[[dict[str, Any]], None],
    error: type[Exception],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    spoil(aws)
    with pytest.raises(error) as told:
        check(aws)
    capfd.readouterr()
    (found,) = examined(aws, tmp_path)
    assert found.status == "FAIL"
    assert str(told.value).splitlines()[0] in found.value
    assert capfd.readouterr() == ("", "")


def test_every_node_gets_the_ray_of_the_constraints(config: dict[str, Any]) -> None:
    prepared = check(config)
    for key in ("head_setup_commands", "worker_setup_commands"):
        (install,) = [line for line in prepared[key] if "ray[tune]" in line]
        assert f"'ray[tune]=={RAY}'" in install
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


@pytest.mark.parametrize("name", FILES)
def test_nodes_get_the_project_and_the_token_but_no_secret_in_the_file(name: str) -> None:
    text = (ROOT / name).read_text()
    config = yaml.safe_load(text)
    token = "~/.cache/noisetune/ray_token"
    assert config["file_mounts"] == {"~/noisetune": ".", token: token}
    assert {".git", ".venv", "results"} <= set(config["rsync_exclude"])
    assert not re.search(r"[0-9a-f]{32}|AKIA|PRIVATE KEY", text)


def test_a_worker_of_ones_own_tells_the_address_it_was_reached_by() -> None:
    """Else autoscaler 1 does not know it, and starts its Ray again and again."""
    config = yaml.safe_load((ROOT / "cluster/onprem.yaml").read_text())
    for key in STARTS:
        before, start = ray_start(config, key).split("~/venv/bin/ray start")
        assert "set -- $SSH_CONNECTION;" in before
        assert "--node-ip-address=$3" in start


def examined(config: dict[str, Any], folder: Path) -> list[Finding]:
    (folder / "cluster.yaml").write_text(yaml.safe_dump(config))
    return list(examine(str(folder / "cluster.yaml")))


def test_the_doctor_finds_nothing_but_what_is_to_be_changed(
    config: dict[str, Any], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.touch(0o600)
    config["file_mounts"]["~/.cache/noisetune/ray_token"] = str(token)
    (found,) = [finding for finding in examined(config, tmp_path) if finding.status != "ok"]
    assert found.name == "words to change"
    told = json.dumps(config).replace("CHANGE", "mine")
    assert {finding.status for finding in examined(json.loads(told), tmp_path)} == {"ok"}


@pytest.mark.parametrize(
    ("key", "old", "new", "told"),
    [
        (STARTS[0], "RAY_AUTH_MODE=token", "", "no RAY_AUTH_MODE=token"),
        (STARTS[1], "RAY_AUTH_TOKEN_PATH=", "OTHER=", "no RAY_AUTH_TOKEN_PATH="),
        (STARTS[1], "--disable-usage-stats", "", "statistics"),
        (STARTS[0], "--include-dashboard=false", "--dashboard-host=0.0.0.0", "on 0.0.0.0"),
        (STARTS[0], "RAY_enable_autoscaler_v2=0", "A=0", "autoscaler 2"),
        (STARTS[1], "ray start", "ray stop", "0 of its commands"),
        ("setup_commands", "ray[tune]==2.60.0", "ray[tune]", "names a version"),
        ("setup_commands", "ray[tune]==2.60.0", "ray[tune]==2.40.0", "2.40.0 there"),
        ("file_mounts", "ray_token", "rays_token", "not among file_mounts"),
    ],
)
def test_the_doctor_tells_of_an_open_or_broken_ray(
    key: str, old: str, new: str, told: str, tmp_path: Path
) -> None:
    config = yaml.safe_load((ROOT / "cluster/onprem.yaml").read_text())
    assert old in json.dumps(config[key])
    config[key] = json.loads(json.dumps(config[key]).replace(old, new))
    found = [finding for finding in examined(config, tmp_path) if told in finding.value]
    assert [finding.status for finding in found] == ["FAIL"]
    assert found[0].cure


@pytest.mark.parametrize("text", ["a: [", "- a", "max_workers: 2", "\t", None])
def test_what_is_no_cluster_file_is_one_finding(text: str | None, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "file").write_text(text)
    (found,) = examine(str(tmp_path / "file"))
    assert found.status == "FAIL"
    assert "\n" not in found.value


def test_slurm_runs_one_ray_a_node_with_the_token() -> None:
    path = ROOT / "cluster/slurm.sh"
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text()
    assert "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH RAY_USAGE_STATS_ENABLED=0" in text
    assert f"'ray[tune]=={RAY}'" in text
    assert "#SBATCH --exclusive" in text  # symmetric-run ends every Ray of this user there
    (run,) = re.findall(r"ray symmetric-run (.*?) -- (.*)", text.replace("\\\n", " "))
    assert "--head" not in run[0]
    assert run[1] == 'python -m tuning.search --address "$head" "$@"'


def test_kubernetes_gets_fields_that_kuberay_documents() -> None:
    *_, policy, job = yaml.safe_load_all((ROOT / "cluster/kuberay.yaml").read_text())
    spec = job["spec"]
    cluster = spec["rayClusterSpec"]
    assert spec.keys() <= words(JOB)
    assert cluster.keys() <= words(CLUSTER)
    assert cluster["authOptions"] == {"mode": "token"}
    assert cluster["rayVersion"] == RAY
    for group in (cluster["headGroupSpec"], *cluster["workerGroupSpecs"]):
        assert group.keys() <= words(GROUP)
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        pod = group["template"]["spec"]
        (install,), (node,) = pod["initContainers"], pod["containers"]
        assert f"'ray[tune]=={RAY}'" in install["command"][-1]
        assert "-c /shared/noisetune/constraints.txt" in install["command"][-1]
        assert f":{RAY}-" in node["image"]
        assert {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"} in node["env"]
        labels = group["template"]["metadata"]["labels"]
        assert labels == policy["spec"]["podSelector"]["matchLabels"]


def words(lines: set[str]) -> set[str]:
    return {word for line in lines for word in line.split()}


@pytest.mark.parametrize("there", [False, True])
def test_a_second_slurm_job_keeps_what_says_where_to_run(there: bool, tmp_path: Path) -> None:
    """The real script, with stand-ins for `srun` and the environment."""
    tools, log = tmp_path / "venv/bin", tmp_path / "log"
    tools.mkdir(parents=True)
    srun = f"""#!/bin/bash
shift
test "$1 $2 $4" = "bash -c own" || exit 1
bash -c "$3" own true || exit 1
shift 4
printf '%s\\n' "$@" > {log}
"""
    for name, text in {"python": "#!/bin/sh\necho token\n", "srun": srun}.items():
        (tools / name).write_text(text)
        (tools / name).chmod(0o755)
    study = tmp_path / "studies/first"
    if there:
        study.mkdir(parents=True)
        (study / "manifest.json").touch()
    env = os.environ | {"PATH": f"{tools}:{os.environ['PATH']}", "VENV": str(tools.parent)}
    env |= {"STORAGE": str(study.parent), "LOCAL": str(tmp_path / "local")}
    env |= {"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2", "SLURM_SUBMIT_DIR": str(tmp_path)}
    given = ["--method", "mr", "--gpus", "0.25", "--set", "epochs=2", "--data-root=/my data"]
    script = str(ROOT / "cluster/slurm.sh")
    subprocess.run(["bash", script, *given], env=env, check=there, capture_output=True)
    words = log.read_text().splitlines()
    assert words[:2] == ["ray", "symmetric-run"]
    told = words[words.index("tuning.search") + 3 :]
    where = ["--gpus", "0.25", "--data-root=/my data"]
    if there:
        assert told == ["--resume", str(study), *where]
    else:
        what = ["--method", "mr", "--set", "epochs=2"]
        assert told == [*what, *where, "--storage", str(study.parent), "--name", "first"]
    for folder in (tmp_path / "local").iterdir():
        assert folder.stat().st_mode & 0o777 == 0o700
    assert len(list((tmp_path / "local").iterdir())) == 2
