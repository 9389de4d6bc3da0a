"""The doctor: what is well, what is not, and that no illness ends the examination."""

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable
from hashlib import md5
from importlib import metadata
from pathlib import Path, PurePosixPath

import pytest
import torch
from filelock import FileLock
from pyarrow import fs as arrow

from trainables.data.cache import home, open_data
from trainables.data.dataset import prepare
from trainables.data.sources import cifar, clothing1m, idx
from tuning import checks, datasets, doctor, fit, folders, reach
from tuning.findings import Finding, lines
from tuning.forecast import REPORT_BYTES
from tuning.places import Remote
from tuning.session import token_file
from tuning.space import load


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


@pytest.mark.parametrize(
    "command", [["--rays"], ["--storage"], ["--data-root", " "], ["x"], ["--trials", "-1"]]
)
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
    flags = ("--data-root", "--storage", "--ray", "--json", "--address", "--cluster", "--method")
    for word in (*flags, "exit codes"):
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
    found, clock = folders.storage(asked)
    assert (found.status, clock.name, clock.status) == ("ok", "clock", "ok")
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


@pytest.mark.parametrize(("away", "status"), [(-900, "warn"), (-3, "ok"), (3, "ok"), (900, "warn")])
def test_a_storage_with_another_clock_is_told(
    away: float, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "dated", lambda path: path.stat().st_mtime + away)
    _, clock = folders.storage("x")
    assert clock.status == status
    if status == "warn":
        told = rf"dated [89]\d\d s {'after' if away > 0 else 'before'} this machine's time"
        assert re.search(told, clock.value)


def test_an_object_store_is_tried_and_left_as_it_was(tmp_path: Path) -> None:
    tree = arrow.SubTreeFileSystem(str(tmp_path), arrow.LocalFileSystem())
    (tmp_path / "bucket").mkdir()
    place = Remote(tree, PurePosixPath("bucket"), "s3")
    assert status(folders.object_store(place)) == ["ok", "ok"]
    assert [path.name for path in tmp_path.rglob("*")] == ["bucket"]
    place = Remote(tree, PurePosixPath("bucket/gone/deeper"), "s3")
    (found,) = folders.object_store(place)
    assert found.status == "FAIL"
    assert "credentials" in found.cure


def test_ports_that_nothing_can_bind_or_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = reach.ports()
    assert found.status == "ok"
    assert "on all interfaces" in found.value
    monkeypatch.setattr(reach, "own_address", lambda: "127.0.0.2")

    def dropped(*args: object, **kinds: object) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr("socket.create_connection", dropped)
    (found,) = reach.ports()
    assert (found.status, "reach itself at 127.0.0.2" in found.value) == ("FAIL", True)

    def taken(*args: object, **kinds: object) -> None:
        raise OSError(98, "Address already in use")

    monkeypatch.setattr("socket.create_server", taken)
    (found,) = reach.ports()
    assert (found.status, "Address already in use" in found.value) == ("FAIL", True)


def found_by(*command: str) -> dict[str, Finding]:
    """What the checks that these flags add find."""
    args = doctor.parser().parse_args([*command])
    always = doctor.all_checks(doctor.parser().parse_args([]))
    more = {name: check for name, check in doctor.all_checks(args).items() if name not in always}
    return by_name(x for name, check in more.items() for x in doctor.found(name, check))


def test_a_plan_is_held_against_the_disk_and_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    flags = {"trials": 4, "keep": 1}
    plan = load("ce", task="digits", spaces=[], settings=["epochs=6"], seed=0, study_flags=flags)
    weights, saved = fit.size_of(plan.chains[0], prepare(plan.example.task))
    disk = 3 * 2 * saved + 2 * weights + 4 * 6 * 2 * REPORT_BYTES
    command = ["--method", "ce", "--set", "epochs=6", "--trials", "4", "--keep", "1"]
    command += ["--concurrency", "3"]
    for free, status in ((disk - 1, "FAIL"), (1.5 * disk, "warn"), (3 * disk, "ok")):
        monkeypatch.setattr("tuning.forecast.free_disk", lambda folder, free=free: free)
        found = found_by(*command)
        assert [*found] == ["plan", "disk", "trials' memory"]
        assert found["disk"].status == status
    assert found["trials' memory"].status == "ok"
    monkeypatch.setattr("tuning.resources.free_memory", lambda: 10**9)
    assert found_by(*command)["trials' memory"].status == "warn"


def test_a_chain_with_a_reset_saves_what_it_goes_back_to() -> None:
    plan = load("ce,reset,sop", task="digits", spaces=[], settings=[], seed=0, study_flags={})
    data = prepare(plan.example.task)
    sizes = {chain.chain: fit.size_of(chain, data) for chain in plan.chains}
    (each,) = {weights for weights, _ in sizes.values()}
    assert sizes["ce"][1] == 4 * each
    assert sizes["reset"][1] == 7 * each
    assert sizes["sop"][1] > 4 * each


