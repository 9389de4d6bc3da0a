"""What a study's folder must be before anything in it is believed: it may be a stranger's.

Nothing in it is ever run. Here is what keeps reading and writing it from reaching beyond it: a
study holds plain files and folders, no links, and its manifest holds a plan that `load` could have
made. What its journal must hold is in `tuning.entries`.
"""

import os
import stat
from pathlib import Path
from typing import Any

from trainables.config import Config, build
from trainables.errors import ConfigError, unknown
from tuning.entries import misnamed, unplain
from tuning.holes import walk
from tuning.places import Place
from tuning.priors import Prior
from tuning.record import ENDED
from tuning.schedulers import SCHEDULERS
from tuning.searchers import SEARCHERS
from tuning.settings import Settings
from tuning.space import ChainSpace, Plan, refuse_populations

HELD = {"plan": dict, "data": str, "noise": dict, "lives": list}  # what a resume reads
RESTORE = "(restore it from a copy)"


def refuse_links(folder: Place) -> None:
    """Refuse a study that holds anything but files and folders; object stores hold nothing else.

    A link would let a resume write or delete where it points to.

    Raises:
        ConfigError: naming the first one.
    """
    left = [folder] if isinstance(folder, Path) else []
    while left:
        try:
            with os.scandir(left.pop()) as found:
                entries = sorted(found, key=lambda entry: entry.name)
        except OSError as error:
            raise ConfigError(f"{error.filename}: cannot be read ({error.strerror})") from error
        for entry in entries:
            kind = entry.stat(follow_symlinks=False).st_mode
            if stat.S_ISDIR(kind):
                left.append(Path(entry.path))
            elif not stat.S_ISREG(kind):
                what = "a link" if stat.S_ISLNK(kind) else "no file"
                cure = "put a copy of what it stands for in its place, or remove it"
                raise ConfigError(f"{ascii(entry.path)[1:-1]}: is {what} in a study ({cure})")


def check(manifest: dict[str, Any], path: Place) -> None:
    """Refuse a manifest whose parts are missing or of wrong types, or whose plan cannot be.

    Raises:
        ConfigError: one line that names the file.
    """
    for name, kind in HELD.items():
        if not isinstance(manifest.get(name), kind):
            raise ConfigError(f"{path}: {name} is missing or damaged {RESTORE}")
    if not isinstance(manifest["noise"].get("hash"), str):
        raise ConfigError(f"{path}: noise.hash is missing or damaged {RESTORE}")
    try:
        _check_plan(Plan.from_plain(manifest["plan"]))
    except ConfigError as error:
        raise error.within(f"{path}: plan") from None
    except (TypeError, ValueError, LookupError, AttributeError, RecursionError) as error:
        told = " ".join(f"{type(error).__name__} {error}".split())[:100]
        raise ConfigError(f"{path}: plan is damaged: {told} {RESTORE}") from error


def _check_plan(plan: Plan) -> None:
    if not isinstance(plan.name, str) or type(plan.seed) is not int or not plan.chains:
        raise ConfigError(f"name, seed or chains are damaged {RESTORE}")
    settings: Settings = build(Settings, plan.study)
    for value, known in ((settings.searcher, SEARCHERS), (settings.scheduler, SCHEDULERS)):
        if value not in known:
            raise ConfigError(unknown("name", value, list(known)))
    names = [space.chain for space in plan.chains]
    for space in plan.chains:
        if problem := misnamed(space.chain):
            raise ConfigError(problem)
        if names.count(space.chain) > 1:
            raise ConfigError(f"{space.chain} stands twice {RESTORE}")
        _check_space(space)
    refuse_populations(plan, {})
    _check_priors(plan.priors)
    for text in (plan.name, *plan.notes):
        if not text.isprintable():
            raise ConfigError(f"{ascii(text)[:60]} holds control characters {RESTORE}")


def _check_space(space: ChainSpace) -> None:
    Config.parse(space.config(space.sample))
    columns = {hole.column for hole in walk(space.holes)}
    for start in space.starts:
        if problem := unplain(start):
            raise ConfigError(f"{space.chain}: starts: {problem}")
        if foreign := start.keys() - columns:
            raise ConfigError(f"{space.chain}: starts: {min(foreign)} is not open {RESTORE}")


def _check_priors(priors: dict[str, list[dict[str, Any]]]) -> None:
    """Trials of earlier studies are the searcher's alone; they need only be what they say."""
    for chain, trials in priors.items():
        for trial in trials:
            prior = Prior.from_plain(trial)
            numbers = [prior.score, *prior.costs.values()]
            known = all(type(x) in (int, float, type(None)) for x in numbers)
            if unplain(prior.params) or not known or prior.status not in ENDED:
                raise ConfigError(f"priors of {chain}: {ascii(trial)[:60]} is no trial {RESTORE}")
