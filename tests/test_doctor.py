"""The doctor: what is well, what is not, and that no illness ends the examination."""

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

import pytest

from trainables.data.cache import home, open_data
from tuning import checks, doctor, folders
from tuning.findings import Finding, lines
from tuning.session import token_file


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty current folder and home, nothing of the user's in the environment."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NOISETUNE_HOME", str(tmp_path / "home"))
    for name in ("NOISETUNE_DATA", *filter(lambda name: name.startswith("RAY_"), os.environ)):
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def by_name(findings: Iterable[Finding]) -> dict[str, Finding]:
    return {finding.name: finding for finding in findings}


def status(findings: Iterable[Finding]) -> list[str]:
    return [finding.status for finding in findings]


def test_here_nothing_fails_and_nothing_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.main([]) == 0
    told = capsys.readouterr().out.splitlines()
    assert {line[:5] for line in told[:-1]} <= {"ok   ", "warn "}
    names = {line[6:].partition(":")[0] for line in told[:-1]}
    assert {"Python", "packages", "torchvision", "CUDA", "CPU", "storage", "home", "Ray"} <= names
    assert told[-1].startswith("nothing would keep a search from running")
    assert list(Path().iterdir()) == []


def test_json_is_one_line_and_exit_code_1_tells_of_a_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("file").write_text("")
    assert doctor.main(["--json", "--storage", "file/x", "--data-root", "gone"]) == 1
    out = capsys.readouterr().out
    assert out.count("\n") == 1
    found = json.loads(out)
    failed = {x["name"]: x for x in found["findings"] if x["status"] == "FAIL"}
    assert sorted(failed) == ["data root", "storage"]
    assert found["FAIL"] == 2
    assert "no such folder" in failed["data root"]["value"]
    assert "--storage" in failed["storage"]["cure"]


