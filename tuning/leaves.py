"""Nested settings as leaves: what stands at each place, and which file or flag put it there.

A leaf is a fixed value or an open one, a hole: `eta: {log: [1.0e-4, 1.0]}`. Layers of settings are
merged leaf by leaf, and an error in a leaf can name where it came from.
"""

import copy
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, NamedTuple

from trainables.config import schema
from trainables.data.noise import NOISES
from trainables.errors import ConfigError
from trainables.models import MODELS
from trainables.schedule import SCHEDULES
from tuning.holes import Choice, Hole, Int, Log, Option, Uniform, Value

Place = tuple[str, ...]  # ("optim", "lr")
Plain = dict[str, Any]

# Where a name may bring options of its own, `schedule: {step: {factor: 0.2}}`, and who takes them.
PICKS: dict[Place, Mapping[str, type]] = {("model",): MODELS, ("optim", "schedule"): SCHEDULES}
# They define the task: scores of trials that differ in them say nothing about each other, or are
# bought at another price.
FIXED = (
    "data", "per_class", "noise", "split", "statistics", "model", "precision", "compile", "epochs",
    "seed",
)  # fmt: skip
RANGES: dict[str, type[Uniform] | type[Log] | type[Int]] = {
    "uniform": Uniform,
    "log": Log,
    "int": Int,
}
KINDS = [*RANGES, "choice"]


class Leaf(NamedTuple):
    """What stands at a place.

    Attributes:
        value: plain data, or an Open.
        source: the file or flag it came from, as messages show it; "" for a default.
    """

    value: Any
    source: str = ""


Leaves = dict[Place, Leaf]


@dataclass(frozen=True)
class Open:
    """A hole as written.

    Attributes:
        hole: what the searcher sees.
        written: the one-key mapping in the file.
        bodies: settings that come with an option of a choice, by the option's name; their places
            are whole, and some of them may be open in turn.
    """

    hole: Hole
    written: Plain
    bodies: Mapping[str, Leaves]

    def __str__(self) -> str:
        return " ".join(f"{kind} {domain}" for kind, domain in self.written.items())


def dotted(place: Place) -> str:
    """A place as files and flags write it."""
    return ".".join(place)


def column(place: Place) -> str:
    """A place as tables write it.

    >>> column(("optim", "lr")), column(("methods", "mr", "eta"))
    ('optim/lr', 'mr/eta')
    """
    return "/".join(place[1:] if place[0] == "methods" else place)


def leaves_of(node: object, source: str, place: Place = ()) -> Leaves:
    """Take nested settings apart.

    Raises:
        ConfigError: a hole that is none, or one where none may be.
    """
    if node is None and place[:1] == ("methods",) and len(place) <= 2:
        return {}  # `mr:` with nothing under it is mr with its defaults
    if not isinstance(node, Mapping):
        return {place: Leaf(node, source)}
    if place and len(node) == 1 and next(iter(node)) in KINDS:
        return {place: Leaf(_open(dict(node), source, place), source)}
    if place in PICKS:
        if len(node) != 1:
            raise ConfigError(f"{source}: {dotted(place)} = {node}: must be one name")
        ((name, body),) = node.items()
        if not body:
            return {place: Leaf(name, source)}
    elif _is_field(place):
        kinds = ", ".join(KINDS)
        problem = f"{dotted(place)} = {node}: must be a value, or a hole with one key of {kinds}"
        near = [near for key in node for near in get_close_matches(key, KINDS, n=1)]
        hint = f" (did you mean {near[0]}?)" if near else ""
        raise ConfigError(f"{source}: {problem}{hint}")
    found: Leaves = {}
    for key, child in node.items():
        found |= leaves_of(child, source, (*place, key))
    return found


def _is_field(place: Place) -> bool:
    """Whether no mapping of fields can stand here, so that a mapping must be meant as a hole."""
    if any(place[: len(pick)] == pick for pick in PICKS):
        return len(place) >= next(len(p) for p in PICKS if place[: len(p)] == p) + 2
    return len(place) > (2 if place[:1] == ("methods",) else 1)


