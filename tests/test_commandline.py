"""Wrong commands: one line that names flag or file, field, value and cure; nothing is started."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest

from trainables.methods import METHODS
from tuning import forecast, search, session
from tuning.commandline import STUDY_FLAGS, parse, parser, where
from tuning.resources import Resources
from tuning.search import main
from tuning.settings import Settings

FILES: dict[str, bytes] = {
    "typo.yaml": b"methods: {mr: {etaa: 0.1}}",
    "reversed.yaml": b"methods: {mr: {eta: {log: [1.0, 0.1]}}}",
    "negative.yaml": b"methods: {mr: {eta: -0.1}}",
    "nan.yaml": b"methods: {mr: {eta: .nan}}",
    "text.yaml": b"methods: {mr: {eta: lots}}",
    "broken.yaml": b"methods: {mr: {eta: 0.1}\nstart: []",
    "binary.yaml": b"\x89PNG\r\n\x1a\n\x00\x00\xff",
    "empty.yaml": b"",
    "one.yaml": b"methods: {mr: {eta: 0.1}}",
    "two.yaml": b"methods: {mr: {eta: 0.2}}",
    "mixup.yaml": b"methods: {mixup: {alpha: 0.2}}",
    "outside.yaml": b"methods: {mr: {eta: {log: [0.1, 1.0]}}}\nstart: [{methods: {mr: {eta: 2}}}]",
    "open.yaml": b"noise: {rate: {uniform: [0.1, 0.5]}}",
    "noisy.yaml": b"noise: {rate: 1.5}",
    "file": b"stands here",
}
MR = ("--method", "mr")
# what is wrong: the command, and what its one line must hold
WRONG: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no command at all": ((), ("--method", "missing", "--method mr")),
    "missing method": (("--task", "digits"), ("--method", "missing")),
    "unknown method": (("--method", "mrr"), ("--method mrr", "did you mean mr?")),
    "method twice": (("--method", "mr+mixup+mr"), ("--method", "'mr'", "twice")),
    "chain twice": (("--method", "mr,ce,mr"), ("--method mr,ce,mr", "mr stands twice")),
    "unknown flag": ((*MR, "--trails", "3"), ("--trails", "--help")),
    "flag without value": ((*MR, "--trials"), ("--trials", "expected one argument")),
    "unknown field": ((*MR, "--space", "typo.yaml"), ("typo.yaml", "mr.etaa", "did you mean eta?")),
    "unknown field in --set": (
        (*MR, "--set", "optim.learning_rate=0.1"),
        ("--set optim.learning_rate=0.1", "optim.learning_rate", "unknown field"),
    ),
    "no key=value": ((*MR, "--set", "epochs"), ("--set epochs", "key=value")),
    "reversed range": (
        (*MR, "--space", "reversed.yaml"),
        ("reversed.yaml", "mr.eta", "[1.0, 0.1]", "swap them"),
    ),
    "negative eta": (
        (*MR, "--space", "negative.yaml"),
        ("negative.yaml", "mr.eta = -0.1", "least"),
    ),
    "NaN": ((*MR, "--space", "nan.yaml"), ("nan.yaml", "mr.eta = '.nan'", "number")),
    "text for a number": (
        (*MR, "--space", "text.yaml"),
        ("text.yaml", "mr.eta = 'lots'", "number"),
    ),
    "broken YAML": ((*MR, "--space", "broken.yaml"), ("broken.yaml:2:1",)),
    "binary file": ((*MR, "--space", "binary.yaml"), ("binary.yaml", "UTF-8", "0x89")),
    "empty file": ((*MR, "--space", "empty.yaml"), ("empty.yaml", "is empty")),
    "missing file": ((*MR, "--space", "gone.yaml"), ("gone.yaml", "no such file", "path")),
    "unknown task": ((*MR, "--task", "digit"), ("--task digit", "did you mean digits?")),
    "missing task file": ((*MR, "--task", "gone.yaml"), ("gone.yaml", "no such file")),
    "noise rate 1.5": (
        (*MR, "--task", "noisy.yaml"),
        ("noisy.yaml", "noise.rate = 1.5", "at most 1"),
    ),
    "noise rate 1.5 in --set": (
        (*MR, "--set", "noise.rate=1.5"),
        ("--set noise.rate=1.5", "noise.rate = 1.5", "at most 1"),
    ),
    "hole under noise": (
        (*MR, "--task", "open.yaml"),
        ("open.yaml", "noise.rate", "cannot be open", "one study for each"),
    ),
    "start outside its hole": (
        (*MR, "--space", "outside.yaml"),
        ("outside.yaml: start[0]", "mr.eta = 2", "outside its hole", "widen"),
    ),
    "spaces disagree": (
        (*MR, "--space", "one.yaml", "two.yaml"),
        ("one.yaml", "two.yaml", "mr.eta", "--set"),
    ),
    "space for no chain": ((*MR, "--space", "mixup.yaml"), ("mixup.yaml", "mixup", "--method mr")),
    "zero trials": ((*MR, "--trials", "0"), ("--trials 0", "trials = 0", "at least 1")),
    "half a trial": ((*MR, "--trials", "2.5"), ("--trials 2.5", "whole number")),
    "unknown searcher": ((*MR, "--searcher", "tpee"), ("--searcher tpee", "did you mean tpe?")),
    "unknown scheduler": ((*MR, "--scheduler", "hyperband"), ("--scheduler hyperband", "asha")),
    "unknown metric": ((*MR, "--metric", "test/acc"), ("--metric test/acc", "'val/acc'")),
    "factor 1": ((*MR, "--factor", "1"), ("--factor 1", "at least 2")),
    "64 GPUs": ((*MR, "--gpus", "64"), ("--gpus 64", "this machine has", "ask for less")),
    "no core": ((*MR, "--cpus", "0"), ("--cpus 0", "at least")),
    "a text of cores": ((*MR, "--cpus", "all"), ("--cpus all", "must be a number")),
    "no concurrency": ((*MR, "--concurrency", "0"), ("--concurrency 0", "at least 1")),
    "seed of minus one": ((*MR, "--seed", "-1"), ("--seed -1", "at least 0")),
    "nonsense time": ((*MR, "--time", "soon"), ("--time soon", "10m")),
    "no time": ((*MR, "--time", "0s"), ("--time 0s", "10m")),
    "name with a slash": ((*MR, "--name", "a/b"), ("--name a/b", "slash")),
    "name of the folder above": ((*MR, "--name", ".."), ("--name ..", "slash")),
    "study exists": (
        (*MR, "--storage", ".", "--name", "there"),
        ("there", "exists", "is no study"),
    ),
    "storage is a file": ((*MR, "--storage", "file"), ("file", "is a file", "another folder")),
    "storage below a file": ((*MR, "--storage", "file/x"), ("file", "is a file", "another folder")),
    "object store": ((*MR, "--storage", "hdfs://b/x"), ("--storage hdfs://b/x", "known: file")),
    "data root that is not there": ((*MR, "--data-root", "gone"), ("data root", "gone", "make it")),
    "data root is a file": ((*MR, "--data-root", "file"), ("file", "is not a folder")),
    "data root of no name": ((*MR, "--data-root", ""), ("--data-root ''", "name a folder")),
    "no study": (("--resume", "there"), ("there", "no study", "manifest.json")),
    "study that is not there": (("--resume", "gone"), ("gone", "no study")),
    "resume with seed": (("--resume", "there", "--seed", "9"), ("--seed", "--resume")),
    "resume with task": (("--resume", "there", "--task", "x"), ("--task", "leave it out")),
    "retry of nothing": ((*MR, "--retry-failed"), ("--retry-failed", "add --resume")),
}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty current folder with the files above and a folder that is no study."""
    monkeypatch.chdir(tmp_path)
    for name in (*session.QUIET, "RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "NOISETUNE_DATA"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # so that what main sets is undone
    for name, content in FILES.items():
        Path(name).write_bytes(content)
    Path("there").mkdir()
    Path("there/notes.txt").touch()
    before = everything(tmp_path)
    yield
    assert everything(tmp_path) == before  # no study folder, not even an empty results
    assert not started()


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def started() -> bool:
    ray = sys.modules.get("ray")
    return bool(ray and ray.is_initialized())


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_command_gets_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    command, held = WRONG[case]
    assert main([*command]) == 2
    out, line = capsys.readouterr()
    assert out == ""
    assert line.startswith("error: ")
    assert line.endswith("\n")
    assert line.count("\n") == 1
    for part in held:
        assert part in line


def test_help_teaches_and_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    for action in parser()._actions:
        assert action.option_strings[-1] in text
        assert action.help
    assert set(STUDY_FLAGS) == {field.name for field in fields(Settings)}
    for word in ("exit codes", *METHODS, "--dry-run", "tensorboard --logdir", "test label"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 100
    examples = [line for line in text.splitlines() if line.startswith("  python -m")]
    assert len(examples) > 3
    for line in examples:
        command = re.split(r"  +", line.strip())[0]
        assert parse(shlex.split(command)[3:]).argv


@pytest.mark.parametrize("value", ["1e-3", "0.001", "1.0e-3"])
def test_a_dry_run_prints_the_plan_and_leaves_nothing(
    value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Numbers are read as people write them; YAML 1.1 would take 1e-3 for a text."""
    small = ["--set", "epochs=2", "--set", "optim.batch=256", "--trials", "5"]
    assert main(["--method", "mr,ce", "--set", f"methods.mr.eta={value}", *small, "--dry-run"]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    rows = {line.split()[0]: line for line in out.splitlines() if line.strip()}
    assert "results" in rows["study"]
    assert "digits" in rows["task"]
    assert "6 trials" in rows["search"]  # rounded up to whole rounds
    for row in ("time", "disk", "cache", "memory", "measured"):
        assert re.search(r"[1-9]", rows[row])
    assert "warning" not in rows
    assert "mr/eta" not in out  # it is fixed now
    assert "optim/lr log 0.005 .. 0.5" in rows["mr"]
    assert "ce" in rows


def test_a_plan_of_unequal_trials_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--set", "epochs=2", "--set", "optim.batch=256", "--trials", "10"]
    assert main(["--method", "ce,mr", *small, "--allocate", "adaptive", "--dry-run"]) == 0
    out = capsys.readouterr().out
    plan = " ".join(out.split())
    assert "10 trials (3 given, 7 dealt by the sampler)" in plan
    assert re.search(r"^ce +1 or more ", out, re.MULTILINE)
    assert re.search(r"^mr +2 or more ", out, re.MULTILINE)
    assert "no fair comparison of methods" in plan


def test_a_dry_run_warns_of_what_there_is_too_little_of(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(forecast, "free_disk", lambda folder: 1000)
    monkeypatch.setattr(forecast, "free_memory", lambda: 1000)
    assert main([*MR, "--set", "epochs=2", "--set", "optim.batch=256", "--dry-run"]) == 0
    warnings = [x for x in capsys.readouterr().out.splitlines() if x.startswith("warning")]
    assert [cure in line for line, cure in zip(warnings, ("--storage", "--conc"), strict=True)]


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_more_trials_than_a_gpu_can_hold_are_refused(
    more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """By what they copy there; CUDA's own half gigabyte is most of it for so small a network."""
    monkeypatch.setattr(search, "local_resources", lambda args: Resources(1, 0.1, 10))
    monkeypatch.setattr(search, "gpu_memory", lambda: 2**32)
    assert main([*MR, *more]) == 2
    line = capsys.readouterr().err
    assert "--gpus 0.1: 10 trials need 10 x 0.5 GiB on a GPU of 4.0 GiB (at most 8: --gpus" in line
    assert line.count("\n") == 1


@pytest.mark.parametrize("flags", [MR, ("--resume", "x")])
def test_a_data_root_is_taken_by_every_command(flags: tuple[str, ...]) -> None:
    assert parse([*flags, "--data-root", "/x y"]).data_root == "/x y"
    repeated = where(parse([*flags, "--data-root", "/x y", "--cpus", "2"]))
    assert repeated == " --data-root '/x y' --cpus 2.0"


def test_a_manifest_of_another_format_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    """Such as one of a later noisetune; a file of another program has none."""
    Path("other/journal").mkdir(parents=True)
    for text, told in (
        ('{"format": 2}', "format 2"),
        ("{}", "format None"),
        ("[", "cannot be read"),
    ):
        Path("other/manifest.json").write_text(text)
        assert main(["--resume", "other"]) == 2
        line = capsys.readouterr().err
        assert "manifest.json" in line
        assert told in line
        assert line.count("\n") == 1
    shutil.rmtree("other")


@pytest.mark.parametrize(
    ("text", "value"), [("90", 90.0), ("90s", 90.0), ("10m", 600.0), ("1.5 h", 5400.0)]
)
def test_durations(text: str, value: float) -> None:
    assert parse(["--method", "mr", "--time", text]).time == value


def test_flags_keep_what_was_typed_for_the_manifest() -> None:
    typed = ["--method", "mr", "--seed", "007", "--cpus", "0.5"]
    args = parse(typed)
    assert (args.argv, args.seed, args.cpus, args.gpus) == (typed, 7, 0.5, None)
