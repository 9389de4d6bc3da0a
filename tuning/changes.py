"""What may change in a study that is taken up again: more trials, more methods, wider ranges.

Whatever would make the scores of old and new trials incomparable is refused, and says why.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainables.errors import ConfigError
from trainables.methods.chain import name_of
from tuning import space
from tuning.holes import Choice, Domain, Hole, position, walk
from tuning.inputs import read_setting, read_space
from tuning.leaves import FIXED, Leaf, Leaves, Open, Place, dotted, leaves_of, nested, put
from tuning.space import ChainSpace, Plan

MANIFEST = "manifest.json"


def changed(
    plan: Plan,
    *,
    trials: int | None,
    methods: str | None,
    spaces: Sequence[Path],
    settings: Sequence[str],
) -> Plan:
    """The plan a study goes on with.

    Args:
        plan: it has had so far.
        trials: in all; None for as many as before, of each chain.
        methods: chains, of which new ones are added.
        spaces: space files of the new chains.
        settings: texts `key=value`: wider ranges, and settings of new chains.

    Raises:
        ConfigError: one line with the flag, the field, the value and the reason.
    """
    wanted = [] if methods is None else space.chains_of(methods)
    old = {chain.chain for chain in plan.chains}
    new = [chain for chain in wanted if name_of(chain) not in old]
    sets: list[Leaves] = []
    for text in settings:
        found, study = read_setting(text)
        if study:
            raise ConfigError(f"--set {text}: study settings stay as they were (leave it out)")
        used = {name for chain in (*old, *map(name_of, new)) for name in chain.split("+")}
        for place in found:
            if place[0] == "methods" and place[1] not in used:
                raise ConfigError(f"--set {text}: no chain of this study holds {place[1]}")
            if place[0] in FIXED:
                raise ConfigError(
                    f"--set {text}: {place[0]} defines the task, and scores of two tasks cannot be "
                    "compared (begin a study of its own)"
                )
        sets.append(found)
    if spaces and not new:
        raise ConfigError(f"--space {spaces[0]}: is for methods that --method adds (name them)")
    task = leaves_of(plan.task, MANIFEST)
    for found in sets:
        put(task, {place: leaf for place, leaf in found.items() if place[0] != "methods"})
    chains = [widened(plan, chain, sets) for chain in plan.chains]
    if new:
        chains += added(plan, new, task, spaces, sets)
    after = replace(
        plan,
        task=nested(task),
        study=plan.study | {"trials": total(plan, trials, len(new))},
        chains=tuple(chains),
    )
    space.refuse_populations(after, {"scheduler": "--resume"})
    return after


def widened(plan: Plan, chain: ChainSpace, sets: Sequence[Leaves]) -> ChainSpace:
    """A chain with wider ranges; the same where nothing set concerns it."""
    before = chain.leaves
    leaves = dict(before)
    mine = chain.chain.split("+")
    for found in sets:
        of_mine = {at: x for at, x in found.items() if at[0] != "methods" or at[1] in mine}
        put(leaves, of_mine)
    if leaves == before:
        return chain
    after = replace(chain, written=nested(leaves))
    for place in before.keys() | leaves.keys():
        _refuse_other(chain, place, before.get(place), leaves.get(place))
    if after.holes != chain.holes and plan.study["searcher"] == "grid":
        raise ConfigError(
            f"--set: {chain.chain}: the points of a wider grid would be others (begin a new study)"
        )
    space.checked(after, leaves)
    return after


def added(
    plan: Plan,
    new: Sequence[tuple[str, ...]],
    task: Leaves,
    spaces: Sequence[Path],
    sets: Sequence[Leaves],
) -> list[ChainSpace]:
    """The spaces of chains that join a study."""
    if plan.study["allocate"] == "adaptive":
        raise ConfigError(
            f"--method {name_of(new[0])}: its trials are dealt by one sampler over all chains, "
            "which cannot take another (begin a study of its own)"
        )
    files = [read_space(path) for path in spaces]
    for file in files:
        if not any(set(file.methods) <= set(chain) for chain in new):
            raise ConfigError(f"{file.source}: is for no chain that --method adds (leave it out)")
    last: Leaves = {("seed",): Leaf(plan.seed, MANIFEST)}
    last |= {(key,): Leaf(plan.study[key], MANIFEST) for key in ("select", "metric")}
    return [space.chain_space(chain, MANIFEST, task, files, [*sets, last]) for chain in new]


def total(plan: Plan, trials: int | None, new: int) -> int:
    """How many trials there are in all, never fewer for a chain than it was promised."""
    chains, before = len(plan.chains), int(plan.study["trials"])
    each = -(-before // chains)
    least = each * (chains + new) if new else before
    if trials is None:
        return least
    if plan.study["scheduler"] == "pbt" and trials != least:
        raise ConfigError(f"--trials {trials}: they are its population, which stays at {least}")
    if trials < least:
        why = f"each of {chains + new} chains gets {each}" if new else f"it was to have {before}"
        raise ConfigError(f"--trials {trials}: {why} (give {least} or more, or leave it out)")
    return trials


def _refuse_other(chain: ChainSpace, place: Place, old: Leaf | None, new: Leaf | None) -> None:
    """Refuse a change of a setting that is no wider range."""
    before, after = (None if leaf is None else leaf.value for leaf in (old, new))
    if isinstance(before, Open) and isinstance(after, Open):
        narrow = _narrower(before.hole, after.hole)
        if narrow is None:
            return
        why = f"{narrow}; a range may only grow, so that it holds the trials there are"
    elif old is not None and new is not None and before == after:
        return
    else:
        why = f"{chain.chain}'s trials so far had {before}; others cannot be compared to them"
    source = next((leaf.source for leaf in (new, old) if leaf is not None), "--set")
    raise ConfigError(f"{source}: {dotted(place)} = {after}: {why}")


def _narrower(old: Hole, new: Hole) -> str | None:
    """What of a hole's values the new one lacks; None if it holds all."""
    mine = {hole.column: hole.domain for hole in walk([old])}
    others = {hole.column: hole.domain for hole in walk([new])}
    for column, domain in mine.items():
        if column not in others or not _holds(others[column], domain):
            return f"it was {_shown(domain)}"
    return None


def _holds(outer: Domain, inner: Domain) -> bool:
    if isinstance(inner, Choice) or isinstance(outer, Choice):
        if not (isinstance(inner, Choice) and isinstance(outer, Choice)):
            return False
        try:
            for option in inner.options:
                position(outer, option.value)
        except ValueError:
            return False
        return True
    return type(outer) is type(inner) and outer.low <= inner.low and inner.high <= outer.high


def _shown(domain: Domain) -> str:
    if isinstance(domain, Choice):
        return " | ".join(str(option.value) for option in domain.options)
    return f"{type(domain).__name__.lower()} {domain.low:g} .. {domain.high:g}"
