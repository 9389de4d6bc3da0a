"""A chain of methods, such as mr+mixup+reset: a fold over their hooks in one fixed order."""

from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from trainables.data.batch import Batch
from trainables.errors import ConfigError, unknown
from trainables.methods import METHODS
from trainables.methods.base import Method, Run

PLAIN = "ce"  # the empty chain: cross-entropy and nothing else


def parse(text: str) -> tuple[str, ...]:
    """The methods of a chain as a user types it, in the order in which they run.

    Raises:
        ConfigError: an unknown name, a name twice, or two methods that cannot run together.

    >>> parse("reset+mr"), parse("ce")
    (('mr', 'reset'), ())
    """
    return () if text == PLAIN else ordered(text.split("+"))


def ordered(names: Iterable[str]) -> tuple[str, ...]:
    """Check that the methods can run together and put them in the order of METHODS."""
    names = list(names)
    for name in names:
        if name == PLAIN:
            raise ConfigError(f"{PLAIN} is the empty chain and joins no other (leave it out)")
        if name not in METHODS:
            raise ConfigError(unknown("method", name, [PLAIN, *METHODS]))
        if names.count(name) > 1:
            raise ConfigError(f"method {name!r} stands twice in {'+'.join(names)} (once is enough)")
    for one, other in combinations(names, 2):
        if other in METHODS[one].clash or one in METHODS[other].clash:
            raise ConfigError(f"{one} cannot run with {other} (take one of them out)")
    return tuple(name for name in METHODS if name in names)


def name_of(methods: Iterable[str]) -> str:
    """The chain's one name.

    >>> name_of(("mr", "reset")), name_of(())
    ('mr+reset', 'ce')
    """
    return "+".join(methods) or PLAIN


class Chain:
    """The methods of one trial; each hook runs through all of them in order."""

    def __init__(self, methods: Mapping[str, Method]) -> None:
        self.methods = dict(methods)

    def start(self, run: Run) -> None:
        for method in self.methods.values():
            method.start(run)

    def batch(self, batch: Batch, run: Run) -> Batch:
        for method in self.methods.values():
            batch = method.batch(batch, run)
        return batch

    def step(self, batch: Batch, run: Run) -> None:
        for method in self.methods.values():
            method.step(batch, run)

    def epoch(self, run: Run) -> None:
        for method in self.methods.values():
            method.epoch(run)

    def metrics(self) -> dict[str, float]:
        return {
            f"{name}/{key}": value
            for name, method in self.methods.items()
            for key, value in method.metrics().items()
        }

    def state_dict(self) -> dict[str, dict[str, Any]]:
        return {name: method.state_dict() for name, method in self.methods.items()}

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        for name, method in self.methods.items():
            method.load_state_dict(state[name])

    def followers(self) -> list[str]:
        """The methods whose state a reset takes back with the model."""
        return [name for name, method in self.methods.items() if method.follows_model]

    def load_memories(self, state: dict[str, dict[str, Any]]) -> None:
        for name, memory in state.items():
            self.methods[name].load_state_dict(memory)
