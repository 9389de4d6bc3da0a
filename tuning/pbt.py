"""What a study must be for population based training, told before anything starts."""

from collections.abc import Mapping, Sequence

from trainables.errors import ConfigError
from tuning.holes import Hole, walk
from tuning.schedulers.pbt import generation_epochs
from tuning.settings import Settings

LEAST = 4  # members of a population
# momentum and steps cannot be handed on between members that differ in one of these
OWN = ("optim/name", "optim/batch")


def refuse(
    chains: Mapping[str, Sequence[Hole]],
    settings: Settings,
    epochs: int,
    sources: Mapping[str, str],
) -> None:
    """Refuse a study whose populations cannot train.

    Args:
        chains: the holes of each.
        epochs: of a whole trial.
        sources: the file or flag that each setting came from.

    Raises:
        ConfigError: one line with setting, value and cure.
    """

    def told(field: str, problem: str) -> ConfigError:
        value = getattr(settings, field)
        return ConfigError(f"{sources.get(field, 'study')}: study.{field} = {value}: {problem}")

    for chain, holes in chains.items():
        if "reset" in chain.split("+"):
            problem = f"{chain} holds reset, and both go back to saved states"
            raise told("scheduler", f"{problem} (leave reset out, or take asha)")
        if not holes:
            problem = f"{chain} has nothing open, so nothing to change"
            raise told("scheduler", f"{problem} (open a hole, or leave {chain} out)")
        for hole in walk(holes):
            if hole.column in OWN:
                field = hole.column.replace("/", ".")
                problem = f"{chain}: no state can be handed on while {field} is open"
                raise told("scheduler", f"{problem} (--set {field}=VALUE, or take asha)")
    if settings.allocate == "adaptive" and len(chains) > 1:
        raise told("allocate", "pbt needs populations of one size (take equal)")
    if -(-settings.trials // len(chains)) < LEAST:
        problem = f"a population of pbt is {LEAST} trials or more"
        raise told("trials", f"{problem} (take {LEAST * len(chains)} or more)")
    every = generation_epochs(epochs, settings.interval)
    if every >= epochs:
        problem = f"a generation takes {every} of {epochs} epochs, so none ever turns"
        raise told("interval", f"{problem} (take a smaller one, or more epochs)")
