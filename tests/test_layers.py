"""Who may import whom, read from the files themselves: the table of the design."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from trainables.methods import METHODS

ROOT = Path(__file__).parents[1]
# of trainables.methods; every other file is one method
SHARED = {"__init__", "base", "chain", "overparametrization"}
FILES = sorted(
    path.relative_to(ROOT)
    for folder in ("trainables", "tuning", "benchmarks", "tests")
    for path in (ROOT / folder).rglob("*.py")
)


def module(path: Path) -> str:
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse((ROOT / path).read_text())


@cache
def imports(path: Path) -> frozenset[str]:
    """Modules a file imports, anywhere in it; names taken from a package count as its modules."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found |= {str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def method_file(name: str) -> bool:
    return name.startswith("trainables.methods.") and name.split(".")[2] not in SHARED


def forbidden(path: Path) -> Iterator[str]:
    """Packages that this file may not import."""
    name = module(path)
    if path.parts[0] == "trainables" and name != "trainables.trial":
        yield "ray"
    if path.parts[0] == "trainables":
        yield from ("tuning", "optuna", "benchmarks", "tests")
    if method_file(name):
        yield from ("pydantic", "yaml", "trainables.config", "trainables.loop", "trainables.trial")
        yield from (
            module(other) for other in FILES if method_file(module(other)) and other != path
        )
    if path.parts[:2] == ("trainables", "data"):
        yield from ("trainables.methods", "trainables.loop", "trainables.trial")
    if path.parts[:2] == ("trainables", "models") or name == "trainables.config":
        yield from ("trainables.loop", "trainables.trial")
    if path.parts[0] == "tuning":
        yield from ("trainables.loop", "benchmarks", "tests")
        yield from (module(other) for other in FILES if method_file(module(other)))


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_imports_only_what_its_layer_may(path: Path) -> None:
    broken = [
        f"{module(path)} imports {name}"
        for name in imports(path)
        for package in forbidden(path)
        if name == package or name.startswith(f"{package}.")
    ]
    assert not broken


def test_the_rules_find_what_they_look_for() -> None:
    """A rule that matches no file would pass for ever."""
    methods = {path.stem.replace("_", "-") for path in FILES if method_file(module(path))}
    assert methods == {"auxiliary" if name == "aux" else name for name in METHODS}
    assert set(forbidden(Path("trainables/methods/mr.py"))) >= {"ray", "trainables.methods.reset"}
    assert "trainables.methods.mr" not in set(forbidden(Path("trainables/methods/mr.py")))
    assert "ray" not in set(forbidden(Path("trainables/trial.py")))
    assert "trainables.trial" in imports(Path("tests/test_trial.py"))
    assert "trainables.snapshot" in imports(Path("trainables/loop.py"))


def test_only_the_trial_imports_ray() -> None:
    users = {
        module(path)
        for path in FILES
        if path.parts[0] == "trainables"
        and any(name.split(".")[0] == "ray" for name in imports(path))
    }
    assert users == {"trainables.trial"}


def test_training_loads_no_platform() -> None:
    """Nor through another module."""
    code = "import sys, trainables.loop; print({'ray', 'optuna', 'rich'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.strip() == "set()"


# Test labels


def shipped() -> list[Path]:
    return [path for path in FILES if path.parts[0] != "tests"]


def test_only_two_files_know_where_test_labels_lie() -> None:
    """The cache writes them, `tuning.sealed` reads them; nobody else spells their folder's name."""
    spell = {
        module(path)
        for path in shipped()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and "sealed" in node.value.split("/")
    }
    assert "trainables.data.cache" in spell
    assert spell <= {"trainables.data.cache", "tuning.sealed"}


def test_only_the_cache_touches_a_source_s_test_labels() -> None:
    users = {
        module(path)
        for path in shipped()
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr == "test_labels"
    }
    assert users == {"trainables.data.cache"}


def test_only_confirmation_and_benchmarks_open_the_seal() -> None:
    users = {
        module(path)
        for path in shipped()
        if path.parts[0] != "benchmarks" and "tuning.sealed" in imports(path)
    }
    assert users <= {"tuning.confirm"}


def test_every_package_is_installed() -> None:
    listed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    there = {
        ".".join(path.relative_to(ROOT).parent.parts)
        for top in ("trainables", "tuning")
        for path in (ROOT / top).rglob("*.py")
    }
    assert there <= set(listed)
