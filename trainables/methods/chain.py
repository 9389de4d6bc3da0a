"""A chain of methods, such as mr+mixup+reset: a fold over their hooks in one fixed order."""

import dataclasses
from collections.abc import Iterable, Mapping
from itertools import combinations
from typing import Any

from torch import Tensor

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
        reason = METHODS[one].clash.get(other) or METHODS[other].clash.get(one)
        if reason:
            raise ConfigError(f"{one} cannot run with {other}: {reason} (take one of them out)")
    chain = tuple(name for name in METHODS if name in names)
    refuse_rivals({name: METHODS[name]() for name in chain})
    return chain


def refuse_rivals(methods: Mapping[str, Method]) -> None:
    """Refuse two owners of the loss, or of the weight decay; options decide who is one.

    Raises:
        ConfigError: naming both.
    """
    for what, owns in (("loss", "owns_loss"), ("weight decay", "owns_decay")):
        owners = [name for name, method in methods.items() if getattr(method, owns)()]
        if len(owners) > 1:
            both = " and ".join(owners[:2])
            cure = "take one of them out"
            for name in owners[:2]:
                method: Any = methods[name]  # a dataclass, as every method
                for field in dataclasses.fields(method):
                    less = dataclasses.replace(method, **{field.name: field.default})
                    if not getattr(less, owns)():
                        key = field.name.rstrip("_")
                        cure += f", or set methods.{name}.{key} = {field.default}"
            raise ConfigError(f"{both} would both set the {what} ({cure})")


def redundant(methods: Iterable[str]) -> list[tuple[str, str]]:
    """Pairs of methods that may run together but do the same work."""
    return [
        (one, other)
        for one, other in combinations(methods, 2)
        if other in METHODS[one].redundant or one in METHODS[other].redundant
    ]


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
        self.owner = next((m for m in self.methods.values() if m.owns_loss()), Method())

    @property
    def owns_decay(self) -> bool:
        """Whether a method replaces the optimizer's weight decay."""
        return any(method.owns_decay() for method in self.methods.values())

    def memory(self, size: int, classes: int) -> int:
        """Bytes that the methods hold for `size` training examples of `classes` classes."""
        return sum(method.memory(size, classes) for method in self.methods.values())

    def start(self, run: Run) -> None:
        for method in self.methods.values():
            method.start(run)

    def batch(self, batch: Batch, run: Run) -> Batch:
        for method in self.methods.values():
            batch = method.batch(batch, run)
        return batch

    def logits(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        for method in self.methods.values():
            logits = method.logits(logits, batch, run)
        return logits

    def loss(self, logits: Tensor, batch: Batch, run: Run) -> Tensor:
        return self.owner.loss(logits, batch, run)

    def penalties(self, run: Run) -> list[Tensor]:
        """The terms that look at parameters only."""
        terms = [method.penalty(run) for method in self.methods.values()]
        return [term for term in terms if term is not None]

    def grads(self, batch: Batch, run: Run) -> None:
        for method in self.methods.values():
            method.grads(batch, run)

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

    def suspicions(self) -> dict[str, Tensor]:
        """(N,) by method: how much each distrusts the given labels."""
        found = {name: method.suspicion() for name, method in self.methods.items()}
        return {name: value for name, value in found.items() if value is not None}

    def rows(self) -> dict[str, Tensor]:
        """(N,) by `method/name`: what is worth comparing between right and wrong labels."""
        return {
            f"{name}/{key}": value
            for name, method in self.methods.items()
            for key, value in method.rows().items()
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
