"""Reading what a command names: task files, space files and `--set` texts."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tuning
from trainables.config import TASK_KEYS
from trainables.errors import ConfigError, unknown
from trainables.methods import METHODS
from trainables.paths import expanded
from tuning import yamls
from tuning.defaults import task_defaults
from tuning.leaves import FIXED, Leaves, Plain, dotted, leaves_of, put
from tuning.settings import Settings
from tuning.starts import StartList

SHIPPED = Path(tuning.__file__).parent.parent / "search_spaces"
# Why a known field may not stand at the top of a file or a --set.
NOT_HERE = {
    "seed": "give the trials' seed with --seed",
    "select": "write it as study.select",
    "metric": "write it as study.metric",
}
IN_SPACE = dict.fromkeys(("methods", "start", "augment", "optim"), "")
IN_SPACE |= {key: f"is the task's; write it there, or --set {key}=..." for key in FIXED[:-1]}
IN_SPACE |= NOT_HERE | {"study": "belongs to the task, or to --set study.trials=... and the like"}
IN_TASK = dict.fromkeys((*TASK_KEYS, "study"), "") | NOT_HERE
IN_TASK |= dict.fromkeys(("methods", "start"), "belongs to a space file, see --space")
IN_SET = dict.fromkeys((*TASK_KEYS, "study", "methods"), "") | NOT_HERE
IN_SET |= {"start": "belongs to a space file, see --space"}


@dataclass(frozen=True)
class SpaceFile:
    """A space file, read."""

    source: str
    methods: tuple[str, ...]
    leaves: Leaves
    start: StartList

    def __lt__(self, other: "SpaceFile") -> bool:
        """By the place of the first method in METHODS; a file without methods comes last."""
        return self._rank < other._rank

    @property
    def _rank(self) -> int:
        return min((list(METHODS).index(name) for name in self.methods), default=len(METHODS))


def read_space(path: Path) -> SpaceFile:
    """Read one space file.

    Raises:
        ConfigError: as `yamls.read`, or a field or a hole that cannot stand in a space.
    """
    source = yamls.shown(path)
    plain = yamls.read(path)
    _only(plain, IN_SPACE, source)
    methods = _given(plain.get("methods"), {})
    if not isinstance(methods, dict):
        problem = "must be a mapping from method to its settings"
        raise ConfigError(f"{source}: methods = {methods}: {problem}")
    _known_methods(methods, source)
    start = _given(plain.pop("start", None), [])
    if not isinstance(start, list) or not all(isinstance(point, dict) for point in start):
        problem = "must be a list of points, such as - {optim: {lr: 0.1}}"
        raise ConfigError(f"{source}: start = {start}: {problem}")
    names = tuple(name for name in METHODS if name in methods)
    shipped = path.resolve().is_relative_to(SHIPPED.resolve())
    points = StartList(source, shipped, names, tuple(start))
    return SpaceFile(source, names, leaves_of(plain, source), points)


def shipped_space(name: str) -> Path:
    """Where the space of a method lies, or would lie: it is named like the method's module.

    >>> shipped_space("sop-plus").name, shipped_space("aux").name, shipped_space("ce").name
    ('sop-plus.yaml', 'auxiliary.yaml', 'ce.yaml')
    """
    module = METHODS[name].__module__ if name in METHODS else name  # Windows has no aux.yaml
    return SHIPPED / f"{module.rpartition('.')[2].replace('_', '-')}.yaml"


def read_task(text: str) -> tuple[str, str, Leaves, Plain]:
    """Find and read a task.

    Args:
        text: the name of a shipped task, or the path of a YAML file.

    Returns:
        its name, its file as messages show it, its fields over their defaults, its `study:`.

    Raises:
        ConfigError: no such task, or a field or a hole that cannot stand in one.
    """
    path = expanded(text, f"--task {text}")
    if path.suffix not in (".yaml", ".yml") and len(path.parts) == 1:
        path = SHIPPED / "tasks" / f"{text}.yaml"
        if not path.is_file():
            known = sorted(file.stem for file in path.parent.glob("*.yaml"))
            problem = f"{unknown('task', text, known)}; or give the path of a .yaml file"
            raise ConfigError(f"--task {text}: {problem}")
    source = yamls.shown(path)
    plain = yamls.read(path)
    _only(plain, IN_TASK, source)
    study = _study(plain, source)
    leaves = task_defaults()
    put(leaves, anchored(leaves_of(plain, source), path.absolute().parent, Path.cwd()))
    return path.stem, source, leaves, study


def read_setting(text: str) -> tuple[Leaves, Plain]:
    """What one `--set key=value` sets in the config, and what in `study:`.

    Raises:
        ConfigError: no such key, or a value that is no YAML.
    """
    source = f"--set {' '.join(text.split())}"
    key, equals, value = text.partition("=")
    written = key.strip().replace("/", ".")  # tables write optim/lr
    parts = written.split(".")
    if not equals or not value.strip() or not all(parts):
        raise ConfigError(f"{source}: must be key=value, such as optim.lr=0.1")
    node: Any = yamls.parse(value, source)
    for part in reversed(parts):
        node = {part: node}
    if parts[0] not in IN_SET:
        near = [dotted(at) for at in task_defaults() if at[-len(parts) :] == tuple(parts)]
        near += [
            f"study.{name}"
            for name in (field.name for field in fields(Settings))
            if [name] == parts
        ]
        near += [f"methods.{written}"] * (parts[0] in METHODS)
        if near:
            raise ConfigError(f"{source}: {key}: unknown field (did you mean {near[0]}?)")
    _only(node, IN_SET, source)
    study = _study(node, source)
    if isinstance(node.get("methods"), dict):
        _known_methods(node["methods"], source)
    elif "methods" in node:
        raise ConfigError(f"{source}: methods: name the method, such as methods.mr.eta=0.1")
    return anchored(leaves_of(node, source), Path.cwd()), study


def anchored(leaves: Leaves, *folders: Path) -> Leaves:
    """Make the path of a label or matrix file whole, so that the study can be resumed anywhere.

    One that is in none of the folders stays as it is, to be looked for in the data roots.
    """
    at = ("noise", "path")
    if at not in leaves or not isinstance(leaves[at].value, str):
        return leaves
    path = Path(leaves[at].value)
    there = next((folder / path for folder in folders if (folder / path).is_file()), path)
    return {**leaves, at: leaves[at]._replace(value=str(there))}


def _study(plain: Plain, source: str) -> Plain:
    study = _given(plain.pop("study", None), {})
    if not isinstance(study, dict):
        raise ConfigError(f"{source}: study = {study}: must be a mapping, such as {{trials: 24}}")
    return study


def _only(plain: Plain, known: Mapping[str, str], source: str) -> None:
    """Refuse a top field that does not exist, or that may not stand here, with the reason."""
    for key in plain:
        if key not in known:
            fields = [name for name, reason in known.items() if not reason]
            hint = unknown("field", key, fields).partition("(")[2]
            raise ConfigError(f"{source}: {key}: unknown field ({hint}")
        if known[key]:
            raise ConfigError(f"{source}: {key}: {known[key]}")


def _known_methods(methods: Plain, source: str) -> None:
    for name in methods:
        if name not in METHODS:
            problem = unknown("method", name, list(METHODS))
            raise ConfigError(f"{source}: methods.{name}: {problem}")


def _given(value: Any, empty: Any) -> Any:
    """What a file says, or `empty` where it says nothing; false and 0 are something."""
    return empty if value is None else value