def test_a_plan_that_cannot_be_is_one_failure() -> None:
    (found,) = found_by("--method", "mrr").values()
    assert (found.status, "did you mean mr?" in found.value) == ("FAIL", True)


def test_a_cluster_file_is_read_and_an_address_where_nothing_listens_is_told() -> None:
    example = Path(__file__).parents[1] / "cluster.yaml"
    assert "ray up takes it" in found_by("--cluster", str(example))["cluster file"].value
    assert found_by("--cluster", "gone.yaml")["cluster file"].status == "FAIL"
    began = time.monotonic()
    found = found_by("--address", "127.0.0.1:1")["cluster"]
    assert (found.status, "--address 127.0.0.1:1" in found.value) == ("FAIL", True)
    assert time.monotonic() - began < 20


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


def test_a_token_of_the_user_s_own_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    path = Path("own").absolute()
    monkeypatch.setenv("RAY_AUTH_TOKEN_PATH", str(path))
    assert folders.token(home() / "ray_token").status == "FAIL"
    path.write_text("0123")
    path.chmod(0o640)
    found = folders.token(home() / "ray_token")
    assert (found.status, str(path) in found.value) == ("warn", True)
    path.chmod(0o600)
    assert folders.token(home() / "ray_token").status == "ok"
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0123")
    assert "RAY_AUTH_TOKEN is set" in folders.token(home() / "ray_token").value


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data root with two whole sets: the files' checksums are those of small contents."""
    made = tmp_path / "data"
    for folder, table in (("MNIST/raw", idx.MNIST), ("cifar-10-batches-py", cifar.CIFAR10)):
        (made / folder).mkdir(parents=True)
        for name in table:
            content = name.encode() * 100
            (made / folder / name).write_bytes(content)
            monkeypatch.setitem(table, name, md5(content).hexdigest())
    monkeypatch.setattr(idx, "DEBIAN", tmp_path / "debian")
    monkeypatch.setenv("NOISETUNE_DATA", str(made))
    return made


def test_data_sets_are_found_where_they_lie(root: Path) -> None:
    found, fetched, by_hand = datasets.data_roots()
    assert found.value.startswith(f"{root}: mnist, cifar10; checked in ")
    assert [found.status, fetched.status, by_hand.status] == ["ok"] * 3
    assert fetched.value.startswith("fashion-mnist, cifar100; downloaded")
    for name in ("cifair10", "animal-10n", "clothing1m", "CIFAR-10_human.pt", "CIFAR-100_human.pt"):
        assert name in by_hand.value


def test_our_own_root_and_debian_s_package_are_looked_at(root: Path) -> None:
    (home() / "raw").mkdir(parents=True)
    (root / "MNIST").rename(home() / "raw" / "MNIST")
    assert status(datasets.data_roots()) == ["ok"] * 4
    idx.DEBIAN.mkdir()
    for name in idx.FASHION_MNIST:
        (idx.DEBIAN / f"{name}.gz").write_bytes(b"no gzip")
    user, own, debian, *_ = datasets.data_roots()
    assert user.value.startswith(f"{root}: cifar10; ")
    assert own.value.startswith(f"{home() / 'raw'}: mnist; ")
    assert debian.status == "warn"
    assert "train-images-idx3-ubyte.gz: cut short or altered" in debian.value


