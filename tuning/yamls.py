"""Reading YAML as people mean it: `1e-3` is a number, `no` is a text, a key stands once.

PyYAML follows YAML 1.1, where `1e-3` is a text, `no` is false, `010` is eight and a second key
silently replaces the first. The scalars here are those of YAML 1.2's core schema, without octal,
hexadecimal, infinities and NaN. No tag makes an object.
"""

import re
from pathlib import Path
from typing import Any, ClassVar

import yaml
from yaml.constructor import ConstructorError

from trainables.errors import ConfigError

CORE = "tag:yaml.org,2002:"
FLOAT = r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
# kind: how it looks, what it can begin with, what makes it; an int is also a float, so it is first
SCALARS: dict[str, tuple[str, str, Any]] = {
    "null": ("~|null|Null|NULL|", "~nN\0", lambda text: None),
    "bool": ("true|True|TRUE|false|False|FALSE", "tTfF", lambda text: text.lower() == "true"),
    "int": ("[-+]?[0-9]+", "-+0123456789", int),
    "float": (FLOAT, "-+.0123456789", float),
    "str": (r"(?s:.*)", "", str),
}


class Loader(yaml.SafeLoader):
    """The core schema; refuses unknown tags, keys that are no text and keys that stand twice."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 (as its base declares it)
    yaml_constructors: ClassVar[dict[Any, Any]] = {}

    def scalar(self, node: yaml.ScalarNode) -> object:
        kind = node.tag.removeprefix(CORE)
        pattern, _, make = SCALARS[kind]
        text = self.construct_scalar(node)
        try:
            if re.fullmatch(pattern, text):
                return make(text)
        except ValueError:
            pass  # an integer of thousands of digits
        raise ConstructorError(None, None, f"{text[:40]!r} is no {kind}", node.start_mark)

    def sequence(self, node: yaml.SequenceNode) -> list[Any]:
        return self.construct_sequence(node, deep=True)

    def mapping(self, node: yaml.MappingNode) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                problem = f"key {key!r} must be a text (quote it)"
            elif key in found:
                problem = f"key {key!r} stands twice (take one out)"
            else:
                found[key] = self.construct_object(value_node, deep=True)
                continue
            raise ConstructorError(None, None, problem, key_node.start_mark)
        return found

    def refuse(self, node: yaml.Node) -> None:
        problem = f"tag {node.tag!r} is not read here (take it out)"
        raise ConstructorError(None, None, problem, node.start_mark)


for _kind, (_pattern, _first, _) in SCALARS.items():
    Loader.add_constructor(CORE + _kind, Loader.scalar)
    if _first:
        begins = [char.replace("\0", "") for char in _first]
        Loader.add_implicit_resolver(CORE + _kind, re.compile(rf"(?:{_pattern})\Z"), begins)
Loader.add_constructor(CORE + "seq", Loader.sequence)
Loader.add_constructor(CORE + "map", Loader.mapping)
Loader.add_constructor(None, Loader.refuse)


def parse(text: str, where: str) -> Any:
    """The value a YAML text stands for.

    Args:
        where: the file or flag that errors name.

    Raises:
        ConfigError: broken YAML, as where:line:column (both from 1) and what is wrong there.

    >>> parse("{r: 1e-3, on: no, n: 010}", "example")
    {'r': 0.001, 'on': 'no', 'n': 10}
    """
    try:
        return yaml.load(text, Loader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        problem = error.problem or "broken YAML"
        if problem.startswith("but ") and error.context:
            problem = f"{error.context} {problem}"
        raise ConfigError(f"{where}{place}: {' '.join(problem.split())}") from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problem = f"character {ord(text[error.position]):#x} is not allowed (take it out)"
        raise ConfigError(f"{where}:{line}: {problem}") from None
    except RecursionError:
        raise ConfigError(f"{where}: is nested too deeply (flatten it)") from None


def read(path: Path) -> dict[str, Any]:
    """The mapping a YAML file holds; one line of ConfigError where it holds none."""
    name = shown(path)
    if path.is_dir():
        raise ConfigError(f"{name}: is a folder (name a YAML file in it)")
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"{name}: no such file (check the path)") from None
    except UnicodeDecodeError as error:
        problem = f"is no text in UTF-8 (byte {error.start} is {error.object[error.start]:#04x})"
        raise ConfigError(f"{name}: {problem}; save it as UTF-8") from None
    except OSError as error:
        cure = "check the path and its permissions"
        raise ConfigError(f"{name}: cannot be read ({error.strerror or error}); {cure}") from None
    value = parse(text, name)
    if value is None:
        raise ConfigError(f"{name}: is empty (write at least one field)")
    if not isinstance(value, dict):
        kind = type(value).__name__
        raise ConfigError(
            f"{name}: must be a mapping of fields, not a {kind} (write `field: value`)"
        )
    return value


def shown(path: Path) -> str:
    """The path as messages show it: relative where it lies inside the current folder."""
    try:
        return str(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
