"""Studies from strangers: they are read without running, writing or deleting anything elsewhere."""

import ast
import copy
import json
import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from trainables.errors import ConfigError
from trainables.seal import seal
from tuning import checkpoints, manifest, strangers
from tuning.space import load
from tuning.store import Store

ROOT = Path(__file__).parents[1]
PRIOR = {"params": {}, "status": "done", "score": 0.5, "diverged": False, "curve": [], "costs": {}}
PLAIN = {"format": 1, "data": "0" * 64, "noise": {"hash": "0" * 64}, "lives": []}


@pytest.fixture(scope="module")
def plan() -> dict[str, Any]:
    """A plan as JSON gives it back."""
    flags = {"trials": 4, "scheduler": "asha"}
    plan = load("ce,mr", task="digits", spaces=[], settings=[], seed=0, study_flags=flags)
    back: dict[str, Any] = json.loads(json.dumps(plan.plain))
    return back


@pytest.fixture
def study(tmp_path: Path, plan: dict[str, Any]) -> Path:
    """A study's folder with one trial's checkpoint, and a file beside it that is none of ours."""
    folder = tmp_path / "study"
    checkpoint = folder / "tune" / "life-1" / "mr-0000" / "checkpoint_000000"
    checkpoint.mkdir(parents=True)
    (folder / "journal").mkdir()
    seal(checkpoint, {"state.pt": b"state", "progress.json": b'{"clock":{"_iteration":1}}'})
    (folder / "manifest.json").write_text(json.dumps(PLAIN | {"plan": plan}))
    (tmp_path / "mine" / "checkpoint_000000").mkdir(parents=True)
    (tmp_path / "mine" / "checkpoint_000000" / "thesis").write_text("years of work")
    return folder


def untouched(study: Path) -> bool:
    thesis = study.parent / "mine" / "checkpoint_000000" / "thesis"
    return thesis.read_text() == "years of work" and len(os.listdir(study.parent / "mine")) == 1


def test_an_honest_study_is_read(study: Path, plan: dict[str, Any]) -> None:
    assert manifest.read(Store.open(study))["plan"] == plan
    (study.parent / "other").symlink_to(study)  # how one comes to a study is one's own affair
    assert manifest.read(Store.open(study.parent / "other"))["plan"] == plan


@pytest.mark.parametrize(
    "place",
    [
        "tune/life-1/mr-0000/checkpoint_000001",
        "tune/life-1/mr-0001",
        "tune/life-2",
        "tensorboard",
        "history",
        ".lock",
        ".trials.parquet.1",
        "journal/000001.jsonl",
    ],
)
def test_a_link_is_refused_wherever_it_lies(place: str, study: Path) -> None:
    for target in (study.parent / "mine", study / "manifest.json", study / "gone"):
        (study / place).symlink_to(target)
        with pytest.raises(ConfigError, match=r"is a link in a study \(.+\)") as told:
            manifest.read(Store.open(study))
        assert str(study / place) in str(told.value)
        (study / place).unlink()
    assert untouched(study)


def test_what_would_hang_a_reader_is_refused(study: Path) -> None:
    os.mkfifo(study / "journal" / "000001.jsonl")
    with pytest.raises(ConfigError, match=r"000001.jsonl: is no file in a study"):
        manifest.read(Store.open(study))


@pytest.mark.parametrize("name", ["../../../mine", "/etc", "..", "a/../../x", "x/y"])
@pytest.mark.parametrize("keep", [True, False])
def test_a_trial_s_name_leads_nowhere_else(name: str, keep: bool, study: Path) -> None:
    for act in (checkpoints.newest, checkpoints.weights):
        with pytest.raises(ConfigError, match=r"is no trial's name"):
            act(study, name)
    with pytest.raises(ConfigError, match=r"is no trial's name"):
        checkpoints.strip(study, name, keep, 1)
    assert untouched(study)


@pytest.mark.parametrize("clock", [b"{}", b"[", b"[]", b'{"clock":3}', b"[" * 100_000, b"\xff"])
def test_a_whole_checkpoint_with_a_strange_clock_is_of_no_report(clock: bytes, study: Path) -> None:
    folder = study / "tune" / "life-1" / "mr-0000" / "checkpoint_000001"
    folder.mkdir()
    seal(folder, {"weights.pt": b"weights", "progress.json": clock})
    assert checkpoints.final(study, "mr-0000", 1) is None


def strange(plan: dict[str, Any]) -> Iterator[tuple[Any, str]]:
    """Plans that no command of ours makes, and what is said of each."""
    for whole in (None, [], "plan", {}, {"chains": []}):
        yield whole, "plan"
    for key, values in {
        "name": (7, "a\x1b[2Jb"),
        "seed": ("0", 1.5, None),
        "priors": (7, {"mr": 7}, {"mr": [{}]}, {"mr": [PRIOR | {"params": {"mr/eta": [1]}}]}),
        "task": (),
        "chains": ({}, [], [7], [{"chain": "mr"}], None),
        "study": (
            [],
            {"trials": "many"},
            {"trials": 0},
            {"searcher": "eval"},
            {"scheduler": "../x"},
            {"unheard": 1},
        ),
    }.items():
        for value in values:
            yield plan | {key: value}, "plan"
    for key, value, told in (
        ("chain", "../x", "no method"),
        ("chain", "mr", "stands twice"),
        ("written", {}, "plan"),
        ("written", {"optim": {"lr": {"log": ["a", 1]}}}, "log"),
        ("written", 7, "plan"),
        ("starts", [{"optim/lr": {}}], "starts"),
        ("starts", [{"import os": 1}], "import os is not open"),
        ("starts", 7, "plan"),
        ("notes", ["\x1b]0;x\x07"], "control characters"),
        ("notes", [7], "plan"),
    ):
        changed = copy.deepcopy(plan)
        changed["chains"][0][key] = value
        yield changed, told
    deep: Any = 1
    for _ in range(800):
        deep = {"optim": deep}
    yield plan | {"chains": [plan["chains"][0] | {"written": deep}]}, "plan"


