"""From a command's `--method`, `--task`, `--space` and `--set` to the search space of each chain.

A trial's config is the task, then the spaces of the chain's methods, then `--set`; later wins. All
of it is checked here, before anything starts.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from trainables.config import Config
from trainables.errors import ConfigError
from trainables.methods.chain import name_of, parse, redundant
from tuning import pbt
from tuning import settings as study_settings
from tuning.holes import Choice, Hole, Value, fill
from tuning.inputs import SpaceFile, read_setting, read_space, read_task
from tuning.leaves import (
    Leaf,
    Leaves,
    Plain,
    blamed,
    holes_of,
    leaves_of,
    nested,
    put,
)
from tuning.merging import files_of, joined_leaves
from tuning.starts import Point, Starter


@dataclass(frozen=True)
class ChainSpace:
    """What is fixed and what is open in the trials of one chain.

    Attributes:
        chain: its name.
        written: the nested trial config, holes as a file writes them.
        starts: tried first, by column; a hole that one leaves out is the searcher's.
        notes: lines a user should read before the study starts.
    """

    chain: str
    written: Plain
    starts: tuple[Point, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def leaves(self) -> Leaves:
        return leaves_of(self.written, self.chain)

    @cached_property
    def holes(self) -> tuple[Hole, ...]:
        """The open hyperparameters, in the order of the config."""
        return holes_of(self.leaves)

    @property
    def most(self) -> int | None:
        """How many different trials there are; None where a hole leaves more than can be run."""
        return None if self.holes else 1

    @property
    def sample(self) -> Point:
        """Legal values for all holes."""
        return fill(self.holes, _first)

    def config(self, params: Mapping[str, Value]) -> Plain:
        """The nested config of a trial, which `Config.parse` accepts.

        Args:
            params: a value for each hole, by column.
        """
        plain = nested(self.leaves, params)
        given = plain.get("methods", {})
        return {**plain, "methods": {name: given.get(name, {}) for name in parse(self.chain)}}


@dataclass(frozen=True)
class Plan:
    """What a study is about to search.

    Attributes:
        name: of the task.
        seed: of every trial.
        task: every field of the task, holes as written.
        study: the fields of `tuning.settings.Settings`.
        chains: in the order of the command.
        priors: trials of earlier studies by chain, as `tuning.priors.Prior` holds them.
    """

    name: str
    seed: int
    task: Plain
    study: dict[str, Any]
    chains: tuple[ChainSpace, ...]
    priors: dict[str, list[Plain]] = field(default_factory=dict)

    @property
    def example(self) -> Config:
        """A trial of the plan, for what all its trials share."""
        chain = self.chains[0]
        return Config.parse(chain.config(chain.sample))

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should read before the study starts, each line once."""
        return tuple(dict.fromkeys(note for chain in self.chains for note in chain.notes))

    @property
    def plain(self) -> Plain:
        """The plan as JSON holds it; `from_plain` takes it back."""
        return asdict(self)

    @classmethod
    def from_plain(cls, plain: Plain) -> "Plan":
        """The same plan again: same holes in the same order, same start points."""
        chains = tuple(
            ChainSpace(c["chain"], c["written"], tuple(c["starts"]), tuple(c["notes"]))
            for c in plain["chains"]
        )
        study = asdict(study_settings.Settings()) | plain["study"]  # fields newer than the study
        priors = plain.get("priors", {})
        return cls(plain["name"], plain["seed"], plain["task"], study, chains, priors)


