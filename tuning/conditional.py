"""One search space over several chains, and values on their way in and out of it.

The chain is a choice; each option opens that chain's holes, under columns of its own, since two
chains may give one column two domains. Tables and journal never see these columns.
"""

from collections.abc import Mapping, Sequence

from tuning.holes import Choice, Hole, Option
from tuning.starts import Point

CHAIN = "chain"  # the column of the chain; all others hold a slash


def over(chains: Mapping[str, Sequence[Hole]]) -> tuple[Hole, ...]:
    """The space of several chains, by name."""
    options = (Option(chain, inside(chain, holes)) for chain, holes in chains.items())
    return (Hole(CHAIN, Choice(tuple(options))),)


def inside(chain: str, holes: Sequence[Hole]) -> tuple[Hole, ...]:
    """A chain's holes with the chain before their columns, at every depth.

    >>> from tuning.holes import Uniform
    >>> inside("mr", [Hole("optim/lr", Uniform(0.0, 1.0))])[0].column
    'mr/optim/lr'
    """
    moved = []
    for hole in holes:
        domain = hole.domain
        if isinstance(domain, Choice):
            options = domain.options
            domain = Choice(tuple(Option(o.value, inside(chain, o.holes)) for o in options))
        moved.append(Hole(f"{chain}/{hole.column}", domain))
    return tuple(moved)


def joined(chain: str, params: Point) -> Point:
    """A chain and its values as the sampler knows them; `parted` is the way back.

    >>> joined("mr", {"optim/lr": 0.1})
    {'chain': 'mr', 'mr/optim/lr': 0.1}
    """
    return {CHAIN: chain} | {f"{chain}/{column}": value for column, value in params.items()}


def parted(values: Point) -> tuple[str, Point]:
    """A chain and its values from those of the sampler.

    >>> parted({"chain": "mr", "mr/optim/lr": 0.1})
    ('mr', {'optim/lr': 0.1})
    """
    chain = str(values[CHAIN])
    prefix = f"{chain}/"
    return chain, {c.removeprefix(prefix): v for c, v in values.items() if c != CHAIN}