def _open(written: Plain, source: str, place: Place) -> Open:
    ((kind, given),) = written.items()
    where = f"{source}: {dotted(place)} = {written}"
    if place[:1] and place[0] in FIXED:
        cure = "run one study for each value"
        raise ConfigError(
            f"{where}: {place[0]} defines the task and cannot be open, since scores of trials "
            f"that differ in it cannot be compared ({cure})"
        )
    if kind != "choice":
        return Open(Hole(column(place), _range(kind, given, where)), written, {})
    if not isinstance(given, list) or not given:
        raise ConfigError(f"{where}: needs a list of options, such as choice: [0.5, 1, 2]")
    options: list[Option] = []
    bodies: dict[str, Leaves] = {}
    for item in given:
        value, body = item, None
        if isinstance(item, Mapping) and len(item) == 1:
            ((value, body),) = item.items()
            if value in KINDS:
                raise ConfigError(f"{where}: an option cannot be a hole (make the field the hole)")
        if isinstance(value, list | Mapping) or not isinstance(body or {}, Mapping):
            raise ConfigError(
                f"{where}: option {item} must be a number, a text, true, false, or one name with "
                "options of its own, such as {step: {factor: 0.2}}"
            )
        if any(same(value, option.value) for option in options):
            raise ConfigError(f"{where}: option {value} stands twice (take one out)")
        if body:
            bodies[value] = leaves_of(body, source, (*place, value))
        options.append(Option(value, holes_of(bodies.get(value, {}))))
    return Open(Hole(column(place), Choice(tuple(options))), written, bodies)


def _range(kind: str, given: object, where: str) -> Uniform | Log | Int:
    """The domain of two numbers; both ends belong to it."""
    numbers = "whole numbers" if kind == "int" else "numbers"
    types = int if kind == "int" else int | float
    ends = given if isinstance(given, list) else []
    if len(ends) != 2 or any(isinstance(x, bool) or not isinstance(x, types) for x in ends):
        raise ConfigError(f"{where}: needs two {numbers}, such as {kind}: [1, 10]")
    low, high = ends
    if any(abs(x) > (2**63 - 1 if kind == "int" else sys.float_info.max) for x in ends):
        raise ConfigError(f"{where}: needs smaller numbers, that 64 bits can hold")
    if low >= high:
        cure = "swap them" if low > high else "write the value alone to fix it"
        raise ConfigError(f"{where}: the second number must be above the first ({cure})")
    if kind == "log" and low <= 0:
        raise ConfigError(f"{where}: the first number must be above 0 (or use uniform)")
    return RANGES[kind](*(ends if kind == "int" else map(float, ends)))


def same(one: object, other: object) -> bool:
    """Whether two values of a file mean one: 1 and 1.0 do, 1 and true do not."""
    return one == other and isinstance(one, bool) == isinstance(other, bool)


def holes_of(leaves: Leaves) -> tuple[Hole, ...]:
    """The open leaves, as the searcher sees them."""
    return tuple(leaf.value.hole for leaf in leaves.values() if isinstance(leaf.value, Open))


def overlap(one: Place, other: Place) -> bool:
    """Whether two leaves cannot both stand: one holds the other, or they pick different names."""
    shared = min(len(one), len(other))
    if one[:shared] == other[:shared]:
        return True
    return any(
        one[: len(pick)] == other[: len(pick)] == pick and one[len(pick)] != other[len(pick)]
        for pick in PICKS
        if shared > len(pick)
    )


def put(leaves: Leaves, later: Leaves) -> None:
    """Lay a layer over what is there; a leaf replaces what it overlaps.

    Another kind of noise drops the fields that it does not have.
    """
    kind = later.get(("noise", "kind"))
    if kind is not None and kind.value in NOISES:
        mine = {"kind", "seed", *schema(NOISES[kind.value]).model_fields}
        for place in [place for place in leaves if place[0] == "noise" and place[1] not in mine]:
            del leaves[place]
    for place, leaf in later.items():
        for other in [other for other in leaves if other != place and overlap(other, place)]:
            del leaves[other]
        leaves[place] = leaf


def nested(leaves: Leaves, params: Mapping[str, Value] | None = None) -> Plain:
    """Put settings together again, with each hole filled by column, or as written."""
    out: Plain = {}
    _nest(out, leaves, params)
    return out


def _nest(out: Plain, leaves: Leaves, params: Mapping[str, Value] | None) -> None:
    for place, (value, _) in leaves.items():
        if isinstance(value, Open):
            if params is None:
                value = value.written
            else:
                chosen = params[value.hole.column]
                if chosen in value.bodies:
                    _nest(out, value.bodies[str(chosen)], params)
                    continue
                value = chosen
        node = out
        for part in place[:-1]:
            node = node.setdefault(part, {})
        node[place[-1]] = copy.deepcopy(value)


def blamed(error: ConfigError, leaves: Leaves) -> ConfigError:
    """The same error, told from the file or flag that set the field it begins with."""
    place = tuple(str(error).partition(" ")[0].rstrip(":").split("."))
    found = [p for p in leaves if p == place[: len(p)] or place == p[: len(place)]]
    source = leaves[max(found, key=len)].source if found else ""
    return error.within(source) if source else error