@pytest.mark.parametrize("command", [["--rays"], ["--storage"], ["--data-root", " "], ["x"]])
def test_a_wrong_command_gets_one_line(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert doctor.main(command) == 2
    out, line = capsys.readouterr()
    assert out == ""
    assert line.startswith("error: ")
    assert line.count("\n") == 1


def test_help_names_every_flag_and_exit_code(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        doctor.main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for word in ("--data-root", "--storage", "--ray", "--json", "exit codes"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100


def test_a_check_that_breaks_ends_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken() -> Iterable[Finding]:
        yield Finding("first", "ok", "came before")
        raise ImportError("libtorch.so: undefined\nsymbol")

    monkeypatch.setattr(checks, "python", broken)
    assert doctor.main([]) == 1
    out, err = capsys.readouterr()
    assert "FAIL  Python: ImportError: libtorch.so: undefined symbol" in out
    assert "Traceback" not in out + err
    for name in ("first", "packages", "Ray"):
        assert f" {name}: " in out


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["rich", "torch", "numpy"])
def test_it_runs_where_a_package_is_broken(lost: str) -> None:
    blocked = f"import sys; sys.modules[{lost!r}] = None; from tuning.doctor import main; main([])"
    root = str(Path(__file__).parents[1])
    ended = subprocess.run(
        [sys.executable, "-c", blocked],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": root},
    )
    assert "Traceback" not in ended.stderr
    assert "Ray's folder" in ended.stdout  # the last check
    assert ("FAIL" in ended.stdout) == (lost != "rich")


def test_packages_too_old_or_missing_are_named_with_the_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = metadata.version

    def version(name: str) -> str:
        if name == "optuna":
            raise metadata.PackageNotFoundError(name)
        return "2.4.0+cu118" if name == "torch" else real(name)

    monkeypatch.setattr(metadata, "version", version)
    found = by_name(checks.packages())
    assert found["optuna"].status == found["torch"].status == "FAIL"
    assert found["optuna"].cure.startswith("pip install 'optuna>=")
    assert "2.4.0+cu118" in found["torch"].value
    assert "numpy" in found["packages"].value
    (pair,) = checks.torchvision()
    assert pair.status == "FAIL"
    assert "needs torch" in pair.value


def test_operators_that_another_torch_was_built_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def lost(*args: object) -> None:
        raise RuntimeError("operator torchvision::nms does not exist")

    monkeypatch.setattr("torchvision.ops.nms", lost)
    (found,) = checks.torchvision()
    assert found.status == "FAIL"
    assert "nms does not exist" in found.value
    assert "pip install" in found.cure


@pytest.mark.parametrize(
    ("built", "hidden", "expected", "told"),
    [
        (None, None, "warn", "built for the CPU"),
        ("13.2", None, "FAIL", "too old"),
        ("13.2", "", "ok", "hidden"),
    ],
)
def test_a_driver_that_torch_cannot_use(
    built: str | None, hidden: str | None, expected: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def init() -> None:
        raise RuntimeError("The NVIDIA driver on your system is too old")

    monkeypatch.setattr("torch.version.cuda", built)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.cuda.init", init)
    monkeypatch.setattr(checks, "DRIVER", Path(__file__))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", hidden or "")
    if hidden is None:
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    (found,) = checks.cuda()
    assert found.status == expected
    assert told in found.value


def test_little_memory_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tuning.resources.free_memory", lambda: 10_000_000)
    first, *_ = checks.memory()
    assert first.status == "warn"
    assert "--concurrency 1" in first.cure


@pytest.mark.parametrize("asked", ["new/folder", "there"])
def test_storage_is_tried_and_left_as_it_was(asked: str) -> None:
    Path("there").mkdir()
    (found,) = folders.storage(asked)
    assert found.status == "ok"
    assert "GB free" in found.value
    assert [path.name for path in Path().rglob("*")] == ["there"]


def test_storage_that_gives_back_something_else_or_is_full(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(path: Path, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(folders, "flushed", lambda path, data: path.write_bytes(data[1:]))
    (found,) = folders.storage("x")
    assert "does not come back" in found.value
    monkeypatch.setattr(folders, "flushed", full)
    (found,) = folders.storage("x")
    assert (found.status, Path("x").exists()) == ("FAIL", False)
    assert "No space left" in found.value


def test_a_home_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("")
    (found,) = folders.home_folder()
    assert found.status == "FAIL"
    assert "NOISETUNE_HOME" in found.cure


def test_a_token_others_can_read_is_a_warning() -> None:
    path = token_file()
    assert folders.token(path).status == "ok"
    path.chmod(0o644)
    found = folders.token(path)
    assert found.status == "warn"
    assert "chmod 600" in found.cure


def test_data_sets_are_found_where_they_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    root.mkdir()
    monkeypatch.setenv("NOISETUNE_DATA", str(root))
    assert status(folders.data_roots()) == ["warn", "ok"]  # nothing there
    (root / "MNIST" / "raw").mkdir(parents=True)
    (home() / "raw" / "cifar-10-batches-py").mkdir(parents=True)
    first, own, lost = folders.data_roots()
    assert first.value == f"{root}: mnist"
    assert own.value.endswith("raw: cifar10")
    assert "cifar100, fashion-mnist" in lost.value


def test_an_altered_cache_fails() -> None:
    folder = home() / "data" / open_data("digits").address
    assert status(folders.cache()) == ["ok"]
    data = bytearray((folder / "images.npy").read_bytes())
    data[-1] ^= 1
    (folder / "images.npy").write_bytes(data)
    (found,) = folders.cache()
    assert found.status == "FAIL"
    assert "images.npy" in found.value
    (folder / "images.npy").write_bytes(data[:-100])  # this, a search notices and mends by itself
    assert status(folders.cache()) == ["warn"]


def test_settings_of_ray_that_open_it_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    assert status(checks.ray()) == ["ok", "ok", "ok"]
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "1")
    monkeypatch.setenv("RAY_TMPDIR", "/tmp/" + "x" * 60)
    assert status(checks.ray()) == ["warn", "warn", "FAIL"]


@pytest.mark.parametrize("width", [50, 80])
def test_lines_keep_to_the_width(width: int) -> None:
    finding = Finding("storage", "warn", "a few words " * 20, "and a cure of so many words " * 5)
    told = lines(finding, width)
    assert max(map(len, told)) <= width
    assert told[0].startswith("warn  storage ")
    assert sum("->" in line for line in told) == 1
    assert len(lines(finding, None)) == 1


@pytest.mark.slow
def test_ray_starts_and_runs_a_task(ray_env: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "tuning.doctor", "--ray", "--json"],
        capture_output=True,
        text=True,
        env=ray_env,
        timeout=300,
    )
    found = {x["name"]: x for x in json.loads(ended.stdout)["findings"]}
    assert found["Ray start"]["status"] == "ok"
    assert "a task ran in" in found["Ray start"]["value"]