@pytest.mark.parametrize("given", ["{}/", "{}/../data", "~/data", "data"])
@pytest.mark.parametrize("empty", [True, False])
def test_a_root_is_known_however_it_is_written(
    given: str, empty: bool, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NOISETUNE_DATA", given.format(root))
    if empty:
        shutil.rmtree(root)
        root.mkdir()
    first, *_ = datasets.data_roots()
    assert first.status == ("warn" if empty else "ok")
    assert ("no data set in it" in first.value) == empty


def test_a_file_cut_short_is_named(root: Path) -> None:
    path = root / "cifar-10-batches-py" / "data_batch_3"
    path.write_bytes(path.read_bytes()[:-1])
    whole, ill, *_ = datasets.data_roots()
    assert whole.value.startswith(f"{root}: mnist; ")
    assert ill.status == "warn"
    assert ill.value.startswith(f"{path}: cut short or altered")


@pytest.mark.parametrize("lost", [1, 4])
def test_files_that_are_not_there_are_named(lost: int, root: Path) -> None:
    for name in list(idx.MNIST)[:lost]:
        (root / "MNIST" / "raw" / name).unlink()
    _, ill, *_ = datasets.data_roots()
    assert ill.status == "warn"
    assert ill.value == f"{root}/MNIST/raw: mnist lacks {', '.join(list(idx.MNIST)[:lost])}"
    assert f"{root}/MNIST/raw" in ill.cure


def test_animals_are_counted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainables.data.sources.animal10n.SIZES", {"training": 2, "testing": 1})
    for name in ("training/0_1.jpg", "training/1_2.jpg", "testing/3_1.jpg"):
        path = root / "animal-10n" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    first, *_ = datasets.data_roots()
    assert "animal-10n" in first.value
    path.unlink()
    _, ill, *_ = datasets.data_roots()
    assert ill.status == "warn"
    assert "testing: animal-10n has 0 images here, the original 1" in ill.value


def test_clothing1m_s_lists_are_looked_at(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clothing1m, "SIZES", dict.fromkeys(clothing1m.SIZES, 2))
    place = root / "Clothing1M"
    (place / "images").mkdir(parents=True)
    for name in (*clothing1m.SIZES, *clothing1m.LABELS.values()):
        (place / name).write_text("a\nb\n")
    first, *_ = datasets.data_roots()
    assert "clothing1m" in first.value
    (place / clothing1m.TRAINING).write_text("a\n")
    (place / "clean_label_kv.txt").unlink()
    _, ill, *_ = datasets.data_roots()
    assert ill.status == "warn"
    assert f"1 lines of {place / clothing1m.TRAINING}" in ill.value
    assert "clean_label_kv.txt" in ill.value


@pytest.mark.parametrize(
    ("size", "cut", "told"), [(50_000, 0, ""), (50_000, 99, ""), (7, 0, "no 50,000 labels in")]
)
def test_labels_of_people_are_read(size: int, cut: int, told: str, root: Path) -> None:
    path = root / "cifar-n" / "CIFAR-100_human.pt"
    path.parent.mkdir()
    torch.save({key: torch.zeros(size) for key in ("clean_label", "noisy_label")}, path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size - cut])
    first, ill, *_ = datasets.data_roots()
    if size == 50_000 and not cut:
        assert "CIFAR-100_human.pt" in first.value
    else:
        assert ill.status == "warn"
        assert ill.value.startswith(f"{path}: {told}")


def test_what_a_killed_writer_left_is_listed() -> None:
    address = open_data("digits").address
    assert status(datasets.leftovers()) == []
    data = home() / "data"
    (data / "mnist.draft" / "arrays").mkdir(parents=True)
    (data / "mnist.draft" / "arrays" / "images.npy").write_bytes(bytes(2_500_000))
    (data / ("a" * 64)).mkdir()
    draft, arrays = datasets.leftovers()
    assert [draft.status, arrays.status] == ["warn", "warn"]
    assert draft.value.startswith(f"{data / 'mnist.draft'}: 2.5 MB")
    assert draft.cure == f"remove it: rm -r {data / 'mnist.draft'}"
    assert str(data / ("a" * 64)) in arrays.cure
    with FileLock(data / "mnist.json.lock"):  # its writer lives
        (draft,) = datasets.leftovers()
        assert (draft.status, "being written" in draft.value) == ("ok", True)
    (data / "digits.json").unlink()
    assert [address in found.value for found in datasets.leftovers()].count(True) == 1


def test_a_draft_of_a_download_is_listed(root: Path) -> None:
    (root / ".mnist.draft").mkdir()
    (found,) = datasets.leftovers()
    assert str(root / ".mnist.draft") in found.cure


def test_an_altered_cache_fails() -> None:
    folder = home() / "data" / open_data("digits").address
    assert status(datasets.cache()) == ["ok"]
    data = bytearray((folder / "images.npy").read_bytes())
    data[-1] ^= 1
    (folder / "images.npy").write_bytes(data)
    (found,) = datasets.cache()
    assert found.status == "FAIL"
    assert "images.npy" in found.value
    (folder / "images.npy").write_bytes(data[:-100])  # this, a search notices and mends by itself
    assert status(datasets.cache()) == ["warn"]


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


LOOK = """
import json, time
from dataclasses import asdict
from importlib import metadata
from tuning import reach
from tuning.session import cluster, quieten

quieten()
with cluster(None):
    found = [*reach.nodes_like_this()]
    metadata.version = lambda name: "0.1"
    found += reach.nodes_like_this()
print(json.dumps([asdict(one) for one in found]))
"""


@pytest.mark.slow
def test_nodes_are_asked_for_what_they_have(ray_env: dict[str, str]) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", LOOK], capture_output=True, text=True, env=ray_env, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    same, other = json.loads(ended.stdout.splitlines()[-1])
    assert (same["status"], same["value"].startswith("1 with Python ")) == ("ok", True)
    assert other["status"] == "FAIL"
    assert "here 0.1" in other["value"]
