"""The `study:` section of a task: how much to try, how to search, what counts."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Annotated, Any, Literal

from annotated_types import Ge

from trainables.bounds import Count, Fraction
from trainables.config import build
from trainables.errors import ConfigError, unknown
from tuning.schedulers import SCHEDULERS
from tuning.searchers import CHOOSING, SEARCHERS, TWO_METRICS


@dataclass(frozen=True)
class Settings:
    """How a study searches; each field is a flag of the command, too.

    Attributes:
        trials: of the whole study, all chains together.
        searcher: a key of `tuning.searchers.SEARCHERS`.
        scheduler: a key of `tuning.schedulers.SCHEDULERS`.
        grace: share of the epochs before anything is stopped.
        factor: one in `factor` trials passes a rung.
        interval: share of the epochs that a generation of a population trains.
        select: which epoch of a trial counts.
        metric: the noisy-validation quantity that counts.
        allocate: how trials are dealt to chains, a key of `tuning.allocate.DEALERS`.
        keep: trials whose weights are kept, the best ones.
        grid_points: of a grid, on the axis of each number.
        second: what is made small besides the score: what a trial took to reach it.
    """

    trials: Count = 24
    searcher: str = "tpe"
    scheduler: str = "asha"
    grace: Fraction = 0.2
    factor: Annotated[int, Ge(2)] = 3
    interval: Fraction = 0.1
    select: Literal["last", "best", "mean3"] = "best"
    metric: Literal["val/acc", "val/loss"] = "val/acc"
    allocate: Literal["equal", "adaptive"] = "equal"
    keep: Annotated[int, Ge(0)] = 5
    grid_points: Annotated[int, Ge(2)] = 5
    second: Literal["none", "epochs", "seconds"] = "none"


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
        if settings.scheduler == "pbt":
            _searches_itself(settings, sources)
            settings = replace(settings, searcher="random")  # of the first generation
        _together(settings)
    except ConfigError as error:
        field = str(error).partition(" ")[0].rstrip(":")
        raise ConfigError(f"{sources.get(field, 'study')}: study.{error}") from None
    return settings, sources


def _named(field: str, value: str, known: list[str]) -> None:
    if value not in known:
        raise ConfigError(f"{field} = {value}: {unknown('name', value, known)}")


def _searches_itself(settings: Settings, sources: Mapping[str, str]) -> None:
    """Refuse a searcher that was asked for beside pbt; a task's own is only left unused."""
    source = sources.get("searcher", "")
    if source.startswith("--") or source == sources["scheduler"] != "":
        problem = "scheduler = pbt draws its first generation at random and changes it by itself"
        raise ConfigError(
            f"searcher = {settings.searcher}: {problem} (leave the searcher out, or take asha)"
        )
    if settings.second != "none":
        raise ConfigError(
            f"second = {settings.second}: scheduler = pbt knows the score alone "
            "(leave --second out, or take asha)"
        )


def _together(settings: Settings) -> None:
    """Refuse settings that are right by themselves, and wrong beside another."""
    searcher, second = settings.searcher, settings.second
    if settings.allocate == "adaptive" and searcher not in CHOOSING:
        raise ConfigError(
            f"searcher = {searcher}: cannot choose between chains, as allocate = adaptive asks "
            f"(take --allocate equal, or --searcher {' | '.join(CHOOSING)})"
        )
    if second != "none" and searcher not in TWO_METRICS:
        raise ConfigError(
            f"second = {second}: searcher = {searcher} knows the score alone "
            f"(leave --second out, or take --searcher {' | '.join(TWO_METRICS)})"
        )
    if second == "epochs" and settings.select == "last":
        raise ConfigError(
            "second = epochs: with select = last every trial needs all its epochs "
            "(take --select best, or --second seconds)"
        )


def from_flags(flags: Mapping[str, Any]) -> list[Layer]:
    """One layer for each flag that was given; None stands for one that was not."""
    known = [field.name for field in fields(Settings)]
    assert set(flags) <= set(known), f"no such settings: {set(flags) - set(known)}"
    return [
        (f"--{name.replace('_', '-')} {value}", {name: value})
        for name, value in flags.items()
        if value is not None
    ]