def load(
    methods: str,
    *,
    task: str,
    spaces: Sequence[Path],
    settings: Sequence[str],
    seed: int,
    study_flags: Mapping[str, Any],
) -> Plan:
    """Read and check all that a command says about its search space.

    Args:
        methods: chains, separated by commas.
        task: the name of a shipped task, or the path of a YAML file.
        spaces: space files; a method that none of them is for takes its shipped space.
        settings: texts `key=value`, the value in YAML.
        seed: of every trial.
        study_flags: fields of `Settings` given as flags, None where not given.

    Raises:
        ConfigError: one line with the file or flag, the field, the value and the cure.
    """
    chains = chains_of(methods)
    files = [read_space(path) for path in spaces]
    for file in files:
        if not any(set(file.methods) <= set(chain) for chain in chains):
            held = "+".join(file.methods)
            raise ConfigError(
                f"{file.source}: is for {held}, which is in no chain of --method {methods} "
                f"(leave the file out, or search a chain that holds {held})"
            )
    name, source, base, study = read_task(task)
    layers: list[study_settings.Layer] = [(source, study)]
    sets: list[Leaves] = []
    for text in settings:
        found, study = read_setting(text)
        for method in {place[1] for place in found if place[0] == "methods"}:
            if not any(method in chain for chain in chains):
                problem = f"no chain of --method {methods} holds {method}"
                raise ConfigError(f"--set {text}: {problem} (add it, or leave this out)")
        sets.append(found)
        layers.append((f"--set {text}", study))
    chosen, sources = study_settings.merged([*layers, *study_settings.from_flags(study_flags)])
    last: Leaves = {("seed",): Leaf(seed, f"--seed {seed}")}
    for key in ("select", "metric"):
        last[key,] = Leaf(getattr(chosen, key), sources.get(key, ""))
    resolved = dict(base)
    for found in sets:
        put(resolved, {place: leaf for place, leaf in found.items() if place[0] != "methods"})
    plan = Plan(
        name=name,
        seed=seed,
        task=nested(resolved),
        study=asdict(chosen),
        chains=tuple(chain_space(chain, source, base, files, [*sets, last]) for chain in chains),
    )
    refuse_populations(plan, sources)
    return plan


def refuse_populations(plan: Plan, sources: Mapping[str, str]) -> None:
    """Refuse a plan under `pbt` whose populations cannot train; arguments as of `pbt.refuse`."""
    if plan.study["scheduler"] == "pbt":
        holes = {chain.chain: chain.holes for chain in plan.chains}
        settings = study_settings.Settings(**plan.study)
        pbt.refuse(holes, settings, plan.example.task.epochs, sources)


def chains_of(text: str) -> list[tuple[str, ...]]:
    """The chains of a `--method`; ConfigError where one is none, or stands twice."""
    chains: list[tuple[str, ...]] = []
    for one in text.split(","):
        try:
            chain = parse(one.strip())
            if chain in chains:
                raise ConfigError(f"{name_of(chain)} stands twice (once is enough)")
        except ConfigError as error:
            raise error.within(f"--method {text}") from None
        chains.append(chain)
    return chains


def chain_space(
    chain: tuple[str, ...],
    task: str,
    base: Leaves,
    files: Sequence[SpaceFile],
    later: Sequence[Leaves],
) -> ChainSpace:
    """Merge and check what one chain's trials are made of."""
    mine = sorted(files_of(chain, files))
    later = [
        {at: leaf for at, leaf in layer.items() if at[0] != "methods" or at[1] in chain}
        for layer in later
    ]
    leaves = dict(base)
    put(leaves, joined_leaves(mine, [place for layer in later for place in layer]))
    for layer in later:
        put(leaves, layer)
    space = ChainSpace(name_of(chain), nested(leaves))
    checked(space, leaves)
    starter = Starter(leaves, space.sample, chain, task)
    starts = starter.merged([file.start for file in mine])
    notes = starter.notes
    for one, other in redundant(chain):
        notes.append(f"{one} and {other} both take up wrong labels (either alone does)")
    if not space.holes:
        notes.append(f"{space.chain}: nothing is open, so it has one trial")
    return replace(space, starts=starts, notes=tuple(notes))


def checked(space: ChainSpace, leaves: Leaves) -> None:
    """Try every hole of a chain at each of its ends; ConfigError where a trial refuses one."""
    for params in probes(space.holes):
        try:
            Config.parse(space.config(params))
        except ConfigError as error:
            raise blamed(error, leaves) from None


def _ends(hole: Hole) -> list[Value]:
    """The values at which a hole is checked: both ends, or every option."""
    domain = hole.domain
    if isinstance(domain, Choice):
        return [option.value for option in domain.options]
    return [domain.low, domain.high]


def _first(hole: Hole) -> Value:
    return _ends(hole)[0]


def _at(corner: Point, hole: Hole) -> Value:
    return corner.get(hole.column, _first(hole))


def probes(holes: tuple[Hole, ...]) -> Iterator[Point]:
    """Values under which every hole stands at each of its ends once, the others at their first."""
    yield fill(holes, _first)
    for corner in _corners(holes, {}):
        yield fill(holes, partial(_at, corner))


def _corners(holes: tuple[Hole, ...], chosen: Point) -> Iterator[Point]:
    for hole in holes:
        for number, value in enumerate(_ends(hole)):
            now = {**chosen, hole.column: value}
            yield now
            if isinstance(hole.domain, Choice):
                yield from _corners(hole.domain.options[number].holes, now)
