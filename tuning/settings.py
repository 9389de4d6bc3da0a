"""The `study:` section of a task: how much to try, how to search, what counts."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Any, Literal

from annotated_types import Ge

from trainables.bounds import Count, Fraction
from trainables.config import build
from trainables.errors import ConfigError, unknown
from tuning.schedulers import SCHEDULERS
from tuning.searchers import SEARCHERS


@dataclass(frozen=True)
class Settings:
    """How a study searches; each field is a flag of the command, too.

    Attributes:
        trials: of the whole study, all chains together.
        searcher: a key of `tuning.searchers.SEARCHERS`.
        scheduler: a key of `tuning.schedulers.SCHEDULERS`.
        grace: share of the epochs before anything is stopped.
        factor: one in `factor` trials passes a rung.
        select: which epoch of a trial counts.
        metric: the noisy-validation quantity that counts.
        allocate: how trials are dealt to chains, a key of `tuning.allocate.DEALERS`.
        keep: trials whose weights are kept, the best ones.
    """

    trials: Count = 24
    searcher: str = "tpe"
    scheduler: str = "asha"
    grace: Fraction = 0.2
    factor: Annotated[int, Ge(2)] = 3
    select: Literal["last", "best", "mean3"] = "best"
    metric: Literal["val/acc", "val/loss"] = "val/acc"
    allocate: Literal["equal", "adaptive"] = "equal"
    keep: Annotated[int, Ge(0)] = 5


Layer = tuple[str, Mapping[str, Any]]  # the file or flag, and what it sets


def merged(layers: list[Layer]) -> tuple[Settings, dict[str, str]]:
    """Lay the settings of a study over each other; later wins.

    Returns:
        the settings, and the file or flag that each set field came from.

    Raises:
        ConfigError: an unknown field or a wrong value, told from where it was written.
    """
    values: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for source, layer in layers:
        values |= layer
        sources |= dict.fromkeys(layer, source)
    try:
        settings: Settings = build(Settings, values)
        _named("searcher", settings.searcher, list(SEARCHERS))
        _named("scheduler", settings.scheduler, list(SCHEDULERS))
    except ConfigError as error:
        field = str(error).partition(" ")[0].rstrip(":")
        raise ConfigError(f"{sources.get(field, 'study')}: study.{error}") from None
    return settings, sources


def _named(field: str, value: str, known: list[str]) -> None:
    if value not in known:
        raise ConfigError(f"{field} = {value}: {unknown('name', value, known)}")


def from_flags(flags: Mapping[str, Any]) -> list[Layer]:
    """One layer for each flag that was given; None stands for one that was not."""
    known = [field.name for field in fields(Settings)]
    assert set(flags) <= set(known), f"no such settings: {set(flags) - set(known)}"
    return [
        (f"--{name} {value}", {name: value}) for name, value in flags.items() if value is not None
    ]