def test_a_plan_with_trials_of_earlier_studies_is_read(study: Path, plan: dict[str, Any]) -> None:
    warm = plan | {"priors": {"mr": [PRIOR, PRIOR | {"curve": [[1.0, 0.5]], "score": None}]}}
    (study / "manifest.json").write_text(json.dumps(PLAIN | {"plan": warm}))
    assert manifest.read(Store.open(study))["plan"] == warm


def test_a_plan_that_cannot_be_is_one_line(study: Path, plan: dict[str, Any]) -> None:
    for wrong, told in strange(plan):
        (study / "manifest.json").write_text(json.dumps(PLAIN | {"plan": wrong}))
        with pytest.raises(ConfigError) as error:
            manifest.read(Store.open(study))
        line = str(error.value)
        assert line.startswith(f"{study / 'manifest.json'}: "), wrong
        assert told in line
        assert "\n" not in line


@pytest.mark.parametrize("lost", ["plan", "data", "noise", "lives"])
@pytest.mark.parametrize("value", [None, 7])
def test_a_manifest_with_a_part_lost_is_one_line(lost: str, value: object, study: Path) -> None:
    whole = json.loads((study / "manifest.json").read_text())
    (study / "manifest.json").write_text(json.dumps(whole | {lost: value}))
    with pytest.raises(ConfigError, match=rf"manifest.json: {lost} is missing or damaged"):
        manifest.read(Store.open(study))


def test_a_manifest_whose_noise_has_no_hash_is_one_line(plan: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=r"m: noise.hash is missing"):
        strangers.check(PLAIN | {"plan": plan, "noise": {}}, Path("m"))


# What could run a stranger's code

ALLOWED = {
    # pickles of Toronto and of ciFAIR's authors, after their md5 showed them to be the published
    ("trainables/data/sources/cifar.py", "pickle.loads"),
    ("trainables/data/sources/cifair.py", "pickle.loads"),
    # an unpickler that knows arrays and refuses every other name, on the Python class
    ("trainables/data/pickles.py", "pickle._Unpickler"),
    # the project's own loader, a SafeLoader
    ("tuning/yamls.py", "yaml.load"),
}
RUNS = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load"}
RUNS |= {"yaml.unsafe_load", "yaml.full_load", "yaml.load_all", "torch.hub.load", "torch.jit.load"}
RUNS |= {"runpy.run_path", "runpy.run_module", "pandas.read_pickle", "tune.Tuner.restore"}
MODULES = ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "jsonpickle")
READ = ("load", "loads", "Unpickler", "_Unpickler", "open")


def risks(tree: ast.AST) -> Iterator[str]:
    """What in a file could run what it reads."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] in MODULES:
            yield f"from {node.module}"  # a name of it would be seen nowhere else
        if isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Load):
            name = ast.unparse(node)
            module, _, last = name.rpartition(".")
            if name in RUNS or (module.split(".")[-1] in MODULES and last in READ):
                yield name
        if not isinstance(node, ast.Call):
            continue
        name, given = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
        if name == "torch.load" and given.get("weights_only") != "True":
            yield name
        if name in ("np.load", "numpy.load") and given.get("allow_pickle", "False") != "False":
            yield name
        if given.get("shell", "False") != "False":
            yield f"{name}(shell=)"


def test_nothing_that_is_read_is_run() -> None:
    found = {
        (str(path.relative_to(ROOT)), risk)
        for folder in ("trainables", "tuning", "benchmarks")
        for path in (ROOT / folder).rglob("*.py")
        for risk in risks(ast.parse(path.read_text()))
    }
    assert found == ALLOWED


@pytest.mark.parametrize(
    "line",
    [
        "pickle.loads(data)",
        "ray.cloudpickle.load(file)",
        "from pickle import loads",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "np.load(path, allow_pickle=True)",
        "yaml.load(text, yaml.Loader)",
        "eval(text)",
        "run = os.system",
        "subprocess.run(line, shell=True)",
        "tune.Tuner.restore(path, Trial)",
    ],
)
def test_the_search_for_risks_finds_them(line: str) -> None:
    assert list(risks(ast.parse(line)))


def test_what_tune_would_unpickle_is_never_gone_on_from(study: Path) -> None:
    """A pickle in a checkpoint, which Tune's own restore would run."""
    folder = study / "tune" / "life-1" / "mr-0000" / "checkpoint_000000"
    assert checkpoints.newest(study, "mr-0000") == folder
    (folder / "_dict_checkpoint.pkl").write_bytes(pickle.dumps({}))
    assert checkpoints.newest(study, "mr-0000") is None
