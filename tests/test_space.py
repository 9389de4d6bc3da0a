"""What a command says about its search space: read, merged, checked before anything starts."""

import json
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from trainables.config import TASK_KEYS, Config
from trainables.errors import ConfigError
from trainables.methods import METHODS
from trainables.methods.chain import ordered
from tuning.holes import Choice, Hole, Int, Log, Option, Uniform, contains
from tuning.inputs import SHIPPED, read_space, shipped_space
from tuning.leaves import leaves_of, nested
from tuning.space import Plan, load, probes
from tuning.yamls import parse, read

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes a file into the current folder."""
    monkeypatch.chdir(tmp_path)

    def make(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return Path(name)

    return make


def plan(
    methods: str = "mr",
    *settings: str,
    task: str = "digits",
    spaces: tuple[Path, ...] = (),
    seed: int = 0,
    **flags: Any,
) -> Plan:
    return load(methods, task=task, spaces=spaces, settings=settings, seed=seed, study_flags=flags)


def refusal(*args: Any, **kwargs: Any) -> str:
    """The line that a wrong command is answered with."""
    with pytest.raises(ConfigError) as caught:
        plan(*args, **kwargs)
    line = str(caught.value)
    assert "\n" not in line
    return line


def columns(chosen: Plan, chain: int = 0) -> list[str]:
    return [hole.column for hole in chosen.chains[chain].holes]


# Shipped files


def allowed(*names: str) -> bool:
    try:
        ordered(names)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("name", ["ce", *METHODS])
def test_every_method_has_a_space_that_loads(name: str) -> None:
    file = shipped_space(name)
    space = read_space(file)
    assert space.methods == (() if name == "ce" else (name,))
    command = f"# python -m tuning.search --method {name} --space search_spaces/{file.name}\n"
    assert file.read_text(encoding="utf-8").startswith(command)
    chain = plan(name).chains[0]
    assert chain.starts
    for start in chain.starts:
        assert all(contains(hole.domain, start[hole.column]) for hole in chain.holes)
        assert Config.parse(chain.config(start)).chain == name


def test_only_methods_and_tasks_are_shipped() -> None:
    assert set(SHIPPED.glob("*.yaml")) == {shipped_space(name) for name in ("ce", *METHODS)}


@pytest.mark.parametrize(
    ("one", "other"), [pair for pair in combinations(METHODS, 2) if allowed(*pair)]
)
def test_shipped_spaces_of_any_pair_merge(one: str, other: str) -> None:
    pair, first, second = plan(f"{other}+{one},{one},{other}").chains
    assert pair.chain == f"{one}+{other}"
    assert {h.column for h in pair.holes} == {h.column for h in (*first.holes, *second.holes)}
    assert list(pair.config(pair.starts[0])["methods"]) == [one, other]


def test_digits_filled_is_the_default_config() -> None:
    chain = plan("ce").chains[0]
    assert chain.holes == (Hole("optim/lr", Log(0.005, 0.5)),)
    assert Config.parse(chain.config({"optim/lr": 0.05})) == Config()


def test_study_of_digits() -> None:
    assert plan().study == {
        "trials": 24,
        "searcher": "tpe",
        "scheduler": "asha",
        "grace": 0.2,
        "factor": 3,
        "interval": 0.1,
        "select": "best",
        "metric": "val/acc",
        "allocate": "equal",
        "keep": 5,
        "grid_points": 5,
        "second": "none",
    }


# Chains, tasks, configs


def test_chains_take_one_name_each() -> None:
    chosen = plan("ce, mixup+mr ,reset", seed=7)
    assert [chain.chain for chain in chosen.chains] == ["ce", "mr+mixup", "reset"]
    assert chosen.chains[1].config(chosen.chains[1].sample)["seed"] == 7
    assert (chosen.name, chosen.seed) == ("digits", 7)


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ("mr+mixup,ce,mixup+mr", "mr+mixup stands twice"),
        ("mrr", "unknown method 'mrr' (did you mean mr?)"),
        ("mr,", "unknown method ''"),
        ("mr+mr", "'mr' stands twice"),
        ("ce+mr", "ce is the empty chain"),
    ],
)
def test_refused_chains(methods: str, said: str) -> None:
    line = refusal(methods)
    assert line.startswith(f"--method {methods}: ")
    assert said in line


def test_shipped_files_are_found_from_any_folder(write: Write) -> None:
    write("task.yaml", "data: digits")
    assert columns(plan(task="task.yaml")) == ["mr/eta", "mr/period"]
    assert columns(plan()) == ["optim/lr", "mr/eta", "mr/period"]
    assert plan(task="task.yaml").name == "task"


def test_task_is_spelt_out_with_holes_as_written(write: Write) -> None:
    write("task.yaml", "epochs: 3\noptim: {lr: {log: [0.01, 1]}}")
    task = plan("mr", "optim.batch=8", "methods.mr.eta=1", task="task.yaml").task
    assert task["optim"]["lr"] == {"log": [0.01, 1]}
    assert (task["optim"]["batch"], task["optim"]["decay"], task["epochs"]) == (8, 5e-4, 3)
    assert set(task) == set(TASK_KEYS)


@pytest.mark.parametrize(
    ("task", "said"),
    [
        ("digit", "--task digit: unknown task 'digit' (did you mean digits?); or give the path"),
        ("zzz", "known: cdr-mnist, cifar10"),
        ("none.yaml", "none.yaml: no such file"),
        ("a/b", "no such file"),
    ],
)
def test_unknown_tasks(task: str, said: str) -> None:
    assert said in refusal(task=task)


def test_plan_survives_json() -> None:
    schedule = "optim.schedule={choice: [cosine, {step: {factor: {log: [0.05, 0.5]}}}]}"
    chosen = plan("reset+mr,ce", schedule, "optim.decay={log: [1e-5, 1e-3]}", seed=3, keep=0)
    again = Plan.from_plain(json.loads(json.dumps(chosen.plain)))
    assert again == chosen
    assert [chain.holes for chain in again.chains] == [chain.holes for chain in chosen.chains]


# Reading YAML


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001),
        ("5.0e-4", 0.0005),
        ("-1E5", -1e5),
        (".5", 0.5),
        ("010", 10),
        ("no", "no"),
        ("on", "on"),
        ("Off", "Off"),
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("none", "none"),
        ("'0.1'", "0.1"),
        ("2020-01-01", "2020-01-01"),
        ("1_000", "1_000"),
        ("0x10", "0x10"),
        ("{log: [1e-2, 1]}", {"log": [0.01, 1]}),
    ],
)
def test_scalars(text: str, value: object) -> None:
    found = parse(text, "test")
    assert found == value
    assert type(found) is type(value)


def test_tags_make_nothing(tmp_path: Path) -> None:
    made = tmp_path / "made"
    with pytest.raises(ConfigError, match=r"test:1:4: tag .*os\.mkdir"):
        parse(f"a: !!python/object/apply:os.mkdir ['{made}']", "test")
    assert not made.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a: 1\nb: 2\na: 3", "bad.yaml:3:1: key 'a' stands twice (take one out)"),
        (b"methods:\n  mr: {eta: 1, eta: 2}", "bad.yaml:2:16: key 'eta' stands twice"),
        (b"methods: {mr: [", "bad.yaml:1:16: expected the node content"),
        (b"a: 1\n\tb: 2", "bad.yaml:2:1: "),
        (b"a: b: c", "bad.yaml:1:5: mapping values are not allowed here"),
        (b"a: &x [*x]", "bad.yaml:1:4: found unconstructable recursive node"),
        (b"a: 1\n---\nb: 1", "bad.yaml:2:1: expected a single document"),
        (b"1: a", "bad.yaml:1:1: key 1 must be a text (quote it)"),
        (b"a: \x07", "bad.yaml:1: character 0x7 is not allowed"),
        (b"a: \xff\xfe", "bad.yaml: is no text in UTF-8 (byte 3 is 0xff); save it as UTF-8"),
        (b"", "bad.yaml: is empty"),
        (b"# nothing\n", "bad.yaml: is empty"),
        (b"- a\n- b", "bad.yaml: must be a mapping of fields, not a list"),
        (b"just text", "bad.yaml: must be a mapping of fields, not a str"),
        (b"[" * 500, "bad.yaml: is nested too deeply"),
        (b"a: " + b"9" * 5000, "bad.yaml:1:4: "),
    ],
)
def test_broken_files(write: Write, content: bytes, said: str) -> None:
    Path("bad.yaml").write_bytes(content)
    assert refusal(spaces=(Path("bad.yaml"),)).startswith(said)
    assert refusal(task="bad.yaml").startswith(said)


def test_missing_file_and_folder(write: Write, tmp_path: Path) -> None:
    assert refusal(spaces=(Path("no.yaml"),)) == "no.yaml: no such file (check the path)"
    assert refusal(spaces=(tmp_path,)) == ".: is a folder (name a YAML file in it)"


def test_byte_order_mark_is_no_content(tmp_path: Path) -> None:
    path = tmp_path / "bom.yaml"
    path.write_bytes("epochs: 3".encode("utf-8-sig"))
    assert read(path) == {"epochs": 3}


# Holes


@pytest.mark.parametrize(
    ("written", "domain"),
    [
        ("{uniform: [0, 1]}", Uniform(0.0, 1.0)),
        ("{log: [1e-4, 1]}", Log(1e-4, 1.0)),
        ("{choice: [0.5, 1]}", Choice((Option(0.5), Option(1)))),
    ],
)
def test_holes(written: str, domain: object) -> None:
    holes = plan("mr", f"methods.mr.eta={written}").chains[0].holes
    assert Hole("mr/eta", domain) in holes  # type: ignore[arg-type]
    low = next(hole.domain for hole in holes if hole.column == "mr/eta")
    assert isinstance(getattr(low, "low", 0.0), float)


def test_whole_number_hole() -> None:
    chain = plan("ce", "optim.batch={int: [8, 64]}").chains[0]
    assert Hole("optim/batch", Int(8, 64)) in chain.holes
    config = chain.config({"optim/lr": 0.1, "optim/batch": 64})
    assert Config.parse(config).task.optim.batch == 64


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{log: [1, 0.1]}", "must be above the first (swap them)"),
        ("{uniform: [1, 1]}", "(write the value alone to fix it)"),
        ("{log: [0, 1]}", "the first number must be above 0 (or use uniform)"),
        ("{log: [-1, 1]}", "the first number must be above 0"),
        ("{uniform: [0.1]}", "needs two numbers, such as uniform: [1, 10]"),
        ("{uniform: [1, 2, 3]}", "needs two numbers"),
        ("{uniform: 3}", "needs two numbers"),
        ("{uniform: [true, 3]}", "needs two numbers"),
        ("{uniform: ['0.1', 3]}", "needs two numbers"),
        ("{uniform: [0, 1e999]}", "64 bits"),
        ("{int: [1, 2.5]}", "needs two whole numbers, such as int: [1, 10]"),
        ("{int: [1, 99999999999999999999]}", "64 bits"),
        ("{choice: []}", "needs a list of options"),
        ("{choice: }", "needs a list of options"),
        ("{choice: [1, 2, 1.0]}", "option 1.0 stands twice (take one out)"),
        ("{choice: [a, {a: {b: 1}}]}", "option a stands twice"),
        ("{choice: [[1], [2]]}", "must be a number, a text, true, false, or one name"),
        ("{choice: [{a: 1}]}", "or one name with options of its own"),
        ("{choice: [{log: [1, 2]}]}", "an option cannot be a hole"),
        ("{logg: [0.1, 1]}", "(did you mean log?)"),
        ("{log: [0.1, 1], int: [1, 2]}", "must be a value, or a hole with one key"),
    ],
)
def test_malformed_holes(write: Write, written: str, said: str) -> None:
    path = write("my.yaml", f"methods:\n  mr:\n    eta: {written}\n")
    line = refusal(spaces=(path,))
    assert line.startswith("my.yaml: methods.mr.eta = ")
    assert said in line
    line = refusal("mr", f"methods.mr.eta={written}")
    assert line.startswith(f"--set methods.mr.eta={written}: methods.mr.eta = ")
    assert said in line


@pytest.mark.parametrize(
    "place", ["data", "noise.rate", "split.validation", "model", "epochs", "model.cnn.dropout"]
)
def test_the_task_cannot_be_open(write: Write, place: str) -> None:
    text = f"{place}={{choice: [1, 2]}}"
    line = refusal("mr", text)
    assert line.startswith(f"--set {text}: {place} = ")
    assert "defines the task and cannot be open" in line
    node: Any = {"choice": [1, 2]}
    for part in reversed(place.split(".")):
        node = {part: node}
    write("task.yaml", yaml.safe_dump(node))
    assert refusal(task="task.yaml").startswith(f"task.yaml: {place} = ")


STEP = "optim.schedule={choice: [cosine, {step: {factor: {log: [0.05, 0.5]}, milestones: [0.3]}}]}"


def test_a_choice_opens_holes_of_its_own() -> None:
    chain = plan("ce", STEP, "optim.lr=0.1").chains[0]
    inner = Hole("optim/schedule/step/factor", Log(0.05, 0.5))
    options = (Option("cosine"), Option("step", (inner,)))
    assert chain.holes == (Hole("optim/schedule", Choice(options)),)
    filled = chain.config({"optim/schedule": "step", "optim/schedule/step/factor": 0.2})
    assert filled["optim"]["schedule"] == {"step": {"factor": 0.2, "milestones": [0.3]}}
    assert Config.parse(filled).task.optim.schedule.name == "step"
    assert chain.config({"optim/schedule": "cosine"})["optim"]["schedule"] == "cosine"


def test_configs_share_nothing() -> None:
    chain = plan("ce", "optim.schedule.step.milestones=[0.5]").chains[0]
    first, second = (chain.config(chain.sample) for _ in range(2))
    first["optim"]["schedule"]["step"]["milestones"].append(0.9)
    assert second["optim"]["schedule"]["step"]["milestones"] == [0.5]


def test_taken_apart_and_put_together() -> None:
    plain = {"optim": {"lr": {"log": [0.1, 1]}, "schedule": {"step": {"factor": 0.2}}}, "epochs": 3}
    assert nested(leaves_of(plain, "")) == plain


# Checks before anything starts


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("methods: {mr: {etaa: 1}}", "methods.mr.etaa: unknown field (did you mean eta?)"),
        ("methods: {mr: {etaa: {log: [1, 2]}}}", "methods.mr.etaa: unknown field"),
        ("methods: {mr: {eta: -1}}", "methods.mr.eta = -1: must be at least 0"),
        ("methods: {mr: {eta: {uniform: [-1, 1]}}}", "methods.mr.eta = -1.0: must be at least 0"),
        ("methods: {mr: {eta: '0.1'}}", "methods.mr.eta = '0.1': must be a number"),
        ("methods: {mr: {eta: no}}", "methods.mr.eta = 'no': must be a number"),
        ("methods: {mr: {eta: }}", "methods.mr.eta = None: must be a number"),
        ("methods: {mr: {max_weight: {uniform: [0.5, 1.5]}}}", "methods.mr.max_weight = 1.5: must"),
        ("methods: {mr: {losses: {choice: [eval, test]}}}", "methods.mr.losses = 'test': must be"),
        ("methods: {mr: {choice: [1, 2]}}", "methods.mr = 1: must be a mapping"),
        ("methods: {mr: 3}", "methods.mr = 3: must be a mapping"),
        ("methods: [mr]", "methods = ['mr']: must be a mapping"),
        ("methods: {mrr: {}}", "methods.mrr: unknown method 'mrr' (did you mean mr?)"),
        ("method: {mr: {}}", "method: unknown field (did you mean methods?)"),
        ("optim: {lrr: 1}", "optim.lrr: unknown field (did you mean lr?)"),
        ("optim: 3", "optim = 3: must be a mapping"),
        ("optim: {batch: {uniform: [8, 16]}}", "optim.batch = 8.0: must be a whole number"),
        ("optim: {schedule: {choice: [cosine, steps]}}", "optim.schedule = steps: unknown name"),
        ("optim: {schedule: {step: {facto: 1}}}", "optim.schedule.step.facto: unknown field"),
        ("optim: {schedule: {step: {factor: {uniform: [0.1, 2]}}}}", "optim.schedule.step.fac"),
        ("optim: {schedule: {step: {}, cosine: {}}}", "optim.schedule = "),
        ("optim: {schedule: {choice: [cosine, {step: {factor: {int: [1, 2]}}}]}}",
         "optim.schedule.step.factor = 2: must be at most 1"),
        ("noise: {rate: 0.2}", "noise: is the task's; write it there, or --set noise=..."),
        ("study: {trials: 3}", "study: belongs to the task"),
        ("seed: 3", "seed: give the trials' seed with --seed"),
        ("methods: {mr: {}}\nstart: {a: 1}", "start = {'a': 1}: must be a list of points"),
        ("methods: {mr: {}}\nstart: [3]", "start = [3]: must be a list of points"),
    ],
)  # fmt: skip
def test_wrong_spaces(write: Write, text: str, said: str) -> None:
    line = refusal(spaces=(write("my.yaml", text),))
    assert line.startswith(f"my.yaml: {said}")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch: 3", "epoch: unknown field (did you mean epochs?)"),
        ("noise: {rat: 0.2}", "noise.rat: unknown field (did you mean rate?)"),
        ("noise: symmetric", "noise = 'symmetric': must be a mapping"),
        ("noise: {kind: none, rate: 0.4}", "noise.rate = 0.4: kind none has no rate"),
        ("data: digit", "data = digit: unknown name 'digit' (did you mean digits?)"),
        (
            "optim: {lr: {log: [0.1, 1]}, momentum: {uniform: [0.5, 1]}}",
            "optim.momentum = 1.0: ",
        ),
        ("methods: {mr: {eta: 1}}", "methods: belongs to a space file, see --space"),
        ("start: []", "start: belongs to a space file"),
        ("select: best", "select: write it as study.select"),
        ("study: {trial: 3}", "study.trial: unknown field (did you mean trials?)"),
        ("study: 3", "study = 3: must be a mapping"),
    ],
)
def test_wrong_tasks(write: Write, text: str, said: str) -> None:
    write("task.yaml", text)
    assert refusal(task="task.yaml").startswith(f"task.yaml: {said}")


def test_file_outside_the_folder_is_named_whole(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    path.write_text("methods: {mr: {etaa: 1}}")
    assert refusal(spaces=(path,)).startswith(f"{path}: methods.mr.etaa")


def test_every_end_is_checked() -> None:
    inner = Hole("s/step/f", Uniform(0.1, 0.5))
    holes = (Hole("a", Int(1, 3)), Hole("s", Choice((Option("c"), Option("step", (inner,))))))
    assert [*probes(holes)] == [
        {"a": 1, "s": "c"},
        {"a": 1, "s": "c"},
        {"a": 3, "s": "c"},
        {"a": 1, "s": "c"},
        {"a": 1, "s": "step", "s/step/f": 0.1},
        {"a": 1, "s": "step", "s/step/f": 0.1},
        {"a": 1, "s": "step", "s/step/f": 0.5},
    ]


# study:


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("trials", 0, "study.trials = 0: must be at least 1"),
        ("trials", 2.5, "study.trials = 2.5: must be a whole number"),
        ("searcher", "tpee", "study.searcher = tpee: unknown name 'tpee' (did you mean tpe?)"),
        ("scheduler", "halving", "study.scheduler = halving: unknown name 'halving'"),
        ("grace", 0, "study.grace = 0: must be above 0"),
        ("grace", 1.5, "study.grace = 1.5: must be at most 1"),
        ("factor", 1, "study.factor = 1: must be at least 2"),
        ("select", "first", "study.select = 'first': must be one of"),
        ("metric", "test/acc", "study.metric = 'test/acc': must be one of"),
        ("allocate", "fair", "study.allocate = 'fair': must be one of"),
        ("keep", -1, "study.keep = -1: must be at least 0"),
    ],
)
def test_wrong_study_settings(write: Write, key: str, value: object, said: str) -> None:
    write("task.yaml", f"study: {{{key}: {value}}}")
    assert refusal(task="task.yaml").startswith(f"task.yaml: {said}")
    assert refusal("mr", f"study.{key}={value}").startswith(f"--set study.{key}={value}: {said}")
    assert refusal("mr", **{key: value}).startswith(f"--{key} {value}: {said}")


def test_later_study_settings_win(write: Write) -> None:
    write("task.yaml", "study: {trials: 5, keep: 1, grace: 1}")
    chosen = plan("mr", "study.keep=2", "study.trials=6", task="task.yaml", trials=7, grace=None)
    assert (chosen.study["trials"], chosen.study["keep"], chosen.study["grace"]) == (7, 2, 1)
    assert chosen.study["scheduler"] == "asha"


def test_a_trial_knows_what_counts() -> None:
    chain = plan("ce", "study.select=best", metric="val/loss").chains[0]
    config = Config.parse(chain.config(chain.sample))
    assert (config.select, config.metric) == ("best", "val/loss")


# --set


@pytest.mark.parametrize(
    ("settings", "path", "value"),
    [
        (("optim.lr=1e-2",), ("optim", "lr"), 0.01),
        (("optim.lr=0.1", "optim.lr=0.2"), ("optim", "lr"), 0.2),
        (("noise={rate: 0.2}",), ("noise",), {"kind": "symmetric", "rate": 0.2, "seed": 0}),
        (("noise.kind=none",), ("noise",), {"kind": "none", "seed": 0}),
        (("methods.mr.eta=0.5",), ("methods", "mr", "eta"), 0.5),
        (("methods.mr.milestones=[0.5]",), ("methods", "mr", "milestones"), [0.5]),
        (("model.cnn.dropout=0.1",), ("model",), {"cnn": {"dropout": 0.1}}),
        (("optim.schedule.step.factor=0.2",), ("optim", "schedule"), {"step": {"factor": 0.2}}),
        ((STEP, "optim.schedule=constant"), ("optim", "schedule"), "constant"),
        (
            ("optim.schedule.step.factor=0.2", "optim.schedule.cosine.floor=0.1"),
            ("optim", "schedule"),
            {"cosine": {"floor": 0.1}},
        ),
        (
            ("optim.schedule.step.factor=0.2", "optim.schedule.step.floor=0.1"),
            ("optim", "schedule"),
            {"step": {"factor": 0.2, "floor": 0.1}},
        ),
    ],
)
def test_set(settings: tuple[str, ...], path: tuple[str, ...], value: object) -> None:
    chain = plan("mr", *settings).chains[0]
    node: Any = chain.config(chain.sample)
    Config.parse(node)
    for part in path:
        node = node[part]
    assert node == value
    assert "/".join(path).removeprefix("methods/") not in [hole.column for hole in chain.holes]


def test_set_writes_a_hole() -> None:
    assert columns(plan("ce", "optim.lr=0.1", "optim.decay={log: [1e-5, 1e-3]}")) == ["optim/decay"]
    assert columns(plan("ce", "optim.decay.log=[1e-5, 1e-3]")) == ["optim/lr", "optim/decay"]


def test_set_reaches_the_chains_that_hold_the_method() -> None:
    chosen = plan("ce,mr,mr+mixup", "methods.mr.eta=0.5")
    assert columns(chosen, 0) == ["optim/lr"]
    assert "mr/eta" not in columns(chosen, 1) + columns(chosen, 2)
    assert chosen.chains[2].config(chosen.chains[2].sample)["methods"]["mr"]["eta"] == 0.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("optim.lr", "must be key=value, such as optim.lr=0.1"),
        ("optim.lr=", "must be key=value"),
        ("=3", "must be key=value"),
        ("optim..lr=3", "must be key=value"),
        ("lr=3", "lr: unknown field (did you mean optim.lr?)"),
        ("noise.rat=1", "noise.rat: unknown field (did you mean rate?)"),
        ("trials=3", "trials: unknown field (did you mean study.trials?)"),
        ("epoch=3", "epoch: unknown field (did you mean epochs?)"),
        ("methods.mr.eta=-1", "methods.mr.eta = -1: must be at least 0"),
        ("methods.mr.etaa=1", "methods.mr.etaa: unknown field (did you mean eta?)"),
        ("methods.mixup.alpha=1", "no chain of --method mr holds mixup"),
        ("methods.mixupp.alpha=1", "methods.mixupp: unknown method 'mixupp' (did you mean mixup?)"),
        ("methods=3", "methods: name the method"),
        ("study=3", "study = 3: must be a mapping"),
        ("study.trails=3", "study.trails: unknown field (did you mean trials?)"),
        ("seed=3", "seed: give the trials' seed with --seed"),
        ("start=[]", "start: belongs to a space file"),
    ],
)
def test_wrong_set(text: str, said: str) -> None:
    assert refusal("mr", text).startswith(f"--set {text}: {said}")


def test_set_with_broken_yaml() -> None:
    assert refusal("mr", "optim.lr=[").startswith("--set optim.lr=[:1:2: ")


def test_wrong_seed() -> None:
    assert refusal("mr", seed=-1) == "--seed -1: seed = -1: must be at least 0"


# Space files and chains


def test_a_space_reaches_every_chain_that_holds_its_methods(write: Write) -> None:
    path = write("my.yaml", "methods: {mr: {eta: {log: [0.1, 1]}}}")
    chosen = plan("ce,mr,mr+mixup,mixup", spaces=(path,))
    assert [columns(chosen, number) for number in range(4)] == [
        ["optim/lr"],
        ["optim/lr", "mr/eta"],
        ["optim/lr", "mr/eta", "mixup/alpha"],
        ["optim/lr", "mixup/alpha"],
    ]


def test_a_space_of_two_methods_leaves_single_chains_alone(write: Write) -> None:
    path = write("my.yaml", "methods: {mr: {}, mixup: }")
    chosen = plan("mr,mixup+mr", spaces=(path,))
    assert columns(chosen, 0) == ["optim/lr", "mr/eta", "mr/period"]
    assert columns(chosen, 1) == ["optim/lr"]
    assert chosen.chains[1].config(chosen.chains[1].sample)["methods"] == {"mr": {}, "mixup": {}}


def test_a_space_without_methods_reaches_all_and_keeps_shipped_ones(write: Write) -> None:
    path = write("my.yaml", "optim: {lr: {log: [0.01, 0.2]}}")
    chosen = plan("ce,mr", spaces=(path,))
    assert [chain.holes[0].domain for chain in chosen.chains] == [Log(0.01, 0.2)] * 2
    assert columns(chosen, 1) == ["optim/lr", "mr/eta", "mr/period"]
    assert chosen.chains[0].starts == ()


def test_a_space_that_fits_no_chain(write: Write) -> None:
    path = write("my.yaml", "methods: {mr: {}, mixup: {}}")
    line = refusal("mr,mixup", spaces=(path,))
    assert line.startswith("my.yaml: is for mr+mixup, which is in no chain of --method mr,mixup")


def test_two_spaces_that_differ(write: Write) -> None:
    one = write("one.yaml", "methods: {mr: {}}\noptim: {lr: 0.1, decay: 0.0}")
    two = write("two.yaml", "methods: {mixup: {}}\noptim: {lr: {log: [0.1, 1]}, decay: 0.0}")
    line = refusal("mr+mixup", spaces=(two, one))
    assert line.startswith(
        "one.yaml and two.yaml: optim.lr is 0.1 in one, optim.lr is log [0.1, 1]"
    )
    assert "--set optim.lr=" in line
    settled = plan("mr+mixup", "optim.lr=0.3", spaces=(one, two)).chains[0]
    assert settled.config(settled.sample)["optim"]["lr"] == 0.3
    assert columns(plan("mr", spaces=(one,))) == []


def test_two_spaces_that_pick_different_names(write: Write) -> None:
    one = write("one.yaml", "methods: {mr: {}}\noptim: {schedule: {step: {factor: 0.1}}}")
    two = write("two.yaml", "methods: {mixup: {}}\noptim: {schedule: cosine}")
    assert "optim.schedule" in refusal("mr+mixup", spaces=(one, two))
    settled = plan("mr+mixup", "optim.schedule=constant", spaces=(one, two)).chains[0]
    assert settled.config(settled.sample)["optim"]["schedule"] == "constant"


def test_nothing_open_is_noted(write: Write) -> None:
    chain = plan("ce", "optim.lr=0.1").chains[0]
    assert (chain.holes, chain.starts) == ((), ())
    assert "ce: nothing is open, so it has one trial" in chain.notes


# Start points

MR = "methods: {mr: {eta: {log: [0.001, 1]}, period: {choice: [0.5, 1, 2]}}}\n"


def starts(path: Path, methods: str = "mr", *settings: str) -> list[dict[str, Any]]:
    return [dict(point) for point in plan(methods, *settings, spaces=(path,)).chains[0].starts]


def test_a_start_names_some_holes_and_the_rest_take_defaults(write: Write) -> None:
    path = write("my.yaml", MR + "start: [{methods: {mr: {eta: 1}}}, {optim: {lr: 0.1}}, {}]")
    found = starts(path)
    assert found == [
        {"optim/lr": 0.05, "mr/eta": 1.0, "mr/period": 1},
        {"optim/lr": 0.1, "mr/eta": 0.01, "mr/period": 1},
        {"optim/lr": 0.05, "mr/eta": 0.01, "mr/period": 1},
    ]
    assert type(found[0]["mr/eta"]) is float
    assert type(found[0]["mr/period"]) is int


def test_a_default_outside_its_hole_is_left_to_the_searcher(write: Write) -> None:
    path = write("my.yaml", "methods: {mr: {eta: {log: [0.1, 1]}}}\nstart: [{optim: {lr: 0.1}}]")
    assert starts(path) == [{"optim/lr": 0.1}]


@pytest.mark.parametrize(
    ("when", "kept"),
    [
        ("{data: digits}", True),
        ("{data: mnist}", False),
        ("{noise: {rate: 0.4}}", True),
        ("{noise.rate: 0.2}", False),
        ("{data: digits, noise.kind: pairflip}", False),
        ("{data: digits, noise: {kind: symmetric}}", True),
        ("{model: cnn, optim.schedule: cosine}", True),
        ("{model: lenet}", False),
        ("{model.lenet.size: 3}", False),
    ],
)
def test_when(write: Write, when: str, kept: bool) -> None:
    points = f"start: [{{when: {when}, optim: {{lr: 0.2}}}}, {{optim: {{lr: 0.1}}}}]"
    path = write("my.yaml", MR + points)
    assert [point["optim/lr"] for point in starts(path)] == ([0.2, 0.1] if kept else [0.1])


def test_when_sees_the_settings(write: Write) -> None:
    path = write("my.yaml", MR + "start: [{when: {noise.rate: 0.2, model: cnn}, optim: {lr: 0.2}}]")
    assert starts(path) == []
    assert len(starts(path, "mr", "noise.rate=0.2")) == 1
    assert len(starts(path, "mr", "noise.rate=0.2", "model.cnn.dropout=0.1")) == 1


def test_lists_merge_by_position_and_the_earlier_method_wins(write: Write) -> None:
    mr = write(
        "a.yaml",
        MR + "start: [{when: {data: mnist}, optim: {lr: 0.5}},"
        " {methods: {mr: {eta: 0.1}}, optim: {lr: 0.1}}, {methods: {mr: {eta: 0.2}}}]",
    )
    mixup = write(
        "b.yaml",
        "methods: {mixup: {alpha: {log: [0.1, 32]}}}\n"
        "start: [{methods: {mixup: {alpha: 2}}, optim: {lr: 0.3}},"
        " {methods: {mixup: {alpha: 4}}, optim: {lr: 0.4}}, {methods: {mixup: {alpha: 8}}}]",
    )
    expected = [
        {"optim/lr": 0.1, "mr/eta": 0.1, "mr/period": 1, "mixup/alpha": 2.0},
        {"optim/lr": 0.4, "mr/eta": 0.2, "mr/period": 1, "mixup/alpha": 4.0},
        {"optim/lr": 0.05, "mr/eta": 0.01, "mr/period": 1, "mixup/alpha": 8.0},
    ]
    for spaces in ((mr, mixup), (mixup, mr)):
        assert list(plan("mixup+mr", spaces=spaces).chains[0].starts) == expected


def test_equal_points_are_kept_once(write: Write) -> None:
    points = "start: [{optim: {lr: 0.05}}, {}, {optim: {lr: 0.1}}, {methods: {mr: {eta: 0.01}}}]"
    assert [point["optim/lr"] for point in starts(write("my.yaml", MR + points))] == [0.05, 0.1]


def test_a_start_chooses_an_option_with_holes(write: Write) -> None:
    path = write(
        "my.yaml",
        "methods: {mr: {}}\nstart: [{optim: {schedule: {step: {factor: 0.3}}}},"
        " {optim: {schedule: step}}, {optim: {schedule: cosine}}, {}]",
    )
    found = starts(path, "mr", STEP, "optim.lr=0.1")
    assert found == [
        {"optim/schedule": "step", "optim/schedule/step/factor": 0.3},
        {"optim/schedule": "step", "optim/schedule/step/factor": 0.1},
        {"optim/schedule": "cosine"},
    ]


@pytest.mark.parametrize(
    ("point", "settings", "note"),
    [
        ("optim: {lr: 0.1}", ("optim.lr=0.05",), "optim.lr 0.1; --set optim.lr=0.05 fixes 0.05"),
        ("optim: {batch: 8}", (), "optim.batch 8; the task fixes 32"),
        ("epochs: 3", (), "epochs 3; the task fixes 30"),
        (
            "methods: {mr: {max_weight: 0.5}}",
            (),
            "methods.mr.max_weight 0.5; the default fixes 1.0",
        ),
        (
            "optim: {schedule: {step: {factor: 0.3}}}",
            (),
            "optim.schedule.step.factor 0.3; the task fixes optim.schedule cosine",
        ),
        (
            "optim: {schedule: cosine}",
            ("optim.schedule.step.factor=0.2",),
            "optim.schedule cosine; --set optim.schedule.step.factor=0.2 fixes "
            "optim.schedule.step.factor 0.2",
        ),
    ],
)
def test_a_fixed_field_stays_fixed(
    write: Write, point: str, settings: tuple[str, ...], note: str
) -> None:
    path = write("my.yaml", MR + f"start:\n  - {{{point}}}\n")
    chosen = plan("mr,mr+smooth", *settings, "methods.smooth.spread=all", spaces=(path,))
    assert chosen.chains[0].notes == (f"my.yaml: start[0] asks {note}",)
    assert chosen.notes.count(chosen.chains[0].notes[0]) == 1  # though both chains say it
    assert len(chosen.chains[0].starts) == 1


@pytest.mark.parametrize(
    "point",
    ["optim: {batch: 32}", "methods: {mr: {max_weight: 1}}", "methods: {mr: {milestones: []}}"],
)
def test_a_fixed_field_that_agrees_needs_no_note(write: Write, point: str) -> None:
    path = write("my.yaml", MR + f"start: [{{{point}}}]")
    assert plan("mr", spaces=(path,)).notes == ()


@pytest.mark.parametrize(
    ("point", "said"),
    [
        ("methods: {mr: {eta: 5}}", "mr.eta = 5: is outside its hole, log [0.001, 1] (widen the"),
        ("methods: {mr: {period: 0.7}}", "period = 0.7: is outside its hole, choice [0.5, 1, 2]"),
        ("methods: {mr: {etaa: 5}}", "methods.mr.etaa: unknown field (did you mean eta?)"),
        ("methods: {mr: {eta: -1}}", "methods.mr.eta = -1: must be at least 0"),
        ("methods: {mr: {eta: true}}", "methods.mr.eta = True: must be a number"),
        ("methods: {mr: {eta: {log: [0.1, 1]}}}", "must be a value"),
        ("log: [0.1, 1]", "log: unknown field 'log'"),
        ("methods: {mixup: {alpha: 1}}", "methods.mixup.alpha: the file is not for mixup"),
        ("optim: {lrr: 0.1}", "optim.lrr: unknown field (did you mean lr?)"),
        ("option: {lr: 0.1}", "option: unknown field 'option' (did you mean optim?)"),
        ("optim: {schedule: stepp}", "optim.schedule = stepp: unknown name"),
        ("when: 3", "when = 3: must be a mapping"),
        ("when: {datta: digits}", "when.datta: unknown field 'datta' (did you mean data?)"),
        ("when: {optim.lr: 0.1}", "when.optim.lr: is open, log [0.005, 0.5]"),
        ("when: {data: mnist}, optim: {lrr: 1}", "optim.lrr: unknown field (did you mean lr?)"),
    ],
)
def test_wrong_starts(write: Write, point: str, said: str) -> None:
    path = write("my.yaml", MR + f"start: [{{}}, {{{point}}}]")
    line = refusal(spaces=(path,))
    assert line.startswith("my.yaml: start[1]: ")
    assert said in line


def test_a_point_yields_to_a_hole_laid_over_its_file(write: Write) -> None:
    path = write("my.yaml", MR + "start: [{methods: {mr: {eta: 0.5}}, optim: {lr: 0.2}}]")
    narrow = "optim.lr={log: [0.01, 0.1]}"
    chain = plan("mr", narrow, "methods.mr.eta={log: [0.1, 1]}", spaces=(path,)).chains[0]
    assert chain.starts == ({"optim/lr": 0.05, "mr/eta": 0.5, "mr/period": 1},)
    assert chain.notes == (
        f"my.yaml: start[0] asks optim.lr 0.2; --set {narrow} allows log [0.01, 0.1]",
    )


def test_a_shipped_point_yields_to_the_holes_of_a_task(write: Write) -> None:
    write("task.yaml", "optim: {name: adam, lr: {log: [1e-4, 1e-2]}}")
    chain = plan("ce", task="task.yaml").chains[0]
    assert chain.starts == ()
    (note,) = chain.notes
    assert note.endswith("ce.yaml: start[0] asks optim.lr 0.05; the task allows log [0.0001, 0.01]")
    path = write("ce.yaml", "methods: {}\nstart: [{optim: {lr: 0.05}}]")
    line = refusal("ce", task="task.yaml", spaces=(path,))
    assert line.startswith("ce.yaml: start[0]: optim.lr = 0.05: is outside its hole, log [0.0001,")


def test_a_dropped_point_may_lie_outside_the_hole(write: Write) -> None:
    path = write("my.yaml", MR + "start: [{when: {data: mnist}, methods: {mr: {eta: 5}}}]")
    assert starts(path) == []


def test_a_name_as_tables_write_it_is_understood_or_led_to_its_field() -> None:
    plan = load("mr", task="digits", spaces=[], settings=["optim/lr=0.1"], seed=0, study_flags={})
    assert plan.task["optim"]["lr"] == 0.1
    with pytest.raises(ConfigError, match=r"did you mean methods\.mr\.eta"):
        load("mr", task="digits", spaces=[], settings=["mr/eta=0.1"], seed=0, study_flags={})


def test_labels_beside_a_task_file_are_found(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    path = write("mine/task.yaml", "noise: {kind: file, path: crowd.npz}").absolute()
    assert plan("mr", task=str(path)).task["noise"]["path"] == "crowd.npz"  # not there
    (path.parent / "crowd.npz").touch()
    monkeypatch.chdir("/")
    found = plan("mr", task=str(path)).task["noise"]["path"]
    assert found == str(path.parent / "crowd.npz")
    monkeypatch.chdir(path.parent)
    settings = ("noise.kind=file", "noise.path=crowd.npz")
    assert plan("mr", *settings).task["noise"]["path"] == found
