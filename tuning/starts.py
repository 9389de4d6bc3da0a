"""Start points: the configurations a search tries first, the authors' own among them.

Each space file lists points for its methods. Where a chain joins several files, their lists merge
position by position; a hole that no point names takes its field's default.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainables.config import Config
from trainables.errors import ConfigError, unknown
from tuning.defaults import defaults
from tuning.holes import Choice, Domain, Hole, Int, Value, contains
from tuning.leaves import (
    PICKS,
    Leaves,
    Open,
    Place,
    Plain,
    column,
    dotted,
    holes_of,
    leaves_of,
    nested,
    overlap,
    put,
    same,
)

Point = dict[str, Value]  # by column
NO_TASK = ("methods", "seed", "select", "metric")


@dataclass(frozen=True)
class StartList:
    """The points of one space file.

    Attributes:
        source: the file, as messages show it.
        shipped: whether it came with the project; its points then yield to the user's holes.
        methods: the methods the file is for; its points name no other.
        points: nested values, each with an optional `when`.
    """

    source: str
    shipped: bool
    methods: tuple[str, ...]
    points: tuple[Plain, ...]


@dataclass
class Starter:
    """Makes the start points of one chain.

    Attributes:
        leaves: the chain's merged settings.
        first: a legal value for every hole, by column.
        methods: of the chain.
        task: the task's file, as messages show it.
        notes: what a user should know of points that could not be had as written.
    """

    leaves: Leaves
    first: Point
    methods: tuple[str, ...]
    task: str
    notes: list[str] = field(default_factory=list)

    def merged(self, lists: Sequence[StartList]) -> tuple[Point, ...]:
        """The chain's points, in the order in which they are tried.

        A hole stays open in a point that does not name it if its field's default lies outside it.
        A value outside a hole that someone laid over the point's file (a --set; a user's task over
        a shipped space) is left out and noted: people narrow holes without rewriting start lists.

        Args:
            lists: where two disagree on a leaf, the earlier wins.

        Raises:
            ConfigError: a point with an unknown field, or a value outside its hole.
        """
        named = [self._points(one) for one in lists]
        starts: list[Point] = []
        for number in range(max(map(len, named), default=0)):
            point: Point = {}
            for points in reversed(named):
                point |= points[number] if number < len(points) else {}
            full = self._filled(holes_of(self.leaves), point)
            if full and full not in starts:
                starts.append(full)
        return tuple(starts)

    def _points(self, one: StartList) -> list[Point]:
        points = []
        for number, written in enumerate(one.points):
            where = f"{one.source}: start[{number}]"
            wanted = leaves_of({k: v for k, v in written.items() if k != "when"}, where)
            self._check(wanted, one.methods, where)
            if holds(written.get("when"), self.leaves, where):
                point: Point = {}
                for place, leaf in wanted.items():
                    self._take(self.leaves, place, leaf.value, point, one, where)
                points.append(point)
        return points

    def _check(self, wanted: Leaves, methods: tuple[str, ...], where: str) -> None:
        """Refuse fields that do not exist and values that no trial may have."""
        for place, (value, _) in wanted.items():
            if isinstance(value, Open):
                raise ConfigError(f"{where}: {dotted(place)} = {value.written}: must be a value")
            if place[0] == "methods" and len(place) > 1 and place[1] not in methods:
                problem = f"the file is not for {place[1]} (name it under methods:, or take it out)"
                raise ConfigError(f"{where}: {dotted(place)}: {problem}")
        trial = dict(self.leaves)
        put(trial, wanted)
        try:
            Config.parse(nested(trial, self.first))
        except ConfigError as error:
            raise error.within(where) from None

    def _take(
        self,
        leaves: Leaves,
        place: Place,
        value: Any,
        point: Point,
        one: StartList,
        where: str,
    ) -> None:
        """Write what a point asks for one leaf into `point`, or note that it cannot be had."""
        asked = f"{where} asks {dotted(place)} {value}"
        for at, (there, source) in leaves.items():
            if not overlap(at, place):
                continue
            who = {"": "the default", self.task: "the task"}.get(source, source)
            if isinstance(there, Open) and at == place[: len(at)]:
                given = value if at == place else place[len(at)]
                found = fitted(there.hole.domain, given)
                if found:
                    point[there.hole.column] = found[0]
                    if at != place:
                        body = there.bodies.get(given, {})
                        self._take(body, place, value, point, one, where)
                elif source == one.source or (source == self.task and not one.shipped):
                    problem = f"is outside its hole, {there} (widen the hole or change the point)"
                    raise ConfigError(f"{where}: {dotted(at)} = {given}: {problem}")
                else:
                    self.notes.append(f"{asked}; {who} allows {there}")
            elif there != value and at[len(place) : len(place) + 1] != (value,):
                held = f"{there}" if at == place else f"{dotted(at)} {there}"
                self.notes.append(f"{asked}; {who} fixes {held}")
            return
        default = defaults(self.methods).get(place)
        if value not in (default, [*default] if isinstance(default, tuple) else default):
            self.notes.append(f"{asked}; the default fixes {default}")

    def _filled(self, holes: Sequence[Hole], point: Point) -> Point:
        known = {column(place): value for place, value in defaults(self.methods).items()}
        full: Point = {}
        for hole in holes:
            given = [point[hole.column]] if hole.column in point else []
            for value in given or fitted(hole.domain, known.get(hole.column)):
                full[hole.column] = value
                if isinstance(hole.domain, Choice):
                    opened = next(o.holes for o in hole.domain.options if same(o.value, value))
                    full |= self._filled(opened, point)
        return full


def holds(when: object, leaves: Leaves, where: str) -> bool:
    """Whether a resolved task is one that a point's `when` asks for.

    Raises:
        ConfigError: a condition on a field that does not exist or is open.
    """
    if when is None:
        return True
    if not isinstance(when, Mapping):
        raise ConfigError(f"{where}: when = {when}: must be a mapping, such as {{data: digits}}")
    task = {at: leaf for at, leaf in leaves.items() if at[0] not in NO_TASK}
    result = True
    for written, (wanted, _) in leaves_of(when, where).items():
        place = tuple(".".join(written).split("."))
        told = f"{where}: when.{dotted(place)}"
        at = next((at for at in task if overlap(at, place)), None)
        if at is None:
            raise ConfigError(f"{told}: {unknown('field', dotted(place), [*map(dotted, task)])}")
        there = task[at].value
        if isinstance(there, Open):
            raise ConfigError(f"{told}: is open, {there} (a condition needs a field that is fixed)")
        if place in PICKS and at != place:
            there = at[len(place)]  # a name that has options of its own
        elif at != place:
            there = None
        result = result and there == wanted
    return result


def fitted(domain: Domain, value: object) -> list[Value]:
    """The value as the searcher writes it; nothing where it lies outside the domain."""
    if isinstance(domain, Choice):
        return [option.value for option in domain.options if same(option.value, value)]
    if not isinstance(value, int | float) or not contains(domain, value):
        return []
    return [value if isinstance(domain, Int) else float(value)]
